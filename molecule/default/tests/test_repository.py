# SPDX-License-Identifier: GPL-3.0-or-later
"""What laptops install from the server: signed, served to them, and the key is nobody's but root's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from testinfra.host import Host

CURRENT = "/library/repository/current"
KEYS = "/library/repository-key"


def test_what_the_controller_built_is_published(host: Host, get: Callable[..., Any]) -> None:
    (deb,) = host.check_output(f"cd {CURRENT}/apt && find pool -name 'xo-client_*.deb'").split()
    (rpm,) = host.check_output(f"cd {CURRENT}/rpm && find . -name 'xo-client-*.rpm' -printf '%P\\n'").split()
    record = json.loads(get("/client/publication.json").body)
    for place, folder in ((deb, "apt"), (rpm, "rpm")):
        answer = get(f"/client/{folder}/{place}".replace("+", "%2B"))
        assert answer.status == 200
        assert hashlib.sha256(answer.body).hexdigest() == record["files"][place.rsplit("/", 1)[-1]]


def test_it_is_signed_by_the_key_that_is_served(host: Host, get: Callable[..., Any]) -> None:
    assert get("/client/school.asc").body.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert get("/client/apt/dists/school/InRelease").status == 200
    work = host.check_output("mktemp -d")
    try:
        host.check_output(f"gpg --homedir {work} --batch --dearmor --output {work}/key {CURRENT}/school.asc")
        dists = f"{CURRENT}/apt/dists/school"
        host.check_output(f"gpgv --keyring {work}/key {dists}/InRelease")
        host.check_output(f"gpgv --keyring {work}/key {dists}/Release.gpg {dists}/Release")
        repomd = f"{CURRENT}/rpm/repodata/repomd.xml"
        host.check_output(f"gpgv --keyring {work}/key {repomd}.asc {repomd}")
    finally:
        host.check_output(f"rm -r {work}")


def test_the_page_shows_the_line_that_installs_a_laptop_and_the_key(host: Host, get: Callable[..., Any]) -> None:
    page = get("/client/")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    text = page.body.decode()
    assert "wget -qO- http://schoolserver/client/install | sudo sh" in text
    record = json.loads(get("/client/publication.json").body)
    assert record["version"] in text
    one = "d=$(mktemp -d); gpg --homedir $d --show-keys --with-colons %s; rm -r $d"
    shown = host.check_output(one % f"{CURRENT}/school.asc")
    (fingerprint,) = [line.split(":")[9] for line in shown.splitlines() if line.startswith("fpr")]  # codespell:ignore
    assert fingerprint in text.replace(" ", "")
    script = get("/client/install")
    assert script.headers["Content-Type"].startswith("text/plain")
    assert script.body.startswith(b"#!/bin/sh\n")


def test_laptops_learn_the_keys_by_a_package(host: Host, get: Callable[..., Any]) -> None:
    version = json.loads(get("/client/publication.json").body)["school"]
    package = get(f"/client/apt/pool/main/x/xo-school/xo-school_{version}_all.deb")
    assert package.status == 200
    assert host.check_output("stat --format='%U %a' /library/push-key") == "root 600"
    for user in ("www-data", "xs-journal", "xs-permission", "xs-registration"):
        assert host.run(f"runuser -u {user} -- cat /library/push-key").rc != 0


def test_nobody_but_root_can_read_the_key(host: Host) -> None:
    assert host.check_output(f"stat --format='%U %a' {KEYS}") == "root 700"
    (key,) = host.check_output(f"ls {KEYS}").split()
    assert host.check_output(f"stat --format='%U %a' {KEYS}/{key}") == "root 600"
    for user in ("www-data", "xs-journal", "xs-permission", "xs-registration"):
        assert host.run(f"runuser -u {user} -- cat {KEYS}/{key}").rc != 0
    assert not host.file("/run/xs-repository").exists


def test_nothing_but_the_current_publication_is_served(get: Callable[..., Any]) -> None:
    for path in (
        "/client/apt/",
        "/client/../repository-key/",
        "/client/%2e%2e/repository-key/",
        "/client../repository-key/",
    ):
        assert get(path).status in {400, 403, 404}
    assert get("/client/school.asc", body=b"x").status == 403


def test_what_is_no_package_changes_nothing(host: Host) -> None:
    before = host.check_output(f"readlink {CURRENT}")
    done = host.run("xs repository publish /etc/hostname")
    assert done.rc == 1
    assert done.stderr.startswith("xs: /etc/hostname is no package")
    assert host.check_output(f"readlink {CURRENT}") == before
