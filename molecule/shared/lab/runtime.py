# SPDX-License-Identifier: GPL-3.0-or-later
"""Which podman options make a whole host of a container on this machine.

An ordinary machine needs none beyond the plain ones. Others refuse limits, or take them and do nothing: so a probe
boots a host, looks for a symptom, adds its cure, and boots again, until nothing is wrong. The answer is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import places
from lab.trouble import Trouble, call, installed, last_words, succeeds

PLAIN = ("--systemd=always", "--privileged")
PROBE = f"xs-probe-{os.getpid()}"  # two scenarios may look at the same time
BOOT_SECONDS = 60
# A unit that takes six times its MemoryMax must be killed: where it is not, the limits in our units do nothing.
HOG = ("systemd-run", "--wait", "--quiet", "-p", "MemoryMax=32M", "-p", "MemorySwapMax=0",
       "python3", "-c", "bytearray(200_000_000)")  # fmt: skip
# What --systemd=always does, but for its bind mount of the machine's own systemd hierarchy: with that, all hosts on a
# machine with old cgroups share one, and the first to stop takes the others' groups with it.
OWN_HIERARCHY = ("--systemd=false", "--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp", "--env=container=podman",
                 "--stop-signal=SIGRTMIN+3")  # fmt: skip
FEWEST_TASKS = 4096  # a school's sessions, a jail each, and the services


def ulimits(files: int, processes: int) -> Iterator[list[str]]:
    """Yield options with ever lower limits, from this machine's own hard ones down: some of it is always allowed."""
    while files >= 1024 and processes >= 1024:
        yield [f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}"]
        processes //= 2
        if processes < 1024:
            files, processes = files // 2, 4096


def settle(probe: Callable[[list[str]], str], runtimes: list[str], limits: list[list[str]]) -> list[str]:
    """Return the options with which `probe` finds nothing wrong; raise Trouble when there are none.

    `probe` takes options and returns "" or what is wrong: "refused: …" by podman, "asleep: …" (it does not boot),
    "limits" (without effect), "shared" (cgroups, with other hosts) or "tasks" (too few).
    `runtimes` are other container runtimes to try, `limits` the ulimits to try, highest first.
    """
    runtime: list[str] = []
    limit: list[str] = []
    extra: list[str] = []
    others, lower = list(runtimes), list(limits)
    while True:
        options = [*runtime, *limit, *extra]
        wrong = probe(options)
        if not wrong:
            return options
        if wrong.startswith("refused") and "rlimit" in wrong and lower:
            limit = lower.pop(0)
        elif wrong.startswith(("asleep", "limits")) and "--cgroupns=private" not in extra:
            extra.append("--cgroupns=private")
        elif wrong.startswith(("refused", "asleep")) and others:
            runtime, limit, lower = [f"--runtime={others.pop(0)}"], [], list(limits)
        elif wrong == "shared" and OWN_HIERARCHY[0] not in extra:
            extra += OWN_HIERARCHY
        elif wrong == "tasks" and "--pids-limit=-1" not in extra:
            extra.append("--pids-limit=-1")
        else:
            raise Trouble(_advice(wrong))


def _advice(wrong: str) -> str:
    if wrong == "limits":
        return "memory limits do nothing in this machine's containers: boot it with systemd.unified_cgroup_hierarchy=1"
    if wrong == "shared":
        return "hosts would share their cgroups on this machine: boot it with systemd.unified_cgroup_hierarchy=1"
    if wrong == "tasks":
        return f"this machine gives a container fewer than {FEWEST_TASKS} tasks: raise pids_limit in containers.conf"
    return f"podman boots no host here ({wrong}): use a machine or VM of your own, as its root"


def options(image: str) -> list[str]:
    """Return the podman options for a host on this machine: those found before, or what probing `image` finds."""
    probing = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    machine = f"{platform.release()}, podman {call('podman', '--version').split()[-1]}, probed by {probing}"
    try:
        known = json.loads(places.RUNTIME.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        known = {}
    if known.get("machine") != machine:
        files, processes = (resource.getrlimit(which)[1] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        limits = list(ulimits(_finite(files), _finite(processes)))
        try:
            found = settle(
                lambda given: probe(image, given), [one for one in ("runc", "crun") if installed(one)], limits
            )
        finally:
            succeeds("podman", "rm", "-f", "-t", "0", PROBE)
        known = {"machine": machine, "options": found}
        places.RUNTIME.parent.mkdir(parents=True, exist_ok=True)
        places.RUNTIME.write_text(json.dumps(known), encoding="utf-8")
    return [*PLAIN, *known["options"]]


def _finite(limit: int) -> int:
    return 1 << 20 if limit == resource.RLIM_INFINITY else limit


def probe(image: str, given: list[str]) -> str:
    """Boot a host of `image` with the options `given`; return "" or what is wrong with it."""
    succeeds("podman", "rm", "-f", "-t", "0", PROBE)
    try:
        call("podman", "run", "-d", f"--name={PROBE}", "--network=none", *PLAIN, *given, image, "/sbin/init")
    except Trouble as trouble:
        return f"refused: {trouble}"
    try:
        wait_for_boot(PROBE)
    except Trouble as trouble:
        return f"asleep: {trouble}"
    if succeeds("podman", "exec", PROBE, *HOG):
        return "limits"
    if "/../" in call("podman", "exec", PROBE, "cat", "/proc/1/cgroup"):
        return "shared"
    files = ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max")  # one or the other is there
    most = call("podman", "exec", PROBE, "cat", *files, check=False)
    if any(word.isdigit() and int(word) < FEWEST_TASKS for word in most.split()):
        return "tasks"
    return ""


def wait_for_boot(container: str, seconds: float = BOOT_SECONDS) -> None:
    """Return when systemd in `container` has finished booting; raise Trouble after `seconds`, or when it is not up."""
    deadline = time.monotonic() + seconds
    state = ""
    while time.monotonic() < deadline:
        if call("podman", "inspect", "-f", "{{.State.Running}}", container) != "true":
            raise Trouble(
                f"{container} stopped while booting: {last_words(call('podman', 'logs', container, check=False))}"
            )
        state = call("podman", "exec", container, "systemctl", "is-system-running", check=False)
        if state in {"running", "degraded"}:
            return
        time.sleep(0.2)
    raise Trouble(f"{container} has not booted in {seconds:.0f} s (systemd says {state or 'nothing'})")
