# SPDX-License-Identifier: GPL-3.0-or-later
"""How these programs answer: one line of JSON on standard output, or one line for a person on standard error."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn


def say(answer: Any) -> None:
    """Print `answer` as one line of JSON."""
    print(json.dumps(answer, ensure_ascii=False, sort_keys=True))


def refuse(why: str) -> NoReturn:
    """Print `why` and end with exit code 1."""
    print(why, file=sys.stderr)
    sys.exit(1)
