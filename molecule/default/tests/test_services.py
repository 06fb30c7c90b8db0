# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts: which run, as whom, and how little each of them can do."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

LISTENERS = ["xs-registration", "xs-permission", "xs-journal"]
ROOT_UNITS = ["xs-registrar", "xs-snapshot", "xs-catalog", "xs-rotation", "xs-verify"]
SOCKETS = ["registrar", "registration", "permission", "place", "snapshot", "journal", "ticket"]


def exposure(host: Host, unit: str) -> float:
    """Return what `systemd-analyze security` says of a unit: 0 is nothing, 10 is everything."""
    last = host.check_output(f"systemd-analyze security --no-pager {unit}.service").splitlines()[-1]
    return float(last.partition(": ")[2].split()[0])


@pytest.mark.parametrize("name", SOCKETS)
def test_systemd_holds_every_socket_from_the_start(host: Host, name: str) -> None:
    unit = host.service(f"xs-{name}.socket")
    assert unit.is_enabled
    assert unit.is_running


@pytest.mark.parametrize(
    "unit",
    ["xs-registrar.service", "xs-snapshot.service", "xs-catalog.path", "xs-rotation.timer", "xs-verify.timer"],
)
def test_what_mends_after_a_power_cut_runs_at_every_start(host: Host, unit: str) -> None:
    assert host.service(unit).is_enabled
    assert host.service(unit).is_running


@pytest.mark.parametrize("unit", LISTENERS)
def test_what_listens_to_the_network_is_not_root_and_reaches_nothing(host: Host, unit: str) -> None:
    confined = host.service(f"{unit}.service").systemd_properties
    assert confined["User"] == unit
    assert confined["PrivateNetwork"] == "yes"
    assert confined["NoNewPrivileges"] == "yes"
    assert host.check_output(f"systemctl show --property=CapabilityBoundingSet --value {unit}.service") == ""
    assert confined["ProtectSystem"] == "strict"
    assert exposure(host, unit) < 1.0


@pytest.mark.parametrize("unit", ROOT_UNITS)
def test_what_runs_as_root_listens_to_no_network_and_can_do_little(host: Host, unit: str) -> None:
    confined = host.service(f"{unit}.service").systemd_properties
    assert confined["PrivateNetwork"] == "yes"
    assert confined["NoNewPrivileges"] == "yes"
    assert exposure(host, unit) <= 1.5


def test_a_damaged_catalog_is_listed_anew_by_itself(host: Host) -> None:
    host.check_output("echo damaged > /var/lib/xs/catalog.db && systemctl restart xs-snapshot.service")
    host.check_output("for i in $(seq 100); do test -e /var/lib/xs/catalog.db.aside && break; sleep .1; done")
    assert host.check_output("cat /var/lib/xs/catalog.db.aside") == "damaged"
    idle = "test $(systemctl show --property=ActiveState --value xs-catalog.service) = inactive"
    host.check_output(
        f"for i in $(seq 100); do {idle} && ! test -e /var/lib/xs/catalog.db.waiting && exit; sleep .1; done; exit 1"
    )
    assert host.check_output("head -c 6 /var/lib/xs/catalog.db") == "SQLite"
    state = host.service("xs-catalog.service").systemd_properties
    assert state["Result"] == "success", host.run("journalctl -n 20 -u xs-catalog").stdout


def test_a_rotation_that_is_killed_has_the_catalog_looked_at(host: Host) -> None:
    """It may have been about to write there, and the page's user may not undo that."""
    assert "xs-catalog.service" in host.service("xs-rotation.service").systemd_properties["OnFailure"]


def test_rotation_hears_from_within_its_confinement_whether_the_clock_follows_the_network(host: Host) -> None:
    """Where nobody answered, the first network time after a long holiday would stop it for seven days."""
    asked, heard = "timedatectl show --property=NTPSynchronized --value", "/var/lib/xs/network-time"
    place = "/run/systemd/system/xs-rotation.service.d"
    instead = f'[Service]\\nExecStart=\\nExecStart=/bin/sh -c "{asked} >{heard}"\\n'
    try:
        host.check_output(f"mkdir -p {place} && printf '{instead}' >{place}/ask.conf && systemctl daemon-reload")
        host.check_output("systemctl start xs-rotation.service")
        said = host.check_output(f"cat {heard}")
    finally:
        host.check_output(f"rm -rf {place} {heard} && systemctl daemon-reload")
    assert said in ("yes", "no")
    assert said == host.check_output(asked)


@pytest.mark.parametrize("unit", [*LISTENERS, "xs-registrar", "xs-snapshot"])
def test_a_part_that_is_restarted_again_and_again_runs_and_keeps_its_socket(host: Host, unit: str) -> None:
    host.check_output(f"for n in 1 2 3 4 5 6 7; do systemctl restart {unit}.service || exit 1; done")
    assert host.service(f"{unit}.service").is_running
    assert host.service(f"{unit}.socket").is_running


@pytest.mark.parametrize("timer", ["xs-rotation.timer", "xs-verify.timer"])
def test_what_was_slept_through_is_made_up_for(host: Host, timer: str) -> None:
    assert host.service(timer).systemd_properties["Persistent"] == "yes"


def test_the_library_is_verified_from_within_its_confinement(host: Host) -> None:
    host.check_output("rm -f /var/lib/xs/verify.json && systemctl start xs-verify.service")
    assert json.loads(host.file("/var/lib/xs/verify.json").content_string)["ended"]


@pytest.mark.parametrize("unit", [*LISTENERS, "xs-registrar", "xs-snapshot"])
def test_every_part_starts(host: Host, unit: str) -> None:
    host.check_output(f"systemctl restart {unit}.service")
    # One that cannot run fails within its first second.
    host.check_output("sleep 1")
    state = host.service(f"{unit}.service").systemd_properties
    assert (state["ActiveState"], state["NRestarts"]) == ("active", "0"), host.run(f"journalctl -n 20 -u {unit}").stdout


@pytest.mark.parametrize("part", ["registration", "accounts", "snapshots", "journal"])
def test_the_settings_in_place_can_be_read(host: Host, part: str) -> None:
    assert host.file(f"/etc/xs/{part}.toml").mode == 0o644
    host.check_output(f"xs check-settings {part} /etc/xs/{part}.toml")


def test_what_came_along_with_the_package_will_go_along_with_it(host: Host) -> None:
    brought = {"nginx", "dnsmasq", "nftables", "libnss-extrausers", "bubblewrap"}
    assert brought <= set(host.check_output("apt-mark showauto").split())
