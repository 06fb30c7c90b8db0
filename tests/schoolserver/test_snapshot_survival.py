# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on a real server while snapshots are taken: each time the next start repairs it, and says so.

Disks of their own, which may be filled, spoilt and made read-only.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import power
import school
from power import Disk
from promises import Story
from schoolserver import catalog, catalog_tree, datastore, engines, keepsakes, pins, unreadable
from schoolserver.engines import DATASTORE, DOCUMENTS, KINDS
from schoolserver.stamps import time_of

MAKE = {
    # Small ones: what is left on them counts in kilobytes. btrfs keeps names and contents in one place then.
    "btrfs": ("32M", "mkfs.btrfs", "-q", "--mixed"),
    "ext4": ("32M", "mkfs.ext4", "-q", "-m", "0", "-N", "1024"),
    "xfs": ("300M", "mkfs.xfs", "-q"),
}
FILE_SYSTEMS = tuple(MAKE)
ON_EACH_FILE_SYSTEM = pytest.mark.parametrize("kind", FILE_SYSTEMS)
LEFT = (0, 0.2, 0.4, 0.6, 0.8, 16, 64, 256)  # on a disk that fills, of what is needed; btrfs wants a reserve as well
NOW, LATER = school.day(2), school.day(3)
DAY = timedelta(days=1)


@contextmanager
def mounted(kind: str, directory: Path) -> Iterator[Path]:
    """Mount a small file system of this kind in `directory`; skip where that cannot be."""
    if reason := power.missing(kind):
        pytest.skip(reason)
    size, *make = MAKE[kind]
    image, root = directory / "image", directory / "root"
    root.mkdir()
    subprocess.run(["truncate", "--size", size, str(image)], check=True)
    subprocess.run([*make, str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


@pytest.fixture
def story(kind: str, tmp_path: Path) -> Iterator[Story]:
    """A tree on a small disk of its own, where a run waits: two edited, three deleted, one new."""
    with mounted(kind, tmp_path) as root:
        story = Story(root / "library" / "users")
        begin(story)
        yield story


def begin(story: Story) -> None:
    top = story.users.parent
    if top.exists():
        for path in [path for kind in KINDS for path in (story.tree / kind.snapshots).glob("*")]:
            engines.of(path).remove(path)
        for kind in KINDS:
            engines.of(story.tree).remove(story.tree / kind.incoming)
        shutil.rmtree(top)
    top.mkdir()
    story.begin()
    for number in range(8):
        story.write(number, random.Random(number).randbytes(30_000))
    story.write_file("letter", b"dear")
    story.end_run()
    assert story.take(school.day(0))
    for number in (0, 1):
        story.write(number, random.Random(100 + number).randbytes(30_000))
    for number in (2, 3, 4):
        story.remove(number)
    story.write(8, random.Random(8).randbytes(30_000))
    story.write_file("letter", b"dear all")
    story.end_run()


@dataclass
class Said:
    """What a start wrote into the log."""

    taken: list[str]
    not_taken: list[str]
    other: list[str]


def start(story: Story, now: datetime, capfd: pytest.CaptureFixture[str]) -> Said:
    capfd.readouterr()
    story.start(now)
    said = capfd.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if ": made anew" not in line]
    taken = [line for line in lines if ": took " in line]
    not_taken = [line for line in lines if ": not taken, will be tried again: " in line]
    return Said(taken, not_taken, [line for line in lines if line not in taken + not_taken])


def fill(root: Path, leave: int) -> Path:
    """Fill the disk up to about `leave` bytes; removing the file that is returned undoes it."""
    ballast = root / "ballast"
    with ballast.open("wb") as file:
        for piece in (1024**2, 64 * 1024, 4096):
            try:
                while True:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), piece)
            except OSError:
                pass
        os.ftruncate(file.fileno(), max(0, file.seek(0, os.SEEK_END) - leave))
        os.fsync(file.fileno())
    return ballast


def fill_inodes(root: Path, leave: int) -> Path:
    directory = root / "ballast"
    directory.mkdir()
    for number in range(os.statvfs(root).f_ffree - leave):
        (directory / str(number)).touch()
    return directory


@ON_EACH_FILE_SYSTEM
def test_a_disk_that_fills_in_the_middle(story: Story, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    root = story.users.parent.parent
    os.sync()
    before = os.statvfs(root).f_bfree
    start(story, NOW, capfd)
    os.sync()
    used = max(before - os.statvfs(root).f_bfree, 1) * os.statvfs(root).f_bsize
    stopped: list[str] = []
    for part in LEFT:
        begin(story)
        ballast = fill(root, int(used * part))
        said = start(story, NOW, capfd)
        story.check_now()
        assert len(said.taken) + len(said.not_taken) == 1, said
        stopped += said.not_taken
        ballast.unlink()
        os.sync()
        again = start(story, LATER, capfd)
        assert len(again.taken) == len(said.not_taken), again
        story.check_repaired()
    assert 0 < len(stopped) < len(LEFT), f"{used // 1024} kB are needed"
    assert ["No space left on device" in line for line in stopped] == [True] * len(stopped)


@pytest.mark.parametrize("kind", ["ext4"])  # the others make inodes as they need them
def test_a_disk_without_inodes_in_the_middle(story: Story, capfd: pytest.CaptureFixture[str]) -> None:
    root = story.users.parent.parent
    before = os.statvfs(root).f_ffree
    start(story, NOW, capfd)
    used = before - os.statvfs(root).f_ffree
    stopped: list[str] = []
    for part in LEFT[:5]:
        begin(story)
        ballast = fill_inodes(root, int(used * part))
        said = start(story, NOW, capfd)
        story.check_now()
        assert len(said.taken) + len(said.not_taken) == 1, said
        stopped += said.not_taken
        shutil.rmtree(ballast)
        assert len(start(story, LATER, capfd).taken) == len(said.not_taken)
        story.check_repaired()
    assert ["No space left on device" in line for line in stopped] == [True] * len(stopped) != []


@ON_EACH_FILE_SYSTEM
def test_a_disk_that_turned_read_only(story: Story, capfd: pytest.CaptureFixture[str]) -> None:
    root = story.users.parent.parent
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    said = start(story, NOW, capfd)
    assert ["Read-only file system" in line for line in said.not_taken] == [True]
    story.check_now()
    subprocess.run(["mount", "-o", "remount,rw", str(root)], check=True)
    assert len(start(story, LATER, capfd).taken) == 1
    story.check_repaired()


@pytest.mark.parametrize("clocks", [
    pytest.param([datetime(2006, 11, 25, tzinfo=UTC)], id="back twenty years"),
    pytest.param([datetime(2066, 11, 25, tzinfo=UTC)], id="forward forty"),
    pytest.param([datetime(2066, 11, 25, tzinfo=UTC), NOW, LATER], id="forward forty, and mended"),
    pytest.param([datetime(2006, 11, 25, tzinfo=UTC), NOW, LATER], id="back twenty years, and mended"),
])  # fmt: skip
@ON_EACH_FILE_SYSTEM
def test_a_clock_that_jumps(story: Story, clocks: list[datetime], capfd: pytest.CaptureFixture[str]) -> None:
    for number, clock in enumerate(clocks):
        newest = time_of(datastore.snapshots(story.tree)[-1])
        said = start(story, clock, capfd)
        assert len(said.taken) == 1
        went_back = [line for line in said.other if "the clock says" in line]
        assert len(went_back) == (newest - clock > DAY)
        assert len(said.not_taken) == 0
        story.check_repaired()  # the newest by name is the last that came
        story.write(number + 10, b"words of another day")
        story.remove(number + 5)
        story.end_run()


@ON_EACH_FILE_SYSTEM
def test_a_report_that_got_lost(story: Story, capfd: pytest.CaptureFixture[str]) -> None:
    assert start(story, NOW, capfd).taken == [
        "SHC12345678: took 2026-11-25T101500Z and documents-history/2026-11-25T101500Z, which was waiting"
    ]
    story.check_repaired()
    assert start(story, LATER, capfd) == Said([], [], [])


@ON_EACH_FILE_SYSTEM
def test_a_service_that_is_down_for_a_day(story: Story, capfd: pytest.CaptureFixture[str]) -> None:
    other = school.make_tree(story.users, "AAA00000000")
    school.end_run(other)
    for number in range(3):
        story.write(5, b"words of lesson %d" % number)
        story.end_run()
    story.remove(6)
    story.end_run()
    said = start(story, LATER, capfd)
    assert [line.split()[0] for line in said.taken] == ["AAA00000000:", "SHC12345678:"]
    assert datastore.snapshots(other) == ["2026-11-26T101500Z"]
    story.check_repaired()


@ON_EACH_FILE_SYSTEM
def test_documents_that_cannot_be_taken_do_not_hide_the_journal(
    story: Story, capfd: pytest.CaptureFixture[str]
) -> None:
    history = story.tree / DOCUMENTS.snapshots
    aside = history.rename(story.tree / "aside")
    history.write_text("no directory")
    said = start(story, NOW, capfd)
    assert len(said.not_taken) == 1
    newest = datastore.snapshots(story.tree)[-1]
    assert newest == "2026-11-25T101500Z"
    with closing(catalog.reading(story.catalog)) as database:
        assert newest in catalog_tree.known(database, story.tree.name)
    history.unlink()
    aside.rename(history)
    assert start(story, LATER, capfd).taken == [
        "SHC12345678: took documents-history/2026-11-26T101500Z, which was waiting"
    ]
    story.check_repaired()


# A sector that cannot be read any more.


class WornDisk(Disk):
    """One where, while a file called `spoilt` is there, some sectors cannot be read."""

    def __init__(self, directory: Path, kind: str) -> None:
        super().__init__(directory, kind)
        self.copies = kind == "ext4"  # the others share what is on the disk: a snapshot need not read it
        self._spoilt = directory / "spoilt"
        self._sectors: list[int] = []

    def wear_out(self, words: bytes) -> None:
        """Choose what spoil() spoils: wherever on the disk, which is stopped, `words` begin."""
        image = self._image.read_bytes()
        self._sectors = [found.start() for found in re.finditer(re.escape(words[:512]), image)]
        assert self._sectors

    def spoil(self) -> None:
        self._spoilt.touch()

    def heal(self) -> None:
        self._spoilt.unlink()

    def _server(self) -> list[str]:
        image = self._image
        hit = " || ".join(f"[ $4 -le {sector} -a {sector} -lt $(($3 + $4)) ]" for sector in self._sectors)
        refuse = f"if [ -e '{self._spoilt}' ] && {{ {hit or 'false'}; }}; then echo EIO worn out >&2; exit 1; fi"
        return [
            "eval",
            f"get_size=stat --format %s '{image}'",
            f"pread={refuse}; dd if='{image}' bs=64k iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none",
            f"pwrite=dd of='{image}' bs=64k oflag=seek_bytes conv=notrunc seek=$4 status=none",
            "can_write=exit 0", "can_flush=exit 0", "flush=exit 0",
        ]  # fmt: skip


WORDS = random.Random(7).randbytes(256 * 1024)


@pytest.fixture
def worn(kind: str, tmp_path: Path) -> Iterator[tuple[WornDisk, Story]]:
    """A tree with one document on a disk where what begins with WORDS can be spoilt; no run is complete yet."""
    if reason := power.missing(kind):
        pytest.skip(reason)
    with WornDisk(tmp_path / "disk", kind) as disk:
        story = Story(disk.root / "library" / "users")
        disk.make()
        story.users.parent.mkdir()
        story.begin()
        story.write(1, b"readable")
        yield disk, story


def run_again(disk: WornDisk) -> None:
    """Restart the machine: nothing of the disk is in memory any more, and the sector of WORDS is known."""
    disk.stop()
    disk.wear_out(WORDS)
    disk.start()


def start_on_a_bad_sector(disk: WornDisk, story: Story, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Take what waits while `path` in the tree cannot be read: it is, and one line says what is not in it."""
    run_again(disk)
    disk.spoil()
    with pytest.raises(OSError, match="Input/output error"):
        (story.tree / path).read_bytes()
    said = start(story, NOW, capfd)
    disk.heal()
    assert (len(said.taken), said.not_taken) == (1, []), said
    if not disk.copies:
        assert (said.other, unreadable.read(story.tree)) == ([], {})
        return
    (line,) = said.other
    assert f"1 files or directories cannot be read any more, such as '{path}'" in line
    assert unreadable.read(story.tree) == {str(path): datastore.snapshots(story.tree)[-1]}
    assert not (story.tree / path).exists(), "else rsync would not send it again"


def send_again(story: Story, capfd: pytest.CaptureFixture[str]) -> None:
    """The laptop sends what is missing, and that is the end of it."""
    story.write(2, WORDS)
    story.write_file("letter", WORDS)
    story.end_run()
    assert len(start(story, LATER, capfd).taken) == 1
    story.check_repaired()
    assert unreadable.read(story.tree) == {}


DATA = Path("02", school.uid(2), "data")


@ON_EACH_FILE_SYSTEM
def test_a_document_that_came_and_cannot_be_read_is_left_out_whole_and_sent_again(
    worn: tuple[WornDisk, Story], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    disk, story = worn
    story.write(2, WORDS)
    story.end_run()
    start_on_a_bad_sector(disk, story, story.incoming.relative_to(story.tree) / DATA, capfd)
    if disk.copies:
        story.take_back(DATASTORE, str(DATA.parent))
        assert school.uid(2) not in datastore.entries(story.tree / "datastore" / datastore.snapshots(story.tree)[-1])
    story.check_repaired()
    send_again(story, capfd)


@ON_EACH_FILE_SYSTEM
def test_a_document_that_changed_and_cannot_be_read_stays_whole_as_it_was(
    worn: tuple[WornDisk, Story], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    disk, story = worn
    story.write(2, b"first words")
    story.end_run()
    assert story.take(school.day(0))
    story.write(2, WORDS)
    story.write(3, b"new")
    story.remove(1)
    story.end_run()
    start_on_a_bad_sector(disk, story, story.incoming.relative_to(story.tree) / DATA, capfd)
    if disk.copies:
        story.take_back(DATASTORE, str(DATA.parent))
    story.check_repaired()
    assert [uid for uid, _ in keepsakes.every(story.tree)] == [school.uid(1)], "the other one did not leave"
    send_again(story, capfd)


@ON_EACH_FILE_SYSTEM
def test_a_plain_file_that_cannot_be_read_stays_as_it_was(
    worn: tuple[WornDisk, Story], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    disk, story = worn
    story.write_file("letter", b"dear")
    story.end_run()
    assert story.take(school.day(0))
    story.write_file("letter", WORDS)
    story.end_run()
    start_on_a_bad_sector(disk, story, Path(DOCUMENTS.incoming, "letter"), capfd)
    if disk.copies:
        story.take_back(DOCUMENTS, "letter")
    story.check_repaired()
    send_again(story, capfd)


@ON_EACH_FILE_SYSTEM
def test_a_document_that_left_and_cannot_be_read(
    worn: tuple[WornDisk, Story], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    disk, story = worn
    story.write(2, WORDS)
    story.end_run()
    assert story.take(school.day(0))
    story.remove(2)
    story.write(3, b"new")
    story.end_run()
    run_again(disk)
    disk.spoil()
    said = start(story, NOW, capfd)
    disk.heal()
    assert len(said.taken) == 1, said
    story.check_repaired()
    if kind == "ext4":  # copied, so the snapshot that holds it stays instead
        assert [line for line in said.other if "instead of keepsakes" in line] == said.other[:1]
        assert [pin.why for pin in pins.read(story.tree).values()] == [{pins.KEEPSAKES}]
    else:
        assert [uid for uid, _ in keepsakes.every(story.tree)] == [school.uid(2)]
