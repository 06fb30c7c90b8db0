# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifying a btrfs: the kernel reads everything again and compares it with its own checksums (`btrfs scrub`).

By ioctl, one chunk at a time, for the command can neither be held to a rate by this kernel's oldest release nor say
which file it was. What the kernel can mend from a second copy it mends. Numbers are those of linux/btrfs.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from schoolserver import btrfs, datastore, opening
from schoolserver.decay import DISK, Decayed, Piece
from schoolserver.engines import KINDS

_SCRUB = 3 << 30 | 1024 << 16 | 0x94 << 8 | 27  # BTRFS_IOC_SCRUB
_ARGS = struct.Struct("4Q15Q872x")  # struct btrfs_ioctl_scrub_args: devid, start, end, flags, progress
_DATA_BYTES, _TREE_BYTES, _UNCORRECTABLE, _CORRECTED = 6, 7, 15, 16  # in it
_DEVICES, _DEVICE_EXTENT = 4, 204  # BTRFS_DEV_TREE_OBJECTID, BTRFS_DEV_EXTENT_KEY
_EXTENT = struct.Struct("<16x2Q")  # struct btrfs_dev_extent: chunk_offset, length
_FILE_EXTENT = 108  # BTRFS_EXTENT_DATA_KEY
_STORED = struct.Struct("<20xB2Q8xQ")  # struct btrfs_file_extent_item: type, disk_bytenr, disk_num_bytes, num_bytes
_INLINE = 0  # BTRFS_FILE_EXTENT_INLINE: in the metadata, of which there are two copies
_PIECE = 1024 * 1024


@dataclass(frozen=True)
class Chunk:
    """A range of one device that btrfs uses."""

    device: int
    start: int  # byte on the device
    logical: int  # what btrfs calls that byte
    length: int  # bytes

    @property
    def place(self) -> str:
        """Where a pass stands that has done this one."""
        return f"{self.device}:{self.start}"


def pieces(users: Path, after: str) -> Iterator[Piece]:
    """Verify what lies behind the place `after`, a chunk (1 GB or so) each time that this is asked; raise OSError."""
    at = os.open(users, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for chunk in remaining(chunks(at), after):
            size, uncorrectable, corrected = _scrub(at, chunk)
            decayed = []
            if uncorrectable:
                decayed = list(_files_in(users, chunk))
                # Else of Sugar's caches, of what has just gone, or of btrfs's own trees.
                decayed = decayed or [Decayed("", f"{uncorrectable} blocks of no file that the server keeps")]
            yield Piece(chunk.place, size, decayed, corrected)
    finally:
        os.close(at)


def chunks(at: int) -> list[Chunk]:
    """Return the chunks of the file system of the open directory `at`, in the order in which they are verified."""
    found = btrfs.items(at, _DEVICES, _DEVICE_EXTENT, (1, 2**64 - 1))
    return sorted(
        (Chunk(device, start, *_EXTENT.unpack_from(item)) for device, start, item in found),
        key=lambda chunk: (chunk.device, chunk.start),
    )


def remaining(chunks: list[Chunk], after: str) -> list[Chunk]:
    """Return those behind the place `after`; all where it is none."""
    device, _, start = after.partition(":")
    if not (device.isdecimal() and start.isdecimal()):
        return chunks
    return [chunk for chunk in chunks if (chunk.device, chunk.start) > (int(device), int(start))]


def _scrub(at: int, chunk: Chunk) -> tuple[int, int, int]:
    """Have the kernel verify `chunk`; return the bytes read, and how many errors it could not and could correct."""
    # One byte is enough: the kernel verifies each chunk that begins before the end, and ends behind the start.
    arguments = bytearray(_ARGS.pack(chunk.device, chunk.start, chunk.start + 1, 0, *(0,) * 15))
    fcntl.ioctl(at, _SCRUB, arguments)
    said = _ARGS.unpack(arguments)
    return said[_DATA_BYTES] + said[_TREE_BYTES], said[_UNCORRECTABLE], said[_CORRECTED]


def _files_in(users: Path, chunk: Chunk) -> Iterator[Decayed]:
    """Yield the files with data in `chunk` that cannot be read: of what several share, the newest snapshot's."""
    extents: dict[int, bool] = {}  # by their logical byte: whether they can be read. Snapshots share them.
    for tree in datastore.trees(users):
        for kind in KINDS:
            told: set[int] = set()
            taken = [tree / kind.snapshots / stamp for stamp in reversed(datastore.snapshots(tree, kind.snapshots))]
            # Of incoming, what came since: the laptop takes it for whole, and the next snapshot would hold it.
            for subvolume in (*taken, tree / kind.incoming):
                for path in _decayed_in(subvolume, chunk, extents, told):
                    yield Decayed(os.path.relpath(path, users), DISK)
    # Keepsakes and power-logs stand in the subvolume that holds all trees.
    for path in _decayed_in(_subvolume_of(users), chunk, extents, set()):
        yield Decayed(os.path.relpath(path, users), DISK)


def _subvolume_of(directory: Path) -> Path:
    while not btrfs.is_subvolume(directory):
        directory = directory.parent
    return directory


def _decayed_in(subvolume: Path, chunk: Chunk, extents: dict[int, bool], told: set[int]) -> Iterator[Path]:
    """Yield each file of `subvolume` with data in `chunk` that cannot be read, but for what is `told` already."""
    try:
        top = os.open(subvolume, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:  # rotation took it meanwhile
        return
    try:
        found = btrfs.items(top, 0, _FILE_EXTENT, (btrfs.FIRST_INODE, btrfs.LAST_INODE))
        for inode, offset, item in found:
            kind = item[20]
            if kind == _INLINE:
                continue
            _, logical, _, size = _STORED.unpack_from(item)
            if not chunk.logical <= logical < chunk.logical + chunk.length or logical in told or extents.get(logical):
                continue
            try:
                path = btrfs.path_of(top, inode)
            except OSError:  # it went meanwhile, or a laptop put it deeper than btrfs can say
                continue
            readable = extents[logical] if logical in extents else _can_be_read(top, path, offset, size)
            if readable is None:
                continue
            extents[logical] = readable
            if not readable:
                told.add(logical)
                yield subvolume / path
    finally:
        os.close(top)


def _can_be_read(top: int, path: str, offset: int, size: int) -> bool | None:
    """Say whether the disk gives back the part of the file at `path`; None when no file is there any more."""
    *directories, name = path.split("/")
    with ExitStack() as stack:
        try:
            # One by one: in incoming, a session may put a link where a directory stood.
            at = top
            for directory in directories:
                at = stack.enter_context(opening.opened(at, directory))
            descriptor = opening.open_regular(at, name)
        except OSError as error:
            return False if error.errno == errno.EIO else None
        stack.callback(os.close, descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # from the disk, not from memory
        try:
            while size > 0 and (piece := os.pread(descriptor, min(size, _PIECE), offset)):
                offset, size = offset + len(piece), size - len(piece)
        except OSError:
            return False
    return True
