# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work of which one is enough: a timer, a person and Ansible may all begin it at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schoolserver.errors import Refusal


@contextmanager
def alone(lock: Path, otherwise: str) -> Iterator[None]:
    """Hold the file `lock`, made where there is none; raise Refusal saying `otherwise` while another process has it.

    It is free again when the process ends, however that comes.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refusal(otherwise) from error
        yield
    finally:
        os.close(descriptor)
