# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading commands out of a page."""

from __future__ import annotations

from documented import blocks

PAGE = """\
# A page

<!-- run: technician -->
```sh
make controller
long \\
    command
# a remark
```

```text
ready
```

    indented text is not a command

```sh
nobody runs this
```

```
not a shell
```
"""


def test_blocks_are_read_with_who_runs_them_what_they_print_and_where_they_stand() -> None:
    first, second = blocks(PAGE)
    assert (first.who, first.commands, first.output, first.line) == (
        "technician", ["make controller", "long     command"], "ready\n", 4,
    )  # fmt: skip
    assert (second.who, second.commands, second.output, second.line) == (None, ["nobody runs this"], None, 17)
