# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing is all or nothing, and what apt takes is what was published."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import crashing
import publishing
from publishing import MARIA, Fedora, Laptop, at, deb, rpm, served
from schoolserver import (
    audit,
    durable,
    programs,
    push_key,
    repository,
    repository_build,
    repository_key,
    school_package,
)
from schoolserver.errors import Refusal
from schoolserver.repository import KEPT, Publication, Repository
from schoolserver.school_package import Content, School


@pytest.fixture(autouse=True)
def _possible(request: pytest.FixtureRequest) -> None:
    if "where" in request.fixturenames and (reason := publishing.missing()):
        pytest.skip(reason)


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Repository]:
    # The path of an agent's socket must be short.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="xs-") as short:
        yield publishing.stand(tmp_path, Path(short) / "workshop")


@pytest.fixture
def laptop(where: Repository, tmp_path: Path) -> Iterator[Laptop]:
    """A laptop that knows the key of the first publication, version 1.0."""
    repository.publish(where, [deb(tmp_path, "1.0")], at(0), MARIA)
    with served(where.at / "current") as address:
        yield Laptop(tmp_path / "laptop", address, where.at / "current/school.asc")


def everything(where: Repository) -> dict[str, bytes | str]:
    """Return all that there is of a repository, keys too."""
    found: dict[str, bytes | str] = {}
    for path in where.at.parent.rglob("*"):
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        elif path.is_file():
            found[str(path)] = path.read_bytes()
    return found


def versions(where: Repository) -> list[str]:
    return [one.version for one in repository.publications(where.at)]


def current(where: Repository) -> Publication:
    (found,) = (one for one in repository.publications(where.at) if one.stamp == repository.current(where.at))
    return found


def test_a_laptop_gets_what_was_published_and_then_what_is_newer(
    where: Repository, laptop: Laptop, tmp_path: Path
) -> None:
    assert laptop.update() == ""
    assert laptop.offered() == "1.0"
    repository.publish(where, [deb(tmp_path, "1.1")], at(1), MARIA)
    assert laptop.update() == ""
    assert laptop.offered() == "1.1"
    assert laptop.download() == ""
    (got,) = laptop.downloads.iterdir()
    assert subprocess.check_output(["dpkg-deb", "--field", got, "Version"], text=True) == "1.1\n"
    assert [entry.what for entry in audit.read(where.audit)] == [
        "published xo-client 1.0 for laptops",
        "published xo-client 1.1 for laptops",
    ]


def test_after_a_withdrawal_a_laptop_is_offered_the_version_before(
    where: Repository, laptop: Laptop, tmp_path: Path
) -> None:
    repository.publish(where, [deb(tmp_path, "1.1")], at(1), MARIA)
    assert laptop.update() == ""
    assert laptop.offered() == "1.1"
    repository.withdraw(where, at(2), MARIA)
    assert laptop.update() == ""
    assert laptop.offered() == "1.0"
    # The withdrawn one is nothing to go back to.
    assert versions(where) == ["1.0"]
    with pytest.raises(Refusal, match="no earlier publication"):
        repository.withdraw(where, at(3), MARIA)


def test_a_laptop_that_knows_only_the_old_key_goes_on_while_both_sign(
    where: Repository, laptop: Laptop, tmp_path: Path
) -> None:
    repository.rotate_key(where, at(1), MARIA)
    assert laptop.update() == ""
    repository.publish(where, [deb(tmp_path, "1.1")], at(2), MARIA)
    assert laptop.update() == ""
    assert laptop.offered() == "1.1"
    both = where.at / "current/school.asc"
    with pytest.raises(Refusal, match="--finish"):
        repository.rotate_key(where, at(3), MARIA)
    with served(where.at / "current") as address:
        newer = Laptop(tmp_path / "newer", address, both)
        repository.rotate_key(where, at(4), MARIA, finish=True)
        assert newer.update() == ""
        assert newer.offered() == "1.1"
        fresh = Laptop(tmp_path / "fresh", address, where.at / "current/school.asc")
        assert fresh.update() == ""
    assert laptop.update() != ""
    with pytest.raises(Refusal, match="one key only"):
        repository.rotate_key(where, at(5), MARIA, finish=True)


def known(where: Repository, into: Path) -> dict[str, str]:
    """Return what the current xo-school has, by path."""
    (package,) = (where.at / "current/").resolve().rglob("xo-school_*.deb")
    assert package.name == f"xo-school_{current(where).school}_all.deb"
    return school_package.read(package, into / package.stem)


def test_laptops_learn_the_schools_keys_by_a_package_of_the_publication(
    where: Repository, laptop: Laptop, tmp_path: Path
) -> None:
    assert laptop.update() == ""
    assert laptop.offered("xo-school") == current(where).school
    found = known(where, tmp_path)
    assert set(found) == {school_package.KEYRING, school_package.SOURCES, school_package.PUSH_KEYS}
    assert found[school_package.KEYRING] == (where.at / "current/school.asc").read_text()
    public = subprocess.check_output(["ssh-keygen", "-y", "-f", where.push], text=True).split()
    assert found[school_package.PUSH_KEYS] == f"restrict {public[0]} {public[1]}\n"
    assert "PRIVATE" not in str(found)
    assert where.push.stat().st_mode & 0o7777 == 0o600


def test_what_laptops_know_keeps_its_version_until_it_changes_and_then_it_rises(
    where: Repository, laptop: Laptop, tmp_path: Path
) -> None:
    first = current(where).school
    repository.publish(where, [deb(tmp_path, "1.1")], at(1), MARIA)
    assert current(where).school == first
    repository.rotate_key(where, at(-100), MARIA)  # the clock went back
    second = current(where).school
    assert int(second) > int(first)
    assert known(where, tmp_path)[school_package.KEYRING] == (where.at / "current/school.asc").read_text()
    assert len(current(where).fingerprints) == 2
    repository.withdraw(where, at(-90), MARIA)
    assert current(where).school == second
    repository.rotate_key(where, at(-80), MARIA, finish=True)
    third = current(where).school
    assert int(third) > int(second)
    shutil.rmtree(where.at)
    repository.publish(where, [deb(tmp_path, "1.2")], at(-200), MARIA)
    assert int(current(where).school) > int(first)


def test_the_same_again_brings_laptops_a_key_that_was_changed(where: Repository, tmp_path: Path) -> None:
    files = [deb(tmp_path, "1.0")]
    repository.publish(where, files, at(0), MARIA)
    first, known_first = current(where).school, known(where, tmp_path)
    where.push.unlink()
    assert repository.is_stale(where, current(where))
    assert repository.publish(where, files, at(1), MARIA).changed
    assert int(current(where).school) > int(first)
    now = known(where, tmp_path)
    assert now[school_package.PUSH_KEYS] != known_first[school_package.PUSH_KEYS]
    assert now[school_package.KEYRING] == known_first[school_package.KEYRING]
    assert not repository.publish(where, files, at(2), MARIA).changed
    # It stands for the one before: there is nothing to go back to.
    assert versions(where) == ["1.0"]


def test_a_publication_from_before_there_was_an_xo_school_is_made_anew(where: Repository, tmp_path: Path) -> None:
    files = [deb(tmp_path, "1.0")]
    repository.publish(where, files, at(0), MARIA)
    record = where.at / "current/publication.json"
    old = json.loads(record.read_text())
    record.write_text(json.dumps({name: old[name] for name in ("stamp", "version", "files", "keys", "replaces")}))
    with pytest.raises(Refusal, match="nothing is published that a stick could hold"):
        repository.export(where, tmp_path / "stick")
    assert repository.publish(where, files, at(1), MARIA).changed
    assert current(where).school


def test_a_push_key_that_is_none_changes_nothing(where: Repository, laptop: Laptop, tmp_path: Path) -> None:
    where.push.write_text("hello")
    with pytest.raises(Refusal, match=r"push-key is no key .*: remove it"):
        repository.publish(where, [deb(tmp_path, "1.1")], at(1), MARIA)
    assert current(where).version == "1.0"
    assert laptop.update() == ""


@pytest.mark.parametrize("part", ["keys", "push", "more"])
def test_an_xo_school_with_other_keys_is_not_published(
    part: str, where: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = school_package.make

    def eves(at: Path, content: Content, before: School | None, stamp: str) -> School:
        if part == "keys":
            content = Content(content.keys + _other_key(tmp_path), content.push)
        elif part == "push":
            content = Content(content.keys, "ssh-ed25519 AAAAEve")
        else:
            (at / school_package.version_of(stamp) / "usr").mkdir(parents=True)
            (at / school_package.version_of(stamp) / "usr/eve").write_text("eve")
        return make(at, content, before, stamp)

    monkeypatch.setattr(school_package, "make", eves)
    with pytest.raises(Refusal, match=r"nothing is published, .*xo-school_\d+_all\.deb (has other keys|is not what)"):
        repository.publish(where, [deb(tmp_path, "1.0")], at(0), MARIA)
    assert repository.current(where.at) is None


def _other_key(tmp_path: Path) -> str:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="xs-") as short:
        name = repository_key.make(tmp_path / "eves", Path(short) / "workshop", at(0))
        with repository_key.ring(tmp_path / "eves", [name], Path(short) / "workshop") as ring:
            ring.export(tmp_path / "eve.asc", armoured=True)
    return (tmp_path / "eve.asc").read_text()


def test_a_laptop_that_asks_in_the_moment_of_the_switch_is_right_when_it_asks_again(
    where: Repository, laptop: Laptop, tmp_path: Path
) -> None:
    assert laptop.update() == ""
    newer = deb(tmp_path, "1.1")

    def switch(path: str) -> None:
        if "Packages" in path and current(where).version == "1.0":
            repository.publish(where, [newer], at(1), MARIA)

    with served(where.at / "current", switch) as address:
        other = Laptop(tmp_path / "other", address, where.at / "current/school.asc")
        # Of another size in nearly all cases; compressed, two lists can have the same.
        refused = other.update()
        assert "unexpected size" in refused or "Hash Sum mismatch" in refused
        assert other.update() == ""
        assert other.offered() == "1.1"


def test_apt_refuses_a_package_that_somebody_changed(where: Repository, laptop: Laptop) -> None:
    assert laptop.update() == ""
    (package,) = (where.at / "current/").resolve().rglob("xo-client_*.deb")
    content = bytearray(package.read_bytes())
    content[-100] ^= 1
    package.write_bytes(content)
    assert "Hash Sum mismatch" in laptop.download()
    assert list(laptop.downloads.glob("*.deb")) == []


def test_apt_refuses_an_index_that_is_not_signed_or_by_another_key(
    where: Repository, laptop: Laptop, tmp_path: Path
) -> None:
    dists = (where.at / "current/apt/dists/school").resolve()
    (dists / "InRelease").rename(dists / "aside")
    (dists / "Release.gpg").unlink()
    assert "not signed" in laptop.update()
    (tmp_path / "eve").mkdir()
    eve = publishing.stand(tmp_path / "eve" / "x", where.workshop)
    repository.publish(eve, [deb(tmp_path, "9.9")], at(0), MARIA)
    shutil.rmtree(dists.parents[1])
    shutil.copytree(eve.at / "current/apt", dists.parents[1])
    assert "NO_PUBKEY" in laptop.update() or "not signed" in laptop.update()
    assert laptop.offered() != "9.9"


def test_a_laptop_goes_on_when_the_servers_clock_went_back(where: Repository, laptop: Laptop, tmp_path: Path) -> None:
    assert laptop.update() == ""
    repository.publish(where, [deb(tmp_path, "1.1")], at(-100), MARIA)
    assert laptop.update() == ""
    assert laptop.offered() == "1.1"


def test_fedoras_package_is_listed_and_its_list_signed(where: Repository, tmp_path: Path) -> None:
    repository.publish(where, [rpm(tmp_path, "1.0"), deb(tmp_path, "1.0")], at(0), MARIA)
    repodata = where.at / "current/rpm/repodata"
    with repository_key.ring(where.keys, repository_key.names(where.keys), where.workshop) as ring:
        keyring = ring.home / "public"
        ring.export(keyring, armoured=False)
        by = repository_key.signers(keyring, repodata / "repomd.xml.asc", repodata / "repomd.xml")
        assert by == ring.fingerprints()
        assert len(by) == 1
        (repodata / "repomd.xml").write_text("<repomd/>")
        with pytest.raises(Refusal, match="gpgv"):
            repository_key.signers(keyring, repodata / "repomd.xml.asc", repodata / "repomd.xml")
    (primary,) = repodata.glob("*-primary.xml.gz")
    listed = gzip.decompress(primary.read_bytes()).decode()
    assert 'href="xo-client-1.0.noarch.rpm"' in listed
    assert (where.at / "current/rpm/xo-client-1.0.noarch.rpm").exists()


def test_dnf_installs_what_was_published_and_refuses_a_list_that_somebody_changed(
    where: Repository, tmp_path: Path
) -> None:
    if shutil.which("dnf") is None:
        pytest.skip("dnf is not installed: make setup")
    for day, version in enumerate(("1.0", "1.1")):
        repository.publish(where, [rpm(tmp_path, version), deb(tmp_path, version)], at(day), MARIA)
    with served(where.at / "current") as address:
        laptop = Fedora(tmp_path / "fedora", address)
        assert laptop.dnf("install", "xo-client").returncode == 0
        assert laptop.dnf("list", "--installed").stdout.split()[-3:] == ["xo-client.noarch", "1.1-1", "@school"]
        assert (laptop.root / "usr/share/xo-client/data").exists()
        listed = (where.at / "current/rpm/repodata/repomd.xml").resolve()
        listed.write_text(listed.read_text() + "<!-- Eve -->")
        assert "Bad GPG signature" in laptop.dnf("repoquery", "xo-client").stderr


def test_the_secret_is_roots_alone_and_nothing_of_it_is_served(where: Repository, laptop: Laptop) -> None:
    assert where.keys.stat().st_mode & 0o7777 == 0o700
    (key,) = where.keys.iterdir()
    assert key.stat().st_mode & 0o7777 == 0o600
    secret = key.read_bytes().splitlines()[2]
    published = [path for path in where.at.rglob("*") if not path.is_symlink()]
    assert {path.stat().st_mode & 0o7777 for path in published} == {0o644, 0o755}
    assert all(
        secret not in path.read_bytes() and b"PRIVATE" not in path.read_bytes() for path in published if path.is_file()
    )
    assert not where.workshop.exists()


def test_the_same_again_changes_nothing(where: Repository, tmp_path: Path) -> None:
    files = [deb(tmp_path, "1.0"), rpm(tmp_path, "1.0")]
    assert repository.publish(where, files, at(0), MARIA).changed
    before = everything(where)
    assert not repository.publish(where, files, at(1), MARIA).changed
    assert everything(where) == before


def test_fedoras_package_may_come_later(where: Repository, tmp_path: Path) -> None:
    first = deb(tmp_path, "1.0")
    repository.publish(where, [first], at(0), MARIA)
    assert repository.publish(where, [first, rpm(tmp_path, "1.0")], at(1), MARIA).changed
    assert set(current(where).files) == {"xo-client_1.0_all.deb", "xo-client-1.0.noarch.rpm"}


def cut(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[:9000])
    return file


def text(file: Path) -> Path:
    file.write_text("hello")
    return file


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda at: [at / "nothing.deb"], "nothing.deb cannot be read: No such file"),
        (lambda at: [at], "cannot be read: Is a directory"),
        (lambda at: [text(at / "notes.deb")], "notes.deb is no package"),
        (lambda at: [text(at / "empty.deb").open("w") and at / "empty.deb"], "empty.deb is no package"),
        (lambda at: [cut(deb(at, "2.0"))], "is not whole"),
        (lambda at: [deb(at, "2.0"), cut(rpm(at, "2.0"))], "is not whole"),
        (lambda at: [deb(at, "2.0", "sugar")], "is sugar for all: only xo-client"),
        (lambda at: [deb(at, "2.0"), rpm(at, "2.0", "sugar")], "the .rpm is sugar noarch 2.0"),
        (lambda at: [deb(at, "2.0"), rpm(at, "2.1")], "the .rpm is xo-client noarch 2.1"),
        (lambda at: [rpm(at, "2.0")], "there is no .deb"),
        (lambda at: [deb(at, "2.0"), deb(at, "2.1")], "give one of them"),
        (lambda at: [deb(at, "0.9")], "0.9 is older than 1.0"),
        (lambda at: [deb(at, "1.0", content="other")], "another xo-client 1.0 is published"),
        (lambda at: [deb(at, "1:2.0")], "has the version '1:2.0'"),
    ],
)
def test_bad_input_gets_one_line_and_changes_nothing(
    make: Callable[[Path], list[Path]], said: str, where: Repository, tmp_path: Path
) -> None:
    repository.publish(where, [deb(tmp_path, "1.0")], at(0), MARIA)
    before = everything(where)
    (tmp_path / "bad").mkdir()
    files = make(tmp_path / "bad")
    with pytest.raises(Refusal) as refused:
        repository.publish(where, files, at(1), MARIA)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    audit_trail = str(where.audit)
    assert {name: content for name, content in everything(where).items() if name != audit_trail} == {
        name: content for name, content in before.items() if name != audit_trail
    }
    assert not where.workshop.exists()


def test_an_older_version_is_published_when_it_is_asked_for(where: Repository, tmp_path: Path) -> None:
    repository.publish(where, [deb(tmp_path, "1.0")], at(0), MARIA)
    assert repository.publish(where, [deb(tmp_path, "0.9")], at(1), MARIA, older_too=True).changed
    assert current(where).version == "0.9"


def test_a_full_disk_changes_nothing(where: Repository, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", where.at.parent], check=True)
    try:
        (where.at.parent / "users").mkdir()
        repository.publish(where, [deb(tmp_path, "1.0")], at(0), MARIA)
        newer = deb(tmp_path, "1.1", content="x")
        with (where.at.parent / "fill").open("wb", buffering=0) as fill, pytest.raises(OSError, match="space"):
            while True:
                fill.write(bytes(4096))
        before = everything(where)
        with pytest.raises(Refusal, match=r"(?i)nothing is published, all is as it was: .*no space left"):
            repository.publish(where, [newer], at(1), MARIA)
        assert everything(where) == before
        (where.at.parent / "fill").unlink()
        assert repository.publish(where, [newer], at(1), MARIA).changed
    finally:
        subprocess.run(["umount", "--lazy", where.at.parent], check=True)


# Each takes seconds, with a publication to mend it: make test stops before every fourth, make soak before each.
each_step = pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.soak)])


@each_step
def test_whatever_is_cut_off_laptops_see_the_one_before_or_the_new_one(
    where: Repository, laptop: Laptop, tmp_path: Path, stride: int
) -> None:
    newer = deb(tmp_path, "1.1")
    kept = tmp_path / "kept"
    shutil.copytree(where.at.parent, kept, symlinks=True)
    changes = [
        (programs, "run"), (durable, "replace"), (durable, "sync_directory"), (shutil, "rmtree"), (audit, "record"),
        (Path, "rename"), (Path, "mkdir"), (Path, "symlink_to"),
    ]  # fmt: skip

    def act() -> None:
        repository.publish(where, [newer], at(1), MARIA)

    number, seen = 0, set()
    while True:
        shutil.rmtree(where.at.parent)
        shutil.copytree(kept, where.at.parent, symlinks=True)
        done = crashing.stopped_before(number, act, changes) is not None
        assert laptop.update() == "", f"stopped before change {number}"
        offered = laptop.offered()
        assert offered in {"1.0", "1.1"}
        seen.add(offered)
        shutil.rmtree(laptop.downloads.parent / "var/lib/apt/lists")
        repository.publish(where, [newer], at(2), MARIA)
        assert current(where).version == "1.1"
        assert versions(where) == ["1.0", "1.1"]
        assert list(where.at.glob(".*")) == []
        assert not where.workshop.exists()
        if done:
            break
        number += stride
    assert number > 20
    assert seen == {"1.0", "1.1"}


def turn(where: Repository) -> None:
    repository.rotate_key(where, at(2), MARIA)


def finish(where: Repository) -> None:
    repository.rotate_key(where, at(3), MARIA, finish=True)


def go_back(where: Repository) -> None:
    repository.withdraw(where, at(3), MARIA)


@each_step
@pytest.mark.parametrize("act", [turn, finish, go_back])
def test_whatever_is_cut_off_no_laptop_is_lost_and_the_next_command_mends(
    act: Callable[[Repository], None], where: Repository, tmp_path: Path, stride: int
) -> None:
    repository.publish(where, [deb(tmp_path, "1.0")], at(0), MARIA)
    newer = deb(tmp_path, "1.1")
    repository.publish(where, [newer], at(1), MARIA)
    if act is finish:
        turn(where)
    before = current(where)
    field = tmp_path / "field.asc"  # what laptops have from the xo-school before
    field.write_text(known(where, tmp_path)[school_package.KEYRING])
    kept = tmp_path / "kept"
    shutil.copytree(where.at.parent, kept, symlinks=True)
    changes = [
        (repository_build, "build"), (durable, "replace"), (durable, "sync_directory"), (shutil, "rmtree"),
        (audit, "record"), (Path, "rename"), (Path, "mkdir"), (Path, "symlink_to"), (Path, "unlink"),
    ]  # fmt: skip
    number, done = 0, False
    with served(where.at / "current") as address:
        while not done:
            shutil.rmtree(where.at.parent)
            shutil.copytree(kept, where.at.parent, symlinks=True)
            done = crashing.stopped_before(number, lambda: act(where), changes) is not None
            laptop = Laptop(tmp_path / f"laptop-{number}", address, field)
            try:
                assert laptop.update() == ""
                assert set(current(where).keys) <= set(repository_key.names(where.keys))
                assert set(before.keys[-1:]) <= set(repository_key.names(where.keys))
                if act is not finish:
                    assert set(before.keys) <= set(repository_key.names(where.keys))
                assert int(current(where).school) >= int(before.school)
                repository.publish(where, [newer], at(4), MARIA, older_too=True)
                assert not repository.is_stale(where, current(where))
                assert laptop.update() == ""
                assert laptop.offered() == "1.1"
                assert laptop.offered("xo-school") == current(where).school
                if act is finish and len(current(where).keys) == 2:
                    finish(where)
                    assert current(where).keys == before.keys[-1:]
                    assert list(repository_key.names(where.keys)) == before.keys[-1:]
                    assert laptop.update() == ""
                assert list(where.at.glob(".*")) == []
            except BaseException as error:
                error.add_note(f"stopped before change {number}")
                raise
            number += stride
    assert number > 8


def test_a_push_key_whose_making_was_cut_off_is_made_at_the_next_publication(where: Repository, tmp_path: Path) -> None:
    files = [deb(tmp_path, "1.0")]
    for left in (".push-key.new", ".push-key.new.pub"):
        (where.at.parent / left).write_text("half")
    repository.publish(where, files, at(0), MARIA)
    assert push_key.public(where.push).startswith("ssh-ed25519 ")
    assert list(where.at.parent.glob(".push*")) == []


def test_a_stick_holds_what_is_published_and_is_written_anew(where: Repository, tmp_path: Path) -> None:
    repository.publish(where, [deb(tmp_path, "1.0"), rpm(tmp_path, "1.0")], at(0), MARIA)
    stick = tmp_path / "stick"
    assert repository.export(where, stick) == "1.0"
    school = f"xo-school_{current(where).school}_all.deb"
    assert {path.name for path in stick.iterdir()} == {
        "install", "readme.txt", "xo-client_1.0_all.deb", "xo-client-1.0.noarch.rpm", school,
    }  # fmt: skip
    assert len((stick / "readme.txt").read_text().splitlines()) == 3
    repository.publish(where, [deb(tmp_path, "1.1")], at(1), MARIA)
    repository.export(where, stick)
    assert {path.name for path in stick.iterdir()} == {"install", "readme.txt", "xo-client_1.1_all.deb", school}
    (package,) = (where.at / "current/").resolve().rglob("xo-school_*.deb")
    package.write_bytes(b"eve")
    with pytest.raises(Refusal, match="is not what was published"):
        repository.export(where, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_rotation_that_was_cut_off_is_finished_by_the_next(where: Repository, laptop: Laptop) -> None:
    repository_key.make(where.keys, where.workshop, at(1))  # and then the power went
    repository.rotate_key(where, at(2), MARIA)
    assert len(current(where).keys) == 2
    assert laptop.update() == ""


def test_only_one_publishes_at_a_time(where: Repository, tmp_path: Path) -> None:
    from schoolserver.alone import alone

    with alone(where.lock, ""), pytest.raises(Refusal, match="at work"):
        repository.publish(where, [deb(tmp_path, "1.0")], at(0), MARIA)


def test_without_a_library_nothing_is_made_on_the_systems_disk(where: Repository, tmp_path: Path) -> None:
    (where.at.parent / "users").rmdir()
    with pytest.raises(Refusal, match=r"library\.mount"):
        repository.publish(where, [deb(tmp_path, "1.0")], at(0), MARIA)
    assert list(where.at.parent.iterdir()) == []


def publication(stamp: str, replaces: list[str]) -> Publication:
    return Publication(stamp, "1.0", {}, [], replaces)


@given(st.integers(1, 12), st.data())
def test_what_leaves_is_never_the_current_one_nor_one_of_the_last_before_it(count: int, data: st.DataObject) -> None:
    names = [f"2026-11-{day:02}T000000Z" for day in range(1, count + 1)]
    now = data.draw(st.integers(0, count - 1))
    replaced = data.draw(st.sets(st.sampled_from(names[:now]))) if now else set()
    found = [publication(name, sorted(replaced) if index == now else []) for index, name in enumerate(names)]
    left = repository.leaving(found, names[now])
    stays = [name for name in names if name not in left]
    assert stays[-1] == names[now]
    assert stays[:-1] == [name for name in names[:now] if name not in replaced][-KEPT:]


def test_where_nothing_is_current_nothing_leaves() -> None:
    found = [publication("2026-11-01T000000Z", [])]
    assert repository.leaving(found, None) == []
    assert repository.leaving(found, "2026-11-02T000000Z") == []
