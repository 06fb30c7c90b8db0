# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role keeps to, so that who knows one knows them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rendering import PROJECT, ROLES, evaluate
from schoolserver import school_package

# Decisions of the school that have names of their own.
SCHOOLS_OWN = {"xs_rekey"}
PARTS = sorted(role.name for role in ROLES.glob("x[so]_*"))
# For other hosts than the school server.
LAPTOPS = ["xo_client"]
FILES = sorted(ROLES.glob("x[so]_*/tasks/*.yml"))
CHECKS = sorted(ROLES.glob("x[so]_*/tasks/validate*.yml"))


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def options(role: str) -> dict[str, Any]:
    """Return the settings that a role knows."""
    known: dict[str, Any] = read(ROLES / role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return known


def tasks(file: Path) -> list[dict[str, Any]]:
    """Return the tasks of a file, those in blocks too."""
    found: list[dict[str, Any]] = []
    waiting = list(read(file))
    while waiting:
        task = waiting.pop(0)
        found.append(task)
        waiting += task.get("block", [])
    return found


@pytest.mark.parametrize("role", PARTS)
def test_defaults_and_specification_agree(role: str) -> None:
    defaults = read(ROLES / role / "defaults/main.yml")
    specified = {name: about["default"] for name, about in options(role).items() if "default" in about}
    assert defaults == specified


@pytest.mark.parametrize("role", PARTS)
def test_a_setting_has_a_default_or_is_required(role: str) -> None:
    for name, about in options(role).items():
        assert name.startswith(f"{role}_") or name in SCHOOLS_OWN
        assert ("default" in about) != about.get("required", False), name
        assert about["description"]


@pytest.mark.parametrize("role", PARTS)
def test_a_role_can_be_switched_off_and_checked_beforehand(role: str) -> None:
    assert options(role)[f"{role}_enabled"]["default"] is True
    assert {"main.yml", "validate.yml", "remove.yml"} <= {file.name for file in (ROLES / role / "tasks").iterdir()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROLES)))
def test_a_task_file_fits_on_a_page(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROLES)))
def test_only_parts_of_ansible_itself_and_ours_are_used(file: Path) -> None:
    ours = {module.stem for module in (PROJECT / "library").glob("*.py")}
    keywords = {"name", "when", "loop", "loop_control", "register", "tags", "notify", "vars", "block", "become"}
    keywords |= {"changed_when", "failed_when", "check_mode", "delegate_to", "run_once"}
    for task in tasks(file):
        for word in task.keys() - keywords:
            assert word.startswith("ansible.builtin.") or word in ours, word


@pytest.mark.parametrize("file", CHECKS, ids=lambda file: str(file.relative_to(ROLES)))
def test_a_checking_file_changes_nothing(file: Path) -> None:
    looking = {"assert", "stat", "find", "slurp", "command", "include_tasks"}
    for task in tasks(file):
        (module,) = (word for word in task if word.startswith("ansible.builtin."))
        assert module.removeprefix("ansible.builtin.") in looking
        if module.endswith("command"):
            assert task["changed_when"] is False
            assert task["check_mode"] is False


def test_site_and_remove_name_every_role_of_the_server() -> None:
    ours = [role for role in PARTS if role not in LAPTOPS]
    check, make = read(PROJECT / "playbooks/site.yml")
    (remove,) = read(PROJECT / "playbooks/remove.yml")
    made = [one["role"] for one in make["roles"]]
    assert sorted(made) == ours
    assert check["vars"]["parts"] == made
    (removed,) = (task["loop"] for task in remove["tasks"] if "loop" in task)
    assert sorted(removed) == ours
    # What others stand on goes last.
    assert removed[-2:] == ["xs_library", "xs_package"]


def test_the_example_inventory_asks_for_fewer_than_ten_settings_and_all_exist() -> None:
    text = (PROJECT / "inventory/example/group_vars/schoolservers.yml").read_text(encoding="utf-8")
    asked = {
        line.removeprefix("# ").split(":")[0] for line in text.splitlines() if line.removeprefix("# ").startswith("xs_")
    }
    known = {name: about for role in PARTS for name, about in options(role).items()}
    assert asked <= known.keys()
    assert len(asked) < 10
    assert {name for name, about in known.items() if about.get("required")} <= asked


@pytest.mark.parametrize(
    ("found", "empty", "ours"),
    [
        ({"rc": 2, "stdout": ""}, True, False),
        ({"rc": 0, "stdout": "LABEL=xs-library\nTYPE=btrfs"}, False, True),
        ({"rc": 0, "stdout": "LABEL=photos\nTYPE=btrfs"}, False, False),
        ({"rc": 0, "stdout": "LABEL=xs-library\nTYPE=ext4"}, False, True),
        ({"rc": 0, "stdout": "LABEL=xs-library\nTYPE=vfat"}, False, False),
        ({"rc": 0, "stdout": "PTTYPE=gpt"}, False, False),
        ({"rc": 8, "stdout": ""}, False, False),
    ],
)
def test_only_a_disk_without_any_sign_of_data_is_empty(found: dict[str, Any], empty: bool, ours: bool) -> None:
    given = {
        "xs_library_device": "/dev/sdb",
        "__xs_library_stat": {"stat": {"exists": True}},
        "__xs_library_probe": found,
    }
    assert evaluate("xs_library", "__xs_library_is_empty", **given) is empty
    assert evaluate("xs_library", "__xs_library_is_ours", **given) is ours


def test_an_existing_image_is_never_taken_for_empty() -> None:
    # A file of notes has no signature that blkid knows.
    given = {"__xs_library_stat": {"stat": {"exists": True}}, "__xs_library_probe": {"rc": 2, "stdout": ""}}
    assert evaluate("xs_library", "__xs_library_is_empty", **given) is False
    assert evaluate("xs_library", "__xs_library_is_ours", **given) is False


def test_what_is_taken_away_is_what_apt_would_not_have_taken_anyway() -> None:
    anyway = "Reading state information...\nRemv iputils-ping [3:2022]\n"
    with_ours = "Purg nginx [1.22] [schoolserver:amd64 ]\nPurg schoolserver [0.1]\nRemv iputils-ping [3:2022]\n"
    apt = {"results": [{"stdout": anyway}, {"stdout": with_ours}]}
    assert evaluate("xs_package", "__xs_package_going", __xs_package_leaving=apt) == ["nginx", "schoolserver"]
    assert evaluate("xs_package", "__xs_package_going", __xs_package_leaving={"results": [{"stdout": ""}] * 2}) == []


def test_a_publication_is_looked_for_by_version_and_with_its_package_for_fedora() -> None:
    def looked_for(*files: str) -> str:
        found: str = evaluate("xo_repository", "__xo_repository_published", xo_repository_files=list(files))
        return found.removeprefix("/library/repository/current/")

    deb, rpm = "/build/xo-client_0.2.0+20261126.ab_all.deb", "/build/xo-client-0.2.0+20261126.ab-1.noarch.rpm"
    assert looked_for(deb) == "apt/pool/main/x/xo-client/xo-client_0.2.0+20261126.ab_all.deb"
    assert looked_for(deb, rpm) == looked_for(rpm, deb) == "rpm/xo-client-0.2.0+20261126.ab.noarch.rpm"


def clear(**given: Any) -> bool:
    """Return whether the check in xo_client says that it is clear which school it is."""
    (check,) = (one for one in tasks(ROLES / "xo_client/tasks/validate.yml") if "which school" in one["name"])
    said: bool = evaluate("xo_client", check["ansible.builtin.assert"]["that"], **given)
    return said


def test_a_laptop_belongs_to_the_only_school_or_to_one_that_is_named() -> None:
    north, both = {"schoolservers": ["north"]}, {"schoolservers": ["north", "south"]}
    assert clear(groups=north)
    assert clear(groups=both, xo_client_school="south")
    assert not clear(groups=both)
    assert not clear(groups=north, xo_client_school="nroth")
    assert not clear(groups={})
    assert evaluate("xo_client", "__xo_client_school", groups=north) == "north"
    assert evaluate("xo_client", "__xo_client_school", groups=both, xo_client_school="south") == "south"


def test_a_laptop_gets_the_files_that_the_package_takes_over_as_the_package_has_them() -> None:
    # Else the first run after the package would change them back.
    package = school_package.Content("keys", "ssh-ed25519 AAAA").files
    source = (ROLES / "xo_client/files/xo-school.sources").read_text(encoding="utf-8")
    assert package[evaluate("xo_client", "__xo_client_source").lstrip("/")] == source
    assert package[evaluate("xo_client", "__xo_client_keyring").lstrip("/")] == "keys"
