# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of one lab: planned from a scenario's hosts.toml, booted, reachable by ssh, and written into an inventory.

A lab has a name: `make lab` is `lab`, a molecule scenario its own. Containers, network and files carry that name, so
two labs never meet.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socket
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import images, leftovers, places, runtime
from lab.trouble import Trouble, call, succeeds

FIRST_ADDRESS = 10  # below are the gateway and room for it
LOOP_DEVICES = 32  # a machine shows eight; every library image takes one
KEYS = {"image", "groups", "nameserver"}


@dataclass(frozen=True)
class Host:
    """One planned host. `nameserver` is another host's name, or "" for the machine's own resolvers."""

    name: str
    image: str
    groups: tuple[str, ...]
    nameserver: str


def scenario(name: str, directory: Path = places.MOLECULE) -> list[Host]:
    """Return the hosts of the scenario `name`; raise Trouble naming file and key if its hosts.toml is not right."""
    file = directory / name / "hosts.toml"
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(one.parent.name for one in directory.glob("*/hosts.toml")))
        raise Trouble(f"no scenario {name}; there are: {known}") from error
    except tomllib.TOMLDecodeError as error:
        raise Trouble(f"{file}: not TOML: {error}") from error
    for host, settings in given.items():
        if unknown := set(settings) - KEYS:
            raise Trouble(f"{file}: [{host}] knows {', '.join(sorted(KEYS))}, not {', '.join(sorted(unknown))}")
        if settings.get("nameserver", host) not in given:
            raise Trouble(f"{file}: [{host}] nameserver names no host of this file")
    return [
        Host(name, one.get("image", "debian12"), tuple(one.get("groups", [])), one.get("nameserver", ""))
        for name, one in given.items()
    ]


def addresses(hosts: list[Host], subnet: str) -> dict[str, str]:
    """Return each host's address in `subnet`, the same whenever the hosts are the same."""
    network = ipaddress.ip_network(subnet)
    return {host.name: str(network[FIRST_ADDRESS + number]) for number, host in enumerate(hosts)}


def container(lab: str, host: str) -> str:
    """Return podman's name of `host` in `lab`."""
    return f"xs-{lab}-{host}"


def inventory(lab: str, hosts: list[Host], at: dict[str, str]) -> str:
    """Return the Ansible inventory (JSON, which is YAML) that reaches `hosts` of `lab` by ssh at the addresses `at`."""
    variables = {
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(places.lab(lab) / "key"),
        "ansible_ssh_common_args": f"-F {places.ssh_config(lab)}",
        "ansible_control_path": str(places.sockets(lab) / "%%C"),
    }
    groups: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for host in hosts:
        for group in host.groups:
            groups.setdefault(group, {"hosts": {}})["hosts"][host.name] = {}
    everyone = {host.name: {"ansible_host": at[host.name], **variables} for host in hosts}
    return json.dumps({"all": {"hosts": everyone, "children": groups}}, indent=2) + "\n"


def ssh_config(lab: str, hosts: list[Host], at: dict[str, str]) -> str:
    """Return the ssh configuration that reaches `hosts` of `lab`; their host keys are as new as they are."""
    text = "".join(f"Host {host.name}\n    HostName {at[host.name]}\n\n" for host in hosts)
    return text + (
        "Host *\n    User root\n    LogLevel ERROR\n    BatchMode yes\n    StrictHostKeyChecking no\n"
        f"    IdentityFile {places.lab(lab) / 'key'}\n    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {places.lab(lab) / 'known_hosts'}\n    GlobalKnownHostsFile /dev/null\n"
        f"    ControlMaster auto\n    ControlPersist 60s\n    ControlPath {places.sockets(lab)}/%C\n"
    )


def up(lab: str, scenario_name: str) -> dict[str, str]:
    """Boot fresh hosts of `scenario_name` as the lab `lab`, in place of what stood there; return their addresses."""
    hosts = scenario(scenario_name)
    tags = build_images(hosts)
    down(lab)
    flags = runtime.options(tags["debian12"] if "debian12" in tags else images.ensure("debian12"))
    network = f"xs-{lab}"
    label = f"--label={leftovers.LABEL}={lab}"
    call("podman", "network", "create", "--disable-dns", label, network)
    at = addresses(hosts, call("podman", "network", "inspect", network, "--format", "{{(index .Subnets 0).Subnet}}"))
    key = _write_files(lab, hosts, at)
    for host in hosts:
        # --no-hosts: a name must come from the school's own DNS, or the test of it means nothing.
        names = ["--no-hosts", f"--hostname={host.name}", f"--network={network}", f"--ip={at[host.name]}"]
        if host.nameserver:
            names += [f"--dns={at[host.nameserver]}", "--dns-search=."]
        call(
            "podman",
            "run",
            "-d",
            f"--name={container(lab, host.name)}",
            label,
            *names,
            *flags,
            tags[host.image],
            "/sbin/init",
        )
    for host in hosts:
        _prepare(container(lab, host.name), host.name, key)
        leftovers.remember(lab, container(lab, host.name))
        wait_for_ssh(at[host.name])
    return at


def build_images(hosts: list[Host]) -> dict[str, str]:
    """Return the tag of each image that `hosts` need, built two at a time where they are not there yet."""
    names = list(dict.fromkeys(host.image for host in hosts))
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(names, pool.map(images.ensure, names), strict=True))


def _write_files(lab: str, hosts: list[Host], at: dict[str, str]) -> str:
    directory = places.lab(lab)
    directory.mkdir(parents=True, exist_ok=True)
    for old in ("key", "key.pub", "known_hosts"):
        (directory / old).unlink(missing_ok=True)
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {lab}", "-f", directory / "key")
    places.inventory(lab).parent.mkdir(exist_ok=True)
    places.inventory(lab).write_text(inventory(lab, hosts, at), encoding="utf-8")
    group_vars = places.inventory(lab).parent / "group_vars"
    if not group_vars.is_symlink():
        group_vars.symlink_to(os.path.relpath(places.GROUP_VARS, group_vars.parent))
    places.ssh_config(lab).write_text(ssh_config(lab, hosts, at), encoding="utf-8")
    places.sockets(lab).mkdir(parents=True, mode=0o700, exist_ok=True)
    return (directory / "key.pub").read_text(encoding="utf-8")


def _prepare(name: str, hostname: str, key: str) -> None:
    """Give a booting host what an installer would have: who may log in, its own name, and enough loop devices."""
    runtime.wait_for_boot(name)
    call("podman", "exec", "-i", name, "install", "-Dm600", "/dev/stdin", "/root/.ssh/authorized_keys", stdin=key)
    call("podman", "exec", "-i", name, "install", "-m644", "/dev/stdin", "/etc/hosts",
         stdin=f"127.0.0.1\tlocalhost\n127.0.1.1\t{hostname}\n::1\tlocalhost ip6-localhost\n")  # fmt: skip
    nodes = f"for n in $(seq 0 {LOOP_DEVICES - 1}); do [ -b /dev/loop$n ] || mknod -m 660 /dev/loop$n b 7 $n; done"
    call("podman", "exec", name, "sh", "-c", nodes)


def wait_for_ssh(address: str, seconds: float = 30) -> None:
    """Return when sshd at `address` greets; raise Trouble after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, 22), timeout=2) as greeted:
                if greeted.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise Trouble(f"no ssh at {address} after {seconds:.0f} s: does a firewall on this machine stop podman's networks?")


def down(lab: str) -> None:
    """Take the lab `lab` away: hosts, network, loop devices, mounts, ssh connections, keys; it may not be there."""
    _close_connections(lab)
    shutil.rmtree(places.sockets(lab), ignore_errors=True)
    leftovers.remove(lab)
    shutil.rmtree(places.lab(lab), ignore_errors=True)


def cut_power(lab: str, host: str) -> None:
    """Stop `host` of `lab` in the middle of whatever it does, and boot it again; return when it can be reached.

    What was written is there afterwards, whether or not anybody waited for the disk: the machine itself runs on.
    """
    name = container(lab, host)
    call("podman", "kill", "--signal=KILL", name)
    call("podman", "wait", name)
    _close_connections(lab)  # nobody told the other end
    call("podman", "start", name)
    leftovers.remember(lab, name)
    _prepare(name, host, (places.lab(lab) / "key.pub").read_text(encoding="utf-8"))
    networks = json.loads(call("podman", "inspect", name, "--format", "{{json .NetworkSettings.Networks}}"))
    wait_for_ssh(networks[f"xs-{lab}"]["IPAddress"])


def _close_connections(lab: str) -> None:
    for path in places.sockets(lab).glob("*"):
        succeeds("ssh", "-o", f"ControlPath={path}", "-O", "exit", "lab")
