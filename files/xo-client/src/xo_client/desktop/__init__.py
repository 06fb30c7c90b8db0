# SPDX-License-Identifier: GPL-3.0-or-later
"""What a child sees of the client within Sugar. Sugar's shell only shows: the work is done beside it."""
