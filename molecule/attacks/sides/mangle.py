# SPDX-License-Identifier: GPL-3.0-or-later
"""In ssh's place under a hostile rsync: passes everything on, and replaces bytes in what the laptop sends.

mangle.py <seconds to wait after each piece> <old in hex>:<new in hex> … -- ssh …
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time


def main(arguments: list[str]) -> None:
    """Run the command behind `--` with mangled input; end with it."""
    cut = arguments.index("--")
    swaps = [(bytes.fromhex(old), bytes.fromhex(new)) for old, new in (word.split(":") for word in arguments[1:cut])]
    ssh = subprocess.Popen(arguments[cut + 1 :], stdin=subprocess.PIPE)
    assert ssh.stdin is not None
    # rsync closes its side last: waiting for that after ssh has gone would be for ever.
    threading.Thread(target=lambda: os._exit(ssh.wait()), daemon=True).start()
    try:
        while piece := os.read(0, 1 << 16):  # one write of rsync's holds a name whole, in so short a list
            for old, new in swaps:
                assert len(old) == len(new)
                piece = piece.replace(old, new)
            ssh.stdin.write(piece)
            ssh.stdin.flush()
            time.sleep(float(arguments[0]))
        ssh.stdin.close()
    except BrokenPipeError:
        pass
    os._exit(ssh.wait())


if __name__ == "__main__":
    main(sys.argv[1:])
