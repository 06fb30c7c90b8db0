# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a snapshot comes, by the rules and by a real rsync that reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as some

from server_side import OWN, STAMP, look, uid_of, write
from xo_client import filter_rules
from xo_client.restore_plan import Document, Source

SOURCE = Source(OWN, STAMP, f"datastore/{STAMP}")


@given(some.sets(some.integers(0, 30), min_size=1))
def test_the_rules_let_through_the_chosen_and_nothing_else(chosen: set[int]) -> None:
    uids = {uid_of(number) for number in chosen}
    rules = filter_rules.for_documents([Document(uid, SOURCE, {}) for uid in uids], 31)
    assert rules[-1] == "- *"
    named = {rule.rpartition("/")[0].rpartition("/")[2] for rule in rules if len(rule) > 40}
    assert named == (uids if len(uids) < 31 else {"?" * 36})


def test_rsync_reads_the_rules_as_they_are_meant(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    for number in range(6):
        entry = write(snapshot, uid_of(number), title=f"{number}")
        (entry / "metadata" / ".half").write_text("")
        (entry / "metadata" / "checksum").write_text("")
        (entry / "metadata" / "deep").mkdir()
        (entry / "deep" / "data").mkdir(parents=True)
    (snapshot / "version").write_text("6")
    (snapshot / "index" / uid_of(9)).mkdir(parents=True)
    for count in (2, 6):
        into = tmp_path / f"into{count}"
        wanted = [Document(uid_of(number), SOURCE, {}) for number in range(count)]
        pull(snapshot, into, filter_rules.for_documents(wanted, 6))
        expected = {f"{one.uid[:2]}/{one.uid}/{name}" for one in wanted for name in ("data", "metadata/title")}
        files = {name for name, (kind, _) in look(into).items() if kind == "file"}
        assert {name for name in files if name.endswith(("/data", "/title"))} == expected
        assert not any(name.endswith((".half", "checksum")) or "deep" in name or len(name) < 40 for name in files)
    pull(snapshot, tmp_path / "titles", filter_rules.for_titles([uid_of(3)]))
    assert [name for name, (kind, _) in look(tmp_path / "titles").items() if kind == "file"] == [
        f"{uid_of(3)[:2]}/{uid_of(3)}/metadata/title"
    ]


def pull(source: Path, into: Path, rules: list[str]) -> None:
    into.mkdir()
    given = [f"--filter={rule}" for rule in rules]
    subprocess.run(["rsync", "-rlt", *given, f"{source}/", f"{into}/"], check=True)
