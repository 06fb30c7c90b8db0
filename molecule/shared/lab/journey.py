# SPDX-License-Identifier: GPL-3.0-or-later
"""`make lab`: boot the two hosts, deploy the server as production does, and take a real laptop through its journey."""

from __future__ import annotations

import os
from pathlib import Path

from lab import closing, hosts, places, preflight
from lab.report import Report
from lab.trouble import Trouble, call

SCENARIO = "journey"
RECORD = places.BUILD / "lab" / "journey.json"


def run(report: Report, lab: str) -> bool:
    """Run the journey in the lab `lab`, its steps into `report`; the hosts stay up. Return whether all went well."""
    at: dict[str, str] = {}
    planned = hosts.scenario(SCENARIO)

    def boot() -> str:
        at.update(hosts.up(lab, SCENARIO))
        return ", ".join(f"{name} {address}" for name, address in at.items())

    inventory = places.inventory(lab)
    RECORD.unlink(missing_ok=True)
    went_well = (
        report.do("preflight", lambda: preflight.check(report.target, {host.image for host in planned}))
        and report.do("images", lambda: ", ".join(hosts.build_images(planned).values()))
        and package(report)
        and report.do("hosts", boot)
        and report.run("site.yml", program("ansible-playbook"), "-i", inventory, "playbooks/site.yml", **environment())
        and report.run(
            "journey", program("pytest"), "molecule/journey/tests", "-x", "--hosts=ansible://all",
            f"--ansible-inventory={inventory}", **environment(),
        )
    )  # fmt: skip
    print(f"\n{close(lab, at)}")
    if not went_well:
        print(f"Try again, with fresh hosts: make {report.target}")
    return went_well


def package(report: Report) -> bool:
    """Build our Debian package as a step of `report`; return whether that went well."""
    return report.run("package", places.PROJECT / "files" / "build-package", "schoolserver")


def close(lab: str, at: dict[str, str]) -> str:
    """Return the closing table, as far as the journey came, and what there is to try on the hosts of `lab`."""
    record = closing.recorded(RECORD)
    journal = record["journal"]
    logins = {host: f"ssh -F {os.path.relpath(places.ssh_config(lab))} {host}" for host in at}
    parts = [closing.table(record["steps"])] if record["steps"] else []
    if at:
        link = ""
        if journal.get("serial"):
            try:
                ticket = call("ssh", "-F", places.ssh_config(lab), "schoolserver", "xs", "page", str(journal["serial"]))
                link = ticket.split()[-1] if ticket else ""
            except Trouble as trouble:
                parts.append(f"No ticket: {trouble}")
        parts.append(closing.to_try(journal, link, at["schoolserver"], logins))
    return "\n".join(parts)


def program(name: str) -> Path:
    """Return the program `name` of the virtual environment."""
    return places.VENV / "bin" / name


def environment() -> dict[str, str]:
    """Return what the virtual environment's programs need: to find each other, and no question to a person."""
    return {
        "PATH": f"{places.VENV / 'bin'}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(places.PROJECT / "ansible.cfg"),
    }
