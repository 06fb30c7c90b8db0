# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception whose text a person reads."""

from __future__ import annotations


class Refusal(Exception):
    """Something was asked that will not be done; str() is one line that says what is wrong and what to do."""
