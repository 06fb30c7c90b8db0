# SPDX-License-Identifier: GPL-3.0-or-later
"""What brings the version before back where an update was cut off: by a power cut, or by whoever ended the updater.

Before anything changes the installed package lies repacked in `/var/lib/xo-client/back/`, and a unit of systemd stands
in /etc that installs it at the next start. The unit calls dpkg and no program of ours, for those may be half replaced
then; and this module imports as little as it can.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Iterator

from xo_client import durable

NAME = "xo-update-back.service"
_UNIT = """\
[Unit]
Description=Put the laptop's client back as it was: an update of it was cut off
# Without it this would be tried for ever, and hold up every update that could mend the laptop.
ConditionPathExists={package}

[Service]
Type=oneshot
Environment=DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
ExecStart=/usr/bin/dpkg --install --force-confold {package}
ExecStart=-/usr/bin/dpkg --configure --pending
# It has been moved already where the power went before the next line.
ExecStart=-/bin/mv -f {back}/update.json {record}
ExecStart=/bin/rm -rf {wanted} {unit} {back}
# Another program may be installing something just then.
Restart=on-failure
RestartSec=2min
TimeoutStartSec=15min
"""


class Guard:
    """The way back of one laptop; tests stand elsewhere than in "/"."""

    def __init__(self, root: Path = Path("/")) -> None:
        units = root / "etc/systemd/system"
        self.state = root / "var/lib/xo-client"
        self.back = self.state / "back"
        self.package = self.back / "xo-client.deb"
        self.record = self.state / "update.json"
        self.unit = units / NAME
        self.wanted = units / "multi-user.target.wants" / NAME

    def is_set(self) -> bool:
        """Say whether an update is under way, or was cut off."""
        return os.path.lexists(self.wanted)

    def set(self, record: str) -> None:
        """Let the next start bring `package` back, which lies there whole, and write the text `record` as the record;
        raise OSError.
        """
        with self.package.open("rb") as file:
            os.fsync(file.fileno())
        durable.put(self.back / "update.json", record)
        durable.sync(self.state)
        paths = {name: getattr(self, name) for name in ("package", "back", "record", "wanted", "unit")}
        durable.put(self.unit, _UNIT.format(**paths))
        self.wanted.parent.mkdir(mode=0o755, exist_ok=True)
        self.wanted.symlink_to(f"../{NAME}")
        durable.sync(self.wanted.parent)

    def remove(self) -> None:
        """Take the way back away, the update is whole; raise OSError."""
        for path in (self.wanted, self.unit):
            with suppress(FileNotFoundError):
                path.unlink()
                durable.sync(path.parent)
        self.clear()

    def clear(self) -> None:
        """Make room for a way back: what lies there without a unit was cut off before anything changed, or
        after all was well.
        """
        shutil.rmtree(self.back, ignore_errors=True)

    def go(self) -> None:
        """Bring the version before back now, as the next start would."""
        for command in (("daemon-reload",), ("start", NAME), ("daemon-reload",)):
            subprocess.run(["systemctl", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


@contextmanager
def alone(guard: Guard) -> Iterator[OSError | None]:
    """Hold the lock that one update has at a time, and yield what stands against that: None where nothing does,
    BlockingIOError where another update runs, and whatever the disk refuses.

    Where the update before was cut off, what it left is mended first.
    """
    refused: OSError | None = None
    with ExitStack() as held:
        try:
            guard.state.mkdir(mode=0o755, parents=True, exist_ok=True)
            # Only opened: one that is there can be locked on a disk that cannot be written.
            lock = os.open(guard.state / "update.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            held.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if guard.is_set():
                guard.go()
                if not guard.package.exists():  # an update, then, is what mends
                    guard.remove()
        except OSError as error:
            refused = error
        yield refused
