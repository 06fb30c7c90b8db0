# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server asks of btrfs, by ioctl: a command for each would triple the time of a snapshot (facts/lab.md).

Numbers and layouts are those of linux/btrfs.h. Every path's last part is opened without following a link.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAGIC = 0x94
_WRITE, _READ = 1, 2
_ARGS = struct.Struct("q4088s")  # struct btrfs_ioctl_vol_args: fd, name
_ARGS_V2 = struct.Struct("qQQ32s4040s")  # struct btrfs_ioctl_vol_args_v2: fd, transid, flags, unused, name
_FLAGS = struct.Struct("Q")
_LONGEST_NAME = 255  # BTRFS_NAME_LEN
_SEARCH = struct.Struct("7Q4I32x")  # struct btrfs_ioctl_search_key
_SEARCH_ROOM = 256 * 1024  # bytes for what one search answers
_ITEM = struct.Struct("3Q2I")  # struct btrfs_ioctl_search_header: transid, objectid, offset, type, len
_INODE = struct.Struct("<QQ24xI")  # struct btrfs_inode_item: generation, transid, then nlink
_INODE_ITEM = 1  # BTRFS_INODE_ITEM_KEY
FIRST_INODE, LAST_INODE = 256, 2**64 - 257  # BTRFS_FIRST_FREE_OBJECTID, BTRFS_LAST_FREE_OBJECTID
_SUBVOLUME_SIZE, _PARENT_UUID, _MADE = 504, 312, 352  # struct btrfs_ioctl_get_subvol_info_args; parent_uuid, otransid
_LOOKUP_SIZE = 4096  # struct btrfs_ioctl_ino_lookup_args: treeid, objectid, name
Item = tuple[int, int, bytes]
_READ_ONLY = 1 << 1  # BTRFS_SUBVOL_RDONLY
_TOP = "256"  # BTRFS_FIRST_FREE_OBJECTID: the inode of each subvolume's top directory, and of nothing else


def _number(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | _MAGIC << 8 | number


_SYNC = _number(0, 8, 0)
_FS_INFO_SIZE = 1024  # struct btrfs_ioctl_fs_info_args
_FS_INFO = _number(_READ, 31, _FS_INFO_SIZE)
_CREATE = _number(_WRITE, 14, _ARGS.size)
_DESTROY = _number(_WRITE, 15, _ARGS.size)
_SNAPSHOT = _number(_WRITE, 23, _ARGS_V2.size)
_GET_FLAGS = _number(_READ, 25, _FLAGS.size)
_SEARCH_V2 = _number(_READ | _WRITE, 17, _SEARCH.size + 8)
_INO_LOOKUP = _number(_READ | _WRITE, 18, _LOOKUP_SIZE)
_SUBVOLUME_INFO = _number(_READ, 60, _SUBVOLUME_SIZE)
_SET_FLAGS = _number(_WRITE, 26, _FLAGS.size)


def create_subvolume(path: Path) -> None:
    """Make an empty subvolume at `path`, owned by the caller; raise OSError (FileExistsError if something is there)."""
    with _directory(path.parent) as parent:
        _ask(parent, _CREATE, _ARGS.pack(0, _name(path)))


def snapshot(source: Path, destination: Path) -> None:
    """Make `destination` a snapshot of the subvolume `source` that was never writable; raise OSError.

    What was written to `source` before the call is in it. Subvolumes nested in `source` are empty directories there.
    """
    with _directory(source) as origin, _directory(destination.parent) as parent:
        _ask(parent, _SNAPSHOT, _ARGS_V2.pack(origin, 0, _READ_ONLY, b"", _name(destination)))


def set_read_only(path: Path, read_only: bool) -> None:
    """Make the subvolume at `path` read-only, or writable again; raise OSError.

    Whoever owns its top directory may turn this back: give it to root first.
    """
    with _directory(path) as subvolume:
        flags = _flags(subvolume)
        wanted = flags | _READ_ONLY if read_only else flags & ~_READ_ONLY
        fcntl.ioctl(subvolume, _SET_FLAGS, _FLAGS.pack(wanted))


def is_btrfs(path: Path) -> bool:
    """Say whether the directory `path` is on a btrfs; raise OSError if there is none."""
    with _directory(path) as directory:
        try:
            fcntl.ioctl(directory, _FS_INFO, bytearray(_FS_INFO_SIZE))
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
                return False
            raise
    return True


def is_read_only(path: Path) -> bool:
    """Say whether the subvolume at `path` is read-only; raise OSError if there is none."""
    with _directory(path) as subvolume:
        return bool(_flags(subvolume) & _READ_ONLY)


def is_subvolume(path: Path) -> bool:
    """Say whether a btrfs subvolume stands at `path`; False for nothing, a link, or another file system."""
    try:
        with _directory(path) as subvolume:
            _flags(subvolume)
    except OSError as error:
        # EINVAL: a plain directory on btrfs; ENOTTY and EOPNOTSUPP: another file system.
        if error.errno in (
            errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP,
        ):  # fmt: skip
            return False
        raise
    return True


def delete_subvolume(path: Path) -> None:
    """Remove the subvolume at `path`, read-only or not, and the subvolumes nested at its top; raise OSError.

    Its space is given back in the background.
    """
    try:
        _destroy(path)
    except OSError as error:
        # The kernel refuses while others are nested in it, and (with some mount options) while it is read-only.
        if error.errno not in (errno.ENOTEMPTY, errno.EROFS):
            raise
        set_read_only(path, False)
        for child in path.iterdir():
            if is_subvolume(child):
                _destroy(child)
        _destroy(path)


def make_all_writable(path: Path) -> None:
    """Make every subvolume below the directory `path` writable again; raise OSError.

    find walks any depth and follows no link, and changes each from within its parent: whoever moves directories about
    meanwhile leads it nowhere else.
    """
    command = ["find", str(path), "-inum", _TOP, "-type", "d", "-execdir", "btrfs", "property", "set", "-ts", "{}"]
    done = subprocess.run([*command, "ro", "false", ";"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{path}: its subvolumes cannot be made writable: {done.stderr.strip()[-300:]}")


def sync(path: Path) -> None:
    """Return when everything written to the file system of the directory `path` is on its disk; raise OSError."""
    with _directory(path) as directory:
        fcntl.ioctl(directory, _SYNC)


def changed_paths(old: Path, new: Path) -> list[str] | None:
    """Return the path in `new` of each inode that came or changed after `old` was taken, "" for the top; raise OSError.

    None: not to be told, because they are not snapshots of one subvolume, or a changed file has several names. By the
    kernel's own transaction numbers, which nothing that a laptop sends can set; costs what changed, not what there is.
    """
    with _directory(old) as before, _directory(new) as after:
        (was, since), (now, _) = _origin(before), _origin(after)
        if was != now or not any(was):
            return None
        paths = []
        # A snapshot is taken while its transaction ends: all of that one is in it, and what follows has a later one.
        for inode, names in _inodes_since(after, since + 1):
            if names > 1:
                return None
            paths.append("" if inode == FIRST_INODE else path_of(after, inode))
    return paths


def _origin(subvolume: int) -> tuple[bytes, int]:
    """Return the uuid of what `subvolume` is a snapshot of, and the transaction in which it was taken."""
    answer = bytearray(_SUBVOLUME_SIZE)
    fcntl.ioctl(subvolume, _SUBVOLUME_INFO, answer)
    return bytes(answer[_PARENT_UUID : _PARENT_UUID + 16]), int.from_bytes(answer[_MADE : _MADE + 8], "little")


def _inodes_since(subvolume: int, since: int) -> Iterator[tuple[int, int]]:
    """Return (number, how many names) of each inode changed in transaction `since` or later."""
    for inode, _, item in items(subvolume, 0, _INODE_ITEM, (FIRST_INODE, LAST_INODE), since):
        _, transaction, names = _INODE.unpack_from(item)
        if transaction >= since:
            yield inode, names


def items(descriptor: int, tree: int, kind: int, objects: tuple[int, int], since: int = 0) -> Iterator[Item]:
    """Yield (objectid, offset, bytes) of the items of `kind` in the btrfs tree number `tree`, in order; raise OSError.

    Of the objects from the first to the last of `objects`, in leaves of transaction `since` or later. Tree 0 is the
    subvolume that is open as `descriptor`.
    """
    start = (objects[0], 0, 0)  # objectid, type, offset: what a search begins at
    while True:
        key = _SEARCH.pack(
            tree, start[0], objects[1], start[2], 2**64 - 1, since, 2**64 - 1, start[1], 255, 2**32 - 1, 0
        )  # fmt: skip
        buffer = bytearray(key + _SEARCH_ROOM.to_bytes(8, "little") + bytes(_SEARCH_ROOM))
        fcntl.ioctl(descriptor, _SEARCH_V2, buffer)
        count, place = _SEARCH.unpack_from(buffer)[9], _SEARCH.size + 8
        if not count:
            return
        for _ in range(count):
            _, number, offset, found, length = _ITEM.unpack_from(buffer, place)
            place += _ITEM.size
            if found == kind:
                yield number, offset, bytes(buffer[place : place + length])
            place += length
        start = (number, found, offset + 1) if offset < 2**64 - 1 else (number, found + 1, 0)


def path_of(subvolume: int, inode: int) -> str:
    """Return a path of the inode in the subvolume that is open as `subvolume`; raise OSError."""
    buffer = bytearray(struct.pack("QQ", 0, inode) + bytes(_LOOKUP_SIZE - 16))
    fcntl.ioctl(subvolume, _INO_LOOKUP, buffer)
    return os.fsdecode(bytes(buffer[16:]).split(b"\0", 1)[0].rstrip(b"/"))


def _destroy(path: Path) -> None:
    with _directory(path.parent) as parent:
        _ask(parent, _DESTROY, _ARGS.pack(0, _name(path)))


def _ask(descriptor: int, number: int, arguments: bytes) -> None:
    # A mutable buffer, because fcntl.ioctl takes no more than 1024 immutable bytes.
    fcntl.ioctl(descriptor, number, bytearray(arguments))


def _flags(subvolume: int) -> int:
    answer = fcntl.ioctl(subvolume, _GET_FLAGS, _FLAGS.pack(0))
    return int(_FLAGS.unpack(answer)[0])


def _name(path: Path) -> bytes:
    name = os.fsencode(path.name)
    if not name or len(name) > _LONGEST_NAME:
        raise OSError(errno.EINVAL, "not a name for a subvolume", str(path))
    return name


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    # O_NOFOLLOW: a learner who puts a link where a subvolume stood must not choose what root snapshots or removes.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
