# SPDX-License-Identifier: GPL-3.0-or-later
"""Sugar's settings as gsettings prints them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from xo_client import sugar

# GLib prints in the character set of the locale and puts "?" for what that has not.
_GSETTINGS = """#!{python}
import os
text = "'Zo\\u00eb \\\\'x\\\\''"
print(text if os.environ.get("LC_ALL") == "C.UTF-8" else text.encode("ascii", "replace").decode())
"""


def test_a_name_of_any_language_is_read_where_the_session_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gsettings").write_text(_GSETTINGS.format(python=f"{sys.executable} -Xutf8"))
    (tmp_path / "gsettings").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("LANG", "C")
    assert sugar.nick() == "Zoë 'x'"
