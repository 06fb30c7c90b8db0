# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate as a laptop meets it: real rsync on both sides, the real jail, the real parts behind the sockets, no ssh."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import filtering
import laptops
import school
from laptops import ANN, JIM
from schoolserver import accounts, acts, gate, local_server, paths, registrar, snapshot
from schoolserver.accounts import Account
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.local_socket import Message
from schoolserver.permission import Permission
from schoolserver.settings import Accounts
from schoolserver.ticket_socket import Asked
from schoolserver.tickets import Tickets

UID = 20000
PYTHON = "/usr/bin/python3"  # as in the gate's first line; a learner cannot reach every virtual environment
# In ssh's place: rsync starts it as `ssh <host> <command…>`. It does what sshd does: another uid, another environment.
SSH = """#!{python} -IS
import os, sys
os.setgroups({groups}); os.setgid({uid}); os.setuid({uid})
command = [{python!r}, "-IS", {gate!r}, "-c", "gate {tree}"]
os.execve(command[0], command, {{"SSH_ORIGINAL_COMMAND": " ".join(sys.argv[2:])}})
"""
# The gate, told that the school stands elsewhere and what to hurry.
GATE = """
import functools, sys
from pathlib import Path
sys.path.insert(0, {package!r})
from schoolserver import gate, jail, paths, settings
gate.USERS, gate.SOCKETS, gate.LEARNERS = {users!r}, {sockets!r}, {learners!r}
paths.USERS, paths.SOCKETS = Path({users!r}), Path({sockets!r})
settings.PARTS["accounts"] = functools.partial(settings.Accounts, **{limits!r})
jail.FILTER = {filter!r}
gate._LOCK_SECONDS, gate._REPORT_SECONDS, gate._PLACE_SECONDS = 0.3, 5.0, 5.0
program, real = {program!r}, jail.argv
if program:
    jail.argv = lambda *given, **how: (lambda argv: argv[:argv.index("--") + 1] + program)(real(*given, **how))
sys.exit(gate.main())
"""


class School:
    """A school in a directory that learners can get to, with the parts that a test starts."""

    def __init__(self, top: Path, package: Path) -> None:
        self.top = top
        self.package = package
        self.filter = filtering.filter_file()
        self.house = House(top / "users", top / "state", top / "extrausers", top / "keys")
        for directory in (self.house.users, self.house.state, self.house.extrausers, self.house.keys, top / "run"):
            directory.mkdir(0o755)
        self.laptop = top / "laptop"
        for name in ("datastore", "power-logs", "documents"):
            (self.laptop / name).mkdir(parents=True)

    def register(self, serial: str = JIM, key: int = 0) -> Account:
        return registrar.register(laptops.message(serial, laptops.dsa(key)), self.house).account

    def ssh(
        self,
        tree: str = JIM,
        uid: int = UID,
        program: list[str] | None = None,
        groups: Sequence[int] = (),
        **limits: int,
    ) -> Path:
        names = {"users": str(self.house.users), "sockets": str(self.top / "run"), "package": str(self.package)}
        names["filter"] = str(self.filter)
        names["learners"] = str(self.house.learners)
        gate_script, script = self.top / "gate", self.top / "ssh"
        gate_script.write_text(GATE.format(**names, limits=limits, program=program))
        script.write_text(SSH.format(python=PYTHON, uid=uid, groups=list(groups), gate=str(gate_script), tree=tree))
        script.chmod(0o755)
        return script

    def rsync(self, *arguments: str, ssh: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = ["rsync", "-e", str(ssh or self.ssh()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.laptop)

    def push(self, name: str = "datastore", ssh: Path | None = None) -> subprocess.CompletedProcess[str]:
        """What ds-backup 0.15 does for one directory."""
        destination = "datastore-current" if name == "datastore" else name
        options = ("-z", "-rlt", "--partial", "--delete", "--timeout=160")
        return self.rsync(*options, f"{name}/", f"schoolserver:{destination}", ssh=ssh)

    def flag(self) -> subprocess.CompletedProcess[str]:
        (self.laptop / "flag").write_text("")
        where = f"schoolserver:/var/lib/ds-backup/completion/{JIM}"
        return self.rsync("-z", "-rlt", "--timeout", "10", "-T", "/tmp", "flag", where)

    def ask(self, command: str, **limits: int) -> subprocess.CompletedProcess[str]:
        ssh = self.ssh(JIM, UID, None, (), **limits)
        return subprocess.run([ssh, "schoolserver", command], capture_output=True, text=True, check=False)

    @property
    def tree(self) -> Path:
        return self.house.users / JIM

    def marked(self) -> bool:
        return (self.tree / ".state" / "complete").exists()

    @property
    def stamps(self) -> list[str]:
        return sorted(os.listdir(self.tree / "datastore"))

    def take(self, request: Message, uid: int) -> Message:
        assert uid == 20000
        return {"ok": True, "stamp": snapshot.take(self.tree, datetime.now(UTC), self.house.state / "catalog.db")}

    def take_of(self, tree: str) -> None:
        assert snapshot.take(self.house.users / tree, datetime.now(UTC), self.house.state / "catalog.db")

    @contextmanager
    def listening(self, name: str) -> Iterator[socket.socket]:
        path = self.top / "run" / name
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen()
            yield listener
        path.unlink()

    @contextmanager
    def snapshots(self) -> Iterator[None]:
        with self.listening("snapshot") as listener:
            threading.Thread(target=serve, args=(listener, self.take), daemon=True).start()
            yield

    @contextmanager
    def places(self, limit: int = 8) -> Iterator[Permission]:
        permission = Permission(Accounts(places=limit), self.house.state / "registry.db", self.house.users)
        with self.listening("place") as listener:
            threading.Thread(target=permission.seat_all, args=(listener,), daemon=True).start()
            yield permission


def serve(listener: socket.socket, answer: Callable[[Message, int], Message]) -> None:
    try:
        local_server.serve(listener, answer)
    except OSError:
        return  # the test closed it


@pytest.fixture(scope="module")
def ground(btrfs_image: Path) -> Iterator[Path]:
    """A directory on btrfs that a learner's uid can get to, unlike pytest's own, with the package in it."""
    for program in ("rsync", "bwrap"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    probe = subprocess.run(
        ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"],
        user=UID,
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode != 0:
        pytest.skip(f"this kernel allows no user namespaces: {probe.stderr.strip()}")
    directory = Path(tempfile.mkdtemp(prefix="xs-gate-"))
    subprocess.run(["mount", "--bind", str(btrfs_image), str(directory)], check=True)
    directory.chmod(0o711)
    shutil.copytree(Path(gate.__file__).parent, directory / "package" / "schoolserver")
    yield directory
    shutil.rmtree(directory / "package")  # the btrfs outlives it
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
    directory.rmdir()


def a_school(ground: Path) -> School:
    top = Path(tempfile.mkdtemp(dir=ground))
    top.chmod(0o711)
    here = School(top, ground / "package")
    here.register()
    for number in range(3):
        school.write_document(here.laptop / "datastore", school.uid(number))
    (here.laptop / "datastore" / "version").write_text("6")
    return here


@pytest.fixture
def here(ground: Path) -> School:
    return a_school(ground)


@pytest.fixture(scope="module")
def quiet(ground: Path) -> School:
    """A school in which nothing changes: for what must be refused."""
    return a_school(ground)


def files(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


def test_an_old_clients_run_becomes_a_snapshot(here: School) -> None:
    with here.snapshots(), here.places():
        for name in ("datastore", "power-logs", "documents"):
            assert (here.push(name).returncode, here.push(name).stderr) == (0, "")
        assert (here.flag().returncode, here.flag().stderr) == (0, "")
    assert not here.marked()
    assert os.readlink(here.tree / "datastore-latest") == f"datastore/{here.stamps[-1]}"
    assert files(here.tree / "datastore-latest") == files(here.laptop / "datastore")


def test_one_run_makes_one_snapshot(here: School) -> None:
    with here.snapshots():
        here.push()
        here.push("power-logs")
        here.flag()
        here.flag()
    assert len(here.stamps) == 1


def test_the_latest_a_snapshot_and_a_keepsake_can_be_read_back(here: School) -> None:
    with here.snapshots():
        here.push()
        shutil.rmtree(here.laptop / "datastore" / school.uid(1)[:2] / school.uid(1))
        here.push()
        first = here.stamps[0]
        sources = ["datastore-latest", f"datastore/{first}", f"keepsakes/{school.uid(1)}/{first}"]
        for number, source in enumerate(sources):
            assert here.rsync("-rlt", f"schoolserver:{source}/", f"back{number}").stderr == ""
            assert files(here.laptop / f"back{number}") == files(here.tree / source) != {}


# One child, several trees.

MARIA = Who("maria", "console")
FURTHER = f"{JIM}.2"


def joined(here: School) -> Path:
    """Jim's old tree has a backup of three documents; a new laptop, with his documents on it, is joined to it."""
    with here.snapshots():
        assert here.push().returncode == 0
    here.register(ANN, 1)
    acts.approve(here.house, ANN, JIM, MARIA)
    return here.ssh(ANN, 20001, groups=[20001, 20000])


LOUD = ("-v", "-rlt", "--partial", "--delete", "--timeout=160")
LISTING = 6000  # bytes that any run of these few documents takes: names, times, sums


def sent(done: subprocess.CompletedProcess[str]) -> int:
    """Return how many bytes the laptop sent."""
    assert done.returncode == 0, done.stderr
    return int(re.findall(r"sent ([\d,]+) bytes", done.stdout)[0].replace(",", ""))


def test_a_replaced_laptop_sends_only_what_its_childs_old_tree_has_not(here: School) -> None:
    big = here.laptop / "datastore" / school.uid(0)[:2] / school.uid(0) / "data"
    big.write_bytes(os.urandom(300_000))
    os.utime(big, (1_790_000_000, 1_790_000_000))
    ssh = joined(here)
    (here.laptop / "datastore" / "version").write_text("six")
    assert sent(here.rsync(*LOUD, "datastore/", "schoolserver:datastore-current", ssh=ssh)) < LISTING
    assert files(here.house.users / ANN / "datastore-current") == files(here.laptop / "datastore")
    owners = {path.stat().st_uid for path in (here.house.users / ANN / "datastore-current").rglob("*/data")}
    assert owners == {20001}


def test_what_differs_a_little_is_sent_as_its_difference(here: School) -> None:
    big = here.laptop / "datastore" / school.uid(0)[:2] / school.uid(0) / "data"
    big.write_bytes(os.urandom(300_000))
    ssh = joined(here)
    with big.open("ab") as file:
        file.write(b"one more sentence")
    assert sent(here.rsync(*LOUD, "datastore/", "schoolserver:datastore-current", ssh=ssh)) < 2 * LISTING
    assert files(here.house.users / ANN / "datastore-current") == files(here.laptop / "datastore")


def test_the_old_tree_is_not_changed_by_what_the_new_laptop_does(here: School) -> None:
    ssh = joined(here)
    before = files(here.tree)
    for path in (here.laptop / "datastore").rglob("title"):
        path.write_text("another title")
    assert here.push(ssh=ssh).returncode == 0
    assert files(here.tree) == before


def test_a_childs_laptops_read_each_others_snapshots(here: School) -> None:
    ssh = joined(here)
    (stamp,) = here.stamps
    assert here.rsync("-rlt", f"schoolserver:trees/{JIM}/datastore/{stamp}/", "back", ssh=ssh).stderr == ""
    assert files(here.laptop / "back") == files(here.laptop / "datastore")
    assert here.rsync("-rlt", "schoolserver:datastore-latest/", "latest", ssh=ssh).stderr == ""
    assert files(here.laptop / "latest") == files(here.laptop / "datastore"), "it has backed up nothing yet"


def test_nobody_else_reads_them_and_after_a_separation_neither_does_she(here: School) -> None:
    ssh = joined(here)
    (stamp,) = here.stamps
    here.register("SHC77777777", 5)
    acts.separate(here.house, ANN, MARIA)
    # What sshd gives a session is one lock; what the gate says is the other: it stands when the first has gone.
    for reader in (ssh, here.ssh("SHC77777777", 20002, groups=[20002, 20000])):
        refused = here.rsync("-rlt", f"schoolserver:trees/{JIM}/datastore/{stamp}/", "back", ssh=reader)
        assert refused.stderr.startswith(f"xs: {JIM} is no tree of this laptop's child")
    assert not (here.laptop / "back").exists() or not files(here.laptop / "back")


def test_a_session_that_has_not_got_the_group_yet_backs_up_all_the_same(here: School) -> None:
    joined(here)
    assert here.push(ssh=here.ssh(ANN, 20001)).returncode == 0


def test_a_reflashed_laptop_writes_its_old_tree_and_sends_nothing_twice(here: School) -> None:
    with here.snapshots():
        here.push()
    here.register(JIM, 1)
    further = here.ssh(FURTHER)
    school.write_document(here.laptop / "datastore", school.uid(7), os.urandom(300_000))
    assert here.push(ssh=further).returncode == 0
    with here.snapshots():
        here.take_of(FURTHER)
    acts.approve(here.house, JIM, None, MARIA)
    assert sent(here.rsync(*LOUD, "datastore/", "schoolserver:datastore-current")) < LISTING
    assert (here.tree / "datastore-current" / school.uid(7)[:2] / school.uid(7) / "data").exists()


def test_status_and_history_tell_of_all_trees(here: School) -> None:
    ssh = joined(here)

    def ask(verb: str) -> dict[str, Any]:
        done = subprocess.run([ssh, "schoolserver", f"xs {verb}"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    assert ask("status")["approval"] == "granted"
    assert [tree["tree"] for tree in ask("history")["trees"]] == [ANN, JIM]
    acts.separate(here.house, ANN, MARIA)
    assert ask("status")["approval"] == "none"
    assert [tree["tree"] for tree in ask("history")["trees"]] == [ANN]


def test_a_file_that_nobody_may_read_becomes_readable_for_the_services(here: School) -> None:
    for mode in (0o000, 0o600, 0o4755):
        file = here.laptop / "datastore" / f"file{mode:o}"
        file.write_text("x")
        file.chmod(mode)
    assert here.push().returncode == 0
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (here.tree / "datastore-current").glob("file*")}
    assert modes == {0o644}


def test_while_the_snapshot_part_is_down_the_mark_stays_and_nothing_is_written_over(here: School) -> None:
    assert here.push().returncode == 0
    assert here.marked()
    before = files(here.tree / "datastore-current")
    (here.laptop / "datastore" / "version").write_text("77")
    refused = here.push()
    assert refused.stderr.startswith("xs: the school server could not put the last backup of this laptop away yet")
    assert files(here.tree / "datastore-current") == before
    assert here.marked()
    with here.snapshots():
        assert here.push().returncode == 0
    assert [(here.tree / "datastore" / stamp / "version").read_text() for stamp in here.stamps] == ["6", "77"]


def test_a_flag_asks_for_the_snapshot_that_still_waits(here: School) -> None:
    here.push()
    assert here.stamps == []
    with here.snapshots():
        assert here.flag().returncode == 0
    assert len(here.stamps) == 1


def test_a_run_beyond_the_days_number_joins_the_next(here: School, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MOST_A_DAY", 1)
    with here.snapshots():
        for text in ("one", "two", "three"):
            (here.laptop / "datastore" / "file").write_text(text)
            assert here.push().returncode == 0
    assert len(here.stamps) == 1
    assert here.marked()
    assert (here.tree / "datastore-current" / "file").read_text() == "three"


def test_a_run_that_breaks_off_is_not_complete_and_neither_is_the_one_it_wrote_over(
    here: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MOST_A_DAY", 1)
    with here.snapshots():
        here.push()
        here.push()
        assert here.marked()  # beyond the day's number: it waits for the next
        assert here.push(ssh=here.ssh(program=["/usr/bin/sh", "-c", "exit 23"])).returncode != 0
    assert not here.marked()
    assert len(here.stamps) == 1


@pytest.mark.parametrize(("code", "complete"), [(0, True), (24, True), (23, False), (11, False), (1, False)])
def test_only_0_and_24_complete_a_run_and_the_laptop_sees_the_code(here: School, code: int, complete: bool) -> None:
    ssh = here.ssh(program=["/usr/bin/sh", "-c", f"exit {code}"])
    push = "rsync --server -ltrze.i --timeout=160 --delete --partial . datastore-current"
    done = subprocess.run([ssh, "schoolserver", *push.split()], check=False)
    assert (done.returncode, here.marked()) == (code, complete)


def test_since_when_runs_end_in_part_only_is_told_until_one_is_complete(here: School) -> None:
    push = "rsync --server -ltrze.i --timeout=160 --delete --partial . datastore-current"
    note = here.tree / ".state" / "incomplete"

    def run(code: int, command: str = push) -> int | None:
        subprocess.run([here.ssh(program=["/usr/bin/sh", "-c", f"exit {code}"]), "x", *command.split()], check=False)
        return note.stat().st_mtime_ns if note.exists() else None

    since = run(23)
    assert since
    assert [run(23), run(1), run(0, push.replace("datastore-current", "power-logs"))] == [since] * 3
    assert run(24) is None


def test_other_directories_complete_nothing(here: School) -> None:
    assert here.push("documents").returncode == 0
    assert not here.marked()


def test_a_gate_that_is_killed_takes_its_jail_along_and_leaves_no_mark(here: School) -> None:
    seconds = 1000 + os.getpid() % 1000
    ssh = here.ssh(program=["/usr/bin/sleep", str(seconds)])
    session = subprocess.Popen([ssh, "x", "rsync --server -ltre.i . datastore-current"], stdin=subprocess.DEVNULL)
    lock = here.tree / ".state" / "lock"
    wait_for(lambda: running(f"sleep {seconds}"))
    assert locked(lock)
    session.send_signal(signal.SIGKILL)
    session.wait()
    wait_for(lambda: not running(f"sleep {seconds}"))
    wait_for(lambda: not locked(lock))
    assert not here.marked()


def running(command: str) -> bool:
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if (
                process.read_bytes().replace(b"\0", b" ").strip().endswith(command.encode())
                and b"bwrap" not in process.read_bytes()
            ):
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


def locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def test_a_second_session_of_the_tree_waits_and_is_then_refused(here: School) -> None:
    with (here.tree / ".state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert here.push().stderr.startswith("xs: another session of this laptop is still open")
        assert here.rsync("-rlt", "schoolserver:datastore-latest/", "back").stderr.startswith(
            "xs: the school server has no backup"
        )


def test_when_all_places_are_taken_the_laptop_is_told_when_to_come_back(here: School) -> None:
    ann = here.register(ANN, 1)
    with here.places(limit=1) as permission:
        assert permission.seat({"tree": ANN}, ann.uid)["ok"]
        refused = here.push()
        assert refused.stderr.startswith("xs: the school server is busy: try again in ")
        permission.leave(ANN, "", last=True)
        assert here.push().returncode == 0


def test_a_session_holds_its_place_until_it_ends(here: School) -> None:
    with here.places(limit=1) as permission:
        assert here.push().returncode == 0
        wait_for(lambda: permission._places.sessions == {})
        ssh = here.ssh(program=["/usr/bin/sleep", "20"])
        session = subprocess.Popen([ssh, "x", "rsync --server -ltre.i . documents"], stdin=subprocess.DEVNULL)
        wait_for(lambda: permission._places.sessions == {JIM: 1})
        session.kill()
        session.wait()
        wait_for(lambda: permission._places.sessions == {})


def test_the_flag_of_a_complete_run_gives_its_lease_up(here: School) -> None:
    with here.places(limit=1) as permission:
        assert permission.answer("GET", f"/backup/1/available/{JIM}")[0] == "200 OK"
        here.push()
        assert permission._places.leases.keys() == {JIM}
        here.flag()
        wait_for(lambda: permission._places.leases == {})


def test_while_the_permission_service_is_down_a_few_sessions_still_run() -> None:
    held = [gate._place_alone() for _ in range(gate._PLACES_ALONE)]
    with pytest.raises(Refusal, match="busy"):
        gate._place_alone()
    held.pop().close()
    held.append(gate._place_alone())
    for place in held:
        place.close()


HOSTILE = [
    "", "sh", "id; id", "scp -t .", "/usr/lib/openssh/sftp-server", "rsync --server --daemon .",
    "rsync --server --sender -ltre.i . /etc/passwd", "rsync --server -ltre.i --inplace . datastore-current",
    "rsync --server -ltre.i . ../SHC22222222/datastore-current", "rsync --server -ltre.i . documents\nid",
    "xs status\nid", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("command", HOSTILE)
def test_a_hostile_command_gets_one_line_and_126_and_changes_nothing(quiet: School, command: str) -> None:
    before = files(quiet.tree)
    done = quiet.ask(command)
    assert (done.returncode, done.stdout) == (126, "")
    assert done.stderr.startswith("xs: ")
    assert done.stderr.count("\n") == 1
    assert files(quiet.tree) == before


@pytest.mark.parametrize(
    "arguments",
    [[], ["-c"], ["-c", "gate"], ["-c", "gate ../etc"], ["-c", "sh"], ["-c", f"gate {JIM}; sh"],
     ["-c", f"gate {JIM}\n"], ["-l"], [f"gate {JIM}"], ["-c", f"gate {JIM}", "x"], ["-i", f"gate {JIM}"], ["-c", JIM]],
)  # fmt: skip
def test_without_its_forced_command_the_gate_is_no_shell(quiet: School, arguments: list[str]) -> None:
    quiet.ssh()
    done = subprocess.run(
        [PYTHON, "-IS", quiet.top / "gate", *arguments], capture_output=True, text=True, check=False,
        env={"SSH_ORIGINAL_COMMAND": "xs status"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (126, "", 1)


def test_a_learner_cannot_use_anothers_tree_even_with_a_forged_forced_command(here: School) -> None:
    here.register(ANN, 1)
    done = here.push(ssh=here.ssh(tree=ANN))
    assert done.returncode != 0
    assert files(here.house.users / ANN / "datastore-current") == {}


@pytest.mark.parametrize(
    "target", ["/etc", "../../../etc", "datastore/../../..", "datastore", "datastore/x", "datastore/2026-11-23T101500Z"]
)
def test_a_latest_that_leads_elsewhere_is_not_followed(here: School, target: str) -> None:
    (here.tree / "datastore-latest").symlink_to(target)
    (here.tree / "datastore" / "2026-11-23T101500Z").symlink_to("/etc")
    done = here.rsync("-rlt", "schoolserver:datastore-latest/", "back")
    assert done.stderr.startswith("xs: ")
    assert not (here.laptop / "back").exists()


def test_a_link_in_an_own_document_is_sent_back_as_a_link_and_never_followed(here: School) -> None:
    (here.laptop / "datastore" / "link").symlink_to("/etc/passwd")
    (here.laptop / "datastore" / "up").symlink_to("../../../..")
    with here.snapshots():
        here.push()
        assert here.rsync("-rlt", "schoolserver:datastore-latest/", "back").returncode == 0
    assert os.readlink(here.laptop / "back" / "link") == "/etc/passwd"
    assert (here.laptop / "back" / "up").is_symlink()


def test_no_inherited_descriptor_but_the_lock_reaches_the_jail(here: School) -> None:
    program = """
import os, stat
found = []
for number in range(3, 300):
    try:
        found.append(stat.S_ISREG(os.fstat(number).st_mode))
    except OSError:
        pass
print(found)
"""
    ssh = here.ssh(program=["/usr/bin/python3", "-IS", "-c", program])
    leaked = [os.open(here.top, os.O_RDONLY) for _ in range(3)]
    done = subprocess.run(
        [ssh, "x", "rsync --server -ltre.i . documents"], capture_output=True, text=True, check=False, pass_fds=leaked
    )
    for descriptor in leaked:
        os.close(descriptor)
    assert done.stdout.strip() == "[True]"


def test_limits_hold_in_the_jail(here: School) -> None:
    program = """
import os, resource
for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
    print(*resource.getrlimit(limit))
print(os.nice(0))
"""
    here.filter = here.top / "filter"
    here.filter.write_bytes(filtering.ALL)  # the question for the priority is none of rsync's
    ssh = here.ssh(program=["/usr/bin/python3", "-IS", "-c", program], file_bytes=12345)
    done = subprocess.run([ssh, "x", "rsync --server -ltre.i . documents"], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["12345", "12345", "0", "0", "40", "40", "10"]


@pytest.mark.parametrize("name", ["PIPE", "XFSZ"])
def test_rsync_gets_the_signals_that_python_ignores(here: School, name: str) -> None:
    ssh = here.ssh(program=["/usr/bin/sh", "-c", f"kill -{name} $$"])
    done = subprocess.run([ssh, "x", "rsync --server -ltre.i . documents"], check=False)
    assert done.returncode == 128 + signal.Signals[f"SIG{name}"]


def test_a_file_that_is_too_large_ends_the_run_incomplete(here: School) -> None:
    (here.laptop / "datastore" / "huge").write_bytes(os.urandom(2_000_000))
    done = here.push(ssh=here.ssh(file_bytes=1_000_000))
    assert done.returncode != 0
    assert not here.marked()


def test_who_has_too_much_may_only_delete_until_there_is_room_again(here: School) -> None:
    with here.snapshots():
        assert here.push().returncode == 0
        room = 20 + sum(len(list((here.tree / name).rglob("*"))) for name in ("datastore-current", "keepsakes"))

        def push() -> str:
            done = here.push(ssh=here.ssh(learner_files=room))
            return done.stderr.splitlines()[0] if done.returncode else ""

        def films(first: int) -> None:
            for number in range(first, first + 30):
                (here.laptop / "datastore" / f"film{number}").write_text("x")

        too_much = f"xs: more than {room} files came from this laptop: delete what is not needed, or ask your teacher"
        films(0)
        if push() == "":  # what comes within some seconds is counted by the next session
            assert push() == too_much
        taken = len(here.stamps)
        # More of it is not taken, …
        films(30)
        assert push() == too_much
        assert not (here.tree / "datastore-current" / "film59").exists()
        # … but what is deleted on the laptop goes, and then it goes on.
        for file in (here.laptop / "datastore").glob("film*"):
            file.unlink()
        (here.laptop / "datastore" / "version").write_text("not yet")
        assert push() == too_much
        assert not list((here.tree / "datastore-current").glob("film*"))
        assert len(here.stamps) == taken, "a session that may only delete is no complete run"
        assert push() == ""
    assert files(here.tree / "datastore-latest") == files(here.laptop / "datastore")


def test_what_is_left_of_a_session_whose_gate_was_killed_at_the_wrong_moment_is_ended(here: School) -> None:
    # What bubblewrap's second process then is: of the learner, called bwrap, a child of init, with the lock held.
    lock = here.tree / ".state" / "lock"
    lock.touch()
    os.chown(lock, UID, UID)
    script = (
        "import ctypes, fcntl, os, time; ctypes.CDLL(None).prctl(15, b'bwrap')\n"
        f"fcntl.flock(os.open({str(lock)!r}, os.O_RDONLY), fcntl.LOCK_EX)\n"
        "if os.fork() == 0: os.setsid(); time.sleep(999)"
    )
    subprocess.run([PYTHON, "-c", script], user=UID, group=UID, check=True)
    assert locked(lock)
    assert "still open" in here.push().stderr
    wait_for(lambda: not locked(lock))
    assert here.push().returncode == 0


def test_the_gate_looks_where_all_other_parts_do() -> None:
    parts = (str(paths.USERS), str(paths.LEARNERS), str(paths.SOCKETS))
    assert parts == (gate.USERS, gate.LEARNERS, gate.SOCKETS)


def test_a_full_server_takes_nothing_more_but_deletions_and_gives_everything_back(here: School) -> None:
    (here.laptop / "datastore" / "old").write_text("x")
    with here.snapshots():
        here.push()
    before = files(here.tree)
    (here.laptop / "datastore" / "file").write_text("x")
    refused = here.push(ssh=here.ssh(full_percent=-1))
    assert refused.stderr.startswith("xs: the school server is full and took nothing new: please tell your teacher")
    assert {**files(here.tree), ".state/usage": ""} == {**before, ".state/usage": ""}
    (here.laptop / "datastore" / "old").unlink()
    assert here.push(ssh=here.ssh(full_percent=-1)).returncode != 0
    assert not (here.tree / "datastore-current" / "old").exists()
    assert not here.marked()
    assert here.rsync("-rlt", "s:datastore-latest/", "back", ssh=here.ssh(full_percent=-1)).returncode == 0


def test_a_server_that_becomes_full_meanwhile_ends_the_session_and_keeps_the_last_backup(here: School) -> None:
    with here.snapshots():
        here.push()
        ended = here.push(ssh=here.ssh(program=["/usr/bin/sleep", "99"], stop_percent=-1))
    assert ended.stderr.startswith("xs: more than the school server has room for")
    assert not here.marked()
    assert len(here.stamps) == 1


def test_where_nothing_can_be_written_any_more_she_still_hears_that_she_filled_the_disk(here: School) -> None:
    (here.tree / ".state" / "usage").mkdir(parents=True)  # it cannot be written, as on a disk that is quite full
    ended = here.push(ssh=here.ssh(program=["/usr/bin/sleep", "99"], stop_percent=-1))
    assert ended.stderr.startswith("xs: more than the school server has room for")


def test_the_kernel_takes_a_session_before_a_service_when_memory_runs_out(here: School) -> None:
    script = "cat /proc/self/oom_score_adj; ulimit -v"
    ssh = here.ssh(program=["/usr/bin/sh", "-c", f"{script} >&2; exit 0"])
    # The jail has no /proc; the limit is seen there, the score outside.
    done = subprocess.run([ssh, "x", "rsync --server -ltre.i . documents"], capture_output=True, text=True, check=False)
    assert done.stderr.split()[-1] == str(gate._MEMORY // 1024)


def test_a_session_that_takes_too_long_is_ended(here: School) -> None:
    ssh = here.ssh(program=["/usr/bin/sleep", "60"], session_seconds=1)
    started = time.monotonic()
    done = subprocess.run([ssh, "x", "rsync --server -ltre.i . datastore-current"], check=False)
    assert done.returncode == -signal.SIGALRM
    assert time.monotonic() - started < 10
    assert not here.marked()


def test_status_and_history_answer_in_the_protocols_words(here: School) -> None:
    assert json.loads(here.ask("xs status").stdout)["last_run"] is None
    with here.snapshots():
        here.push()
    status = json.loads(here.ask("xs status").stdout)
    stamp = here.stamps[0]
    assert status["protocol"] == 1
    assert status["approval"] == "none"
    assert status["last_run"] == f"{stamp[:13]}:{stamp[13:15]}:{stamp[15:]}"
    assert status["disk"]["full"] is False
    history = json.loads(here.ask("xs history").stdout)
    assert history["protocol"] == 1
    assert history["trees"] == [
        {
            "tree": JIM,
            "snapshots": [{"stamp": stamp, "documents": None, "bytes": None, "pinned": False}],
            "best": stamp,
            "why": "newest",
        }
    ]


def test_a_history_counts_what_each_snapshot_of_each_tree_holds(here: School) -> None:
    here.register(ANN, key=1)
    acts.approve(here.house, ANN, JIM, MARIA)
    with here.snapshots():
        here.push()
        (here.laptop / "datastore" / school.uid(0)[:2] / school.uid(0) / "data").write_text("longer words")
        here.push()
    ssh = here.ssh(groups=[UID + 1])

    def history() -> list[dict[str, Any]]:
        done = subprocess.run([ssh, "schoolserver", "xs history"], capture_output=True, text=True, check=True)
        found: list[dict[str, Any]] = json.loads(done.stdout)["trees"]
        return found

    asked = Asked(Tickets(1, 1), "", here.house.state / "registry.db", here.house.state / "catalog.db")
    with here.listening("ticket") as listener:
        threading.Thread(target=serve, args=(listener, asked), daemon=True).start()
        own, other = history()
    assert [(one["stamp"], one["documents"], one["bytes"]) for one in own["snapshots"]] == [
        (here.stamps[0], 3, 15),
        (here.stamps[1], 3, 22),
    ]
    assert (own["best"], own["why"]) == (here.stamps[1], "newest")
    assert (other["tree"], other["snapshots"], other["best"], other["why"]) == (ANN, [], None, "none")


def test_a_history_comes_while_nobody_counts(here: School) -> None:
    """A restore begins with it: the Journal page may be down, stuck, or not know."""
    with here.snapshots():
        here.push()

    def documents() -> list[int | None]:
        done = here.ask("xs history")
        return [one["documents"] for one in json.loads(done.stdout)["trees"][0]["snapshots"]]

    assert documents() == [None]
    with here.listening("ticket") as listener:
        start = time.monotonic()
        assert documents() == [None], "it says nothing"
        assert time.monotonic() - start < 5
        threading.Thread(target=serve, args=(listener, lambda *_: {"ok": False, "error": "later"}), daemon=True).start()
        assert documents() == [None], "it does not know"


def test_when_the_school_server_is_full_the_child_hears_it(here: School) -> None:
    full = json.loads(here.ask("xs status", full_percent=-1).stdout)
    assert (full["disk"]["full"], full["message"]) == (True, "The school server is full. Please tell your teacher.")
    roomy = json.loads(here.ask("xs status", full_percent=100).stdout)
    assert (roomy["disk"]["full"], roomy["message"]) == (False, "")


def test_a_ticket_is_one_line_with_a_link(here: School) -> None:
    assert here.ask("xs ticket").stderr == "xs: the Journal page of the school server is not there: try again later\n"
    asked = []

    def answer(request: Message, uid: int) -> Message:
        asked.append((request, uid))
        return {"ok": True, "url": "http://schoolserver/t/x", "seconds": 600}

    with here.listening("ticket") as listener:
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
        assert here.ask("xs ticket").stdout == "http://schoolserver/t/x\n"
    assert asked == [({"tree": JIM}, 20000)]


def test_a_server_whose_account_is_damaged_says_nothing_of_its_inside(here: School) -> None:
    (here.tree / accounts.FILE).unlink()
    done = here.ask("xs status")
    assert (done.returncode, done.stderr.count("\n")) == (126, 1)
    assert "Traceback" not in done.stderr
    assert str(here.top) not in done.stderr
