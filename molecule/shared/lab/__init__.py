# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: hosts that boot like real machines. Standard library only: it needs no virtual environment."""
