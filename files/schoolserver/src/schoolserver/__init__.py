# SPDX-License-Identifier: GPL-3.0-or-later
"""XS: the school server that backs up every laptop and gives any document back."""

__version__ = "0.1.0"
