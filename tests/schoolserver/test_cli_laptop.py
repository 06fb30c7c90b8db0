# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs laptop …` as a technician types it: what it prints, how it exits, and whom the trail names."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptops import ANN, EVE, JIM, NOW, dsa, message
from schoolserver import audit, cli, cli_laptop, house, overview, refusals, registrar, seen
from schoolserver.house import House
from schoolserver.refusals import Refused
from standing import everything, make_house

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a tree to its learner")

FURTHER = f"{JIM}.2"
ESCAPE = "\x1b[2J\x9b1m\r\u202e"

Xs = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A school where Jim, Ann and Jim's laptop with another key have registered."""
    here = make_house(tmp_path)
    for module in (cli_laptop, overview):
        monkeypatch.setattr(module, "House", lambda: here)
    registrar.register(message(JIM, dsa(0)), here)
    registrar.register(message(ANN, dsa(1), nick="Ann"), here)
    registrar.register(message(JIM, dsa(2), nick="Jimmy"), here)
    return here


@pytest.fixture
def xs(here: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Xs:
    """Runs `xs laptop` with these words and returns exit code, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["xs", "laptop", *words])
        try:
            code = cli.main()
        except SystemExit as end:  # argparse's
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


def refuse(
    here: House, serial: str = EVE, nick: str = "Eve", address: str = "172.18.0.78", why: str = "closed"
) -> None:
    """Let somebody have been refused."""
    refusals.write(here.state / "refusals.json", [Refused(serial, nick, address, why, "now", 3)], 0)


# Looking.


def test_the_list_has_a_line_for_each_tree_and_says_who_was_refused(here: House, xs: Xs) -> None:
    (here.users / JIM / "datastore-latest").symlink_to("datastore/2026-11-24T101500Z")
    refuse(here)
    code, out, errors = xs("list")
    assert (code, errors) == (0, "")
    table, _, refused = out.partition("\n\n")
    lines = [re.split(r" {2,}", line) for line in table.splitlines()]
    assert lines[0] == ["TREE", "LOGS IN AS", "NICK", "CLASS", "STATE", "LATEST BACKUP"]
    assert sorted(lines[1:]) == [
        [JIM, JIM, "Jim", "in use", "2026-11-24T101500Z"],
        [FURTHER, JIM, "Jimmy", "same child?", "none yet"],
        [ANN, ANN, "Ann", "in use", "none yet"],
    ]
    assert [re.split(r" {2,}", line) for line in refused.splitlines()] == [
        ["Refused lately:"],
        ["SERIAL", "NICK", "FROM", "LAST", "TIMES", "WHY"],
        [EVE, "Eve", "172.18.0.78", "now", "3", "closed"],
    ]


def test_the_columns_stand_under_each_other(xs: Xs) -> None:
    first, *rest = xs("list")[1].splitlines()
    column = first.index("NICK")
    assert {line[column:].split("  ")[0] for line in rest} == {"Jim", "Jimmy", "Ann"}


def test_the_list_as_json_is_what_the_modules_return(here: House, xs: Xs) -> None:
    refuse(here)
    code, out, _ = xs("list", "--json")
    assert (code, json.loads(out)) == (0, json.loads(json.dumps(overview.everything(here))))


def test_an_account_that_cannot_be_read_is_named(here: House, xs: Xs) -> None:
    (here.users / JIM / "account.json").write_text("{")
    assert f"\n{JIM} is left out: it is not JSON\n" in xs("list")[1]


def test_show_tells_all_trees_of_the_child_with_keys_approvals_and_trail(here: House, xs: Xs) -> None:
    xs("approve", JIM)
    code, out, _ = xs("show", JIM)
    assert code == 0
    assert out.count("\n  key           ssh-dss SHA256:") == 2
    assert f"{FURTHER}: in use, same child as {JIM}\n" in out
    assert f"  writes        {JIM}\n" in out
    assert re.search(rf"  approval      \S+Z joined {JIM}, by ", out)
    assert re.search(rf"  trail         \S+Z laptop {JIM} : new key, tree apart\n", out)
    assert "  last seen     never\n" in out
    assert ANN not in out
    assert xs("show", FURTHER)[1] == out
    assert [one["tree"] for one in json.loads(xs("show", ANN, "--json")[1])["laptops"]] == [ANN]


def test_show_tells_where_a_laptop_was_seen_last(
    here: House, xs: Xs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen.note(tmp_path / "seen.json", ANN, "172.18.0.77", "Python-urllib/2.7", NOW)
    told = overview.everything(here, tmp_path / "seen.json")
    monkeypatch.setattr(overview, "everything", lambda: told)
    assert "  last seen     2026-11-23T10:00:00Z 172.18.0.77 Python-urllib/2.7\n" in xs("show", ANN)[1]


# On a terminal.


def test_what_a_laptop_or_a_foreign_disk_says_cannot_write_on_a_terminal(
    here: House, xs: Xs, monkeypatch: pytest.MonkeyPatch
) -> None:
    registrar.register(message(ANN, dsa(1), nick=f"Ann{ESCAPE}\nroot"), here)
    refuse(here, serial=ESCAPE, nick=f"x\n{ESCAPE}", address=ESCAPE, why=ESCAPE)
    (here.users / f"SHC{ESCAPE}").mkdir()
    told = overview.everything(here)
    for one in told["laptops"]:
        one["client"] = ESCAPE
        one["approvals"] = [{"when": ESCAPE, "did": "joined", "tree": ESCAPE, "by": ESCAPE}]
    audit.record(here.audit, [audit.Entry("now", ESCAPE, ESCAPE, ANN, ESCAPE)], 0)
    monkeypatch.setattr(overview, "everything", lambda: told)
    for words in (["list"], ["show", ANN], ["list", "--json"], ["show", ANN, "--json"]):
        code, out, errors = xs(*words)
        assert (code, errors) == (0, "")
        assert all(line.isprintable() for line in out.split("\n"))
    assert "is left out: " in xs("list")[1]


@given(st.text())
def test_whatever_is_printed_is_one_printable_line(text: str) -> None:
    assert all(letter.isprintable() for letter in cli_laptop.printable(text))
    assert len(cli_laptop.printable(text)) == len(text)


def test_a_name_that_no_laptop_has_is_one_line_that_says_where_to_look(xs: Xs) -> None:
    for words in (["show", ESCAPE], ["retire", ESCAPE], ["approve", JIM, "--as", f"{ESCAPE}\n"]):
        code, out, errors = xs(*words)
        assert (code, out) == (1, "")
        assert re.fullmatch(r"xs: no laptop is registered as '.*': see `xs laptop list`\n", errors)
        assert errors.removesuffix("\n").isprintable()


# Saying something.


def test_each_act_says_what_it_did_and_said_twice_that_nothing_changed(here: House, xs: Xs) -> None:
    for words, said in (
        (["approve", JIM], f"{FURTHER} is the same child as {JIM}"),
        (["separate", JIM], f"{FURTHER} is apart from {JIM} again"),
        (["approve", ANN, "--as", JIM], f"{ANN} is the same child as {JIM}"),
        (["retire", ANN], f"{ANN} is in store; its documents stay where they are"),
        (["retire", "--undo", ANN], f"{ANN} is in use"),
        (["remove", ANN], f"{ANN} is no laptop any more; its documents stay"),
    ):
        assert xs(*words) == (0, f"{said}\n", "")
        code, out, errors = xs(*words)
        assert (code, errors) == (0, "")
        assert out.endswith(": nothing changed\n")


def test_a_laptop_that_is_handed_on_says_which_tree_it_writes_now(here: House, xs: Xs) -> None:
    said = f"{ANN} keeps its documents; the laptop writes {ANN}.2 from now on"
    assert xs("hand-on", ANN) == (0, f"{said}\n", "")
    assert house.read(here).accounts[f"{ANN}.2"].names == (ANN,)


def test_for_a_program_each_act_answers_in_json(xs: Xs) -> None:
    for changed in (True, False):
        code, out, _ = xs("retire", JIM, "--json")
        assert code == 0
        assert json.loads(out) == {"changed": changed, "said": f"{JIM} is in store; its documents stay where they are"}


def test_documents_go_only_at_words_that_nobody_types_by_accident(here: House, xs: Xs) -> None:
    assert xs("remove", ANN)[0] == 0
    assert (here.users / ANN / "datastore").is_dir()
    assert xs("remove", FURTHER)[0] == 0
    code, out, _ = xs("remove", JIM, "--delete-all-documents-for-ever")
    assert (code, out) == (0, f"{JIM}: the laptop and 0 documents are deleted for ever\n")
    assert not (here.users / JIM).exists()
    assert (here.users / FURTHER).exists(), "another key's, and nobody has said that it is the same child"


def test_what_is_refused_exits_with_one_and_changes_nothing(here: House, xs: Xs, tmp_path: Path) -> None:
    before = everything(tmp_path)
    for words in (
        ["approve", ANN],
        ["approve", JIM, "--as", ""],  # a script's empty variable must not mean "whoever waits"
        ["retire", FURTHER],
        ["hand-on", "SHC99999999"],
        ["remove", ""],
    ):
        code, out, errors = xs(*words)
        assert (code, out) == (1, "")
        assert re.fullmatch(r"xs: [^\n]+\n", errors)
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [[], ["lst"], ["show"], ["approve"], ["approve", JIM, "--as"], ["retire", JIM, ANN], ["separate", JIM, "--as", ANN],
     ["list", "--jso"], ["remove", JIM, "--delete"], ["remove", JIM, "--delete-all-documents"]],
)  # fmt: skip
def test_words_that_are_none_exit_with_one_and_change_nothing(xs: Xs, tmp_path: Path, words: list[str]) -> None:
    before = everything(tmp_path)
    code, out, errors = xs(*words)
    assert (code, out) == (1, "")
    assert errors.startswith("usage: xs ")
    assert everything(tmp_path) == before


def test_only_root_may(xs: Xs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for words in (["list"], ["retire", JIM]):
        assert xs(*words) == (1, "", "xs: only root may do this: put sudo in front\n")


def test_a_disk_that_fails_is_one_line_and_exits_with_one(here: House, xs: Xs) -> None:
    (here.state / "registrar.lock").unlink()
    here.state.rename(here.state.with_name("elsewhere"))
    code, out, errors = xs("retire", JIM)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"xs: \[Errno 2\] No such file or directory: [^\n]+\n", errors)


# In processes of their own.

PYTHON = [sys.executable, "-c"]
LIST = """
import sys
from pathlib import Path
from schoolserver import cli, overview
from schoolserver.house import House
top = Path(sys.argv[1])
overview.House = lambda: House(top / "users", top / "state", top / "extrausers", top / "keys")
sys.argv = ["xs", "laptop", "list"]
sys.exit(cli.main())
"""
WHO = "from schoolserver import cli_laptop; who = cli_laptop.who_am_i(); print(who.name, who.place)"


def environment(**more: str) -> dict[str, str]:
    """This process's, without what says who types here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUDO_", "SSH_", "PYTHON"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def test_a_reader_that_has_seen_enough_hears_no_complaint(here: House, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PYTHON, LIST, str(tmp_path)], stdout=writing, stderr=subprocess.PIPE, env=environment(), check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def who(*before: str, **environ: str) -> str:
    """Return whom the trail would name in a process that `before` starts."""
    command = [*before, *PYTHON, WHO]
    return subprocess.run(
        command, env=environment(**environ), capture_output=True, text=True, check=True
    ).stdout.strip()


SSH = "172.18.0.20 50022 172.18.96.1 22"


def test_through_sudo_it_is_the_one_who_typed_it() -> None:
    assert who(SUDO_USER="maria", SSH_CONNECTION=SSH) == "maria 172.18.0.20"


def test_without_sudo_it_is_the_one_who_logged_in() -> None:
    name, _, place = who(SSH_CONNECTION=SSH).partition(" ")
    assert pwd.getpwnam(name)
    assert place == "172.18.0.20"


def test_the_place_is_found_in_the_shell_before_sudo_which_takes_it_away() -> None:
    shell, sudo = 'unset SSH_CONNECTION; "$@"; true', '"$@"; true'
    assert (
        who("sh", "-c", shell, "sh", "sh", "-c", sudo, "sh", SUDO_USER="maria", SSH_CONNECTION=SSH)
        == "maria 172.18.0.20"
    )


@pytest.mark.parametrize("name", ["14 bytes, then\u00e9.sh", "PPid: 4711", "PPid:x"])
def test_the_name_of_a_program_in_between_confuses_nobody(tmp_path: Path, name: str) -> None:
    program = tmp_path / name  # the kernel cuts it after 15 bytes, in the middle of a letter
    program.write_text('#!/bin/sh\nunset SSH_CONNECTION\n"$@"; true\n')
    program.chmod(0o755)
    assert who(str(program), SUDO_USER="maria", SSH_CONNECTION=SSH) == "maria 172.18.0.20"


def test_where_no_ssh_is_around_it_is_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as now:
        now.setattr(os, "getpid", lambda: 1)  # so that no shell over ssh is before it, wherever these tests run
        assert cli_laptop._origin() == "console"


def test_a_process_that_has_gone_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as now:
        now.setattr(os, "getpid", lambda: 2**22 + 1)
        assert cli_laptop._origin() == "console"


def test_the_trail_and_the_approval_name_who_typed_it(here: House, xs: Xs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "maria")
    xs("approve", JIM)
    last = audit.read(here.audit)[-1]
    assert (last.who, last.tree) == ("maria", FURTHER)
    (approval,) = house.read(here).accounts[FURTHER].approvals
    assert approval.by == f"maria from {last.where}"
