# SPDX-License-Identifier: GPL-3.0-or-later
"""The laptop's side of an XS school server: backs the Journal up by itself, and gets it back. Standard library only."""

__version__ = "0.1.0"
