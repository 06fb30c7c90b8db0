# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is who: every way in which laptops register, break, multiply and change hands, on a running host.

Each test says what the laptop sees, what the technician sees, and what everybody else sees.
"""

from __future__ import annotations

import socket
import subprocess
import time
import xmlrpc.client

import pytest

from laptop import SUGAR_SECONDS, Laptop, Laptops, new_serial, register
from server import Server
from views import assert_apart, assert_goes_on

NOBODY = ("SHF00000000", "00000000-0000-0000-0000-000000000000")  # what every Raspberry Pi says
WAY_OUT = "install the school's laptop package"
PUSH = "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . datastore-current"
NO_ENTRY = "Permission denied (publickey"


@pytest.mark.parametrize("kind", ["dsa", "rsa", "ed25519"])
def test_registering_again_changes_nothing_at_all(laptops: Laptops, server: Server, kind: str) -> None:
    laptop = laptops("Jim", kind=kind)
    for name, text in (("power-logs/pwr-1.csv", "time,volts\n"), ("documents/letter.txt", "Dear aunt,\n")):
        (laptop.home / name).parent.mkdir()
        (laptop.home / name).write_text(text, encoding="ascii")
    first = laptop.register()
    laptop.write_many(3)
    laptop.back_up()
    before, trail = server.identity(times=True), server.run("cat /library/audit.jsonl")
    assert laptop.register() == first
    assert server.identity(times=True) == before
    assert server.run("cat /library/audit.jsonl") == trail
    assert first["backupurl"] == f"{laptop.serial}@schoolserver:backup"
    assert laptop.back_up().files == (), "nothing is sent twice"
    assert laptop.status()["approval"] == "none"
    assert laptop.read("datastore-latest/") == laptop.journal()
    also = server.run(f"cd /library/users/{laptop.serial} && cat power-logs/pwr-1.csv documents/letter.txt")
    assert also.splitlines() == ["time,volts", "Dear aunt,"]


def test_a_laptop_of_2008_and_one_of_today_with_the_same_key_are_the_same(laptops: Laptops, server: Server) -> None:
    laptop = laptops("Jim").settled(1)
    before = server.identity(times=True)
    # Python 2.5 speaks HTTP/1.0, and names no type of a text.
    fields = (laptop.serial, laptop.nick, laptop.uuid, laptop.pubkey)
    call = "".join(f"<param>\n<value>{field}</value>\n</param>\n" for field in fields)
    body = f"<?xml version='1.0'?>\n<methodCall><methodName>register</methodName><params>\n{call}</params></methodCall>"
    headers = "User-Agent: xmlrpclib.py/1.0.1 (by www.pythonware.com)\r\nContent-Type: text/xml"
    with socket.create_connection((server.address, 8080), SUGAR_SECONDS, (laptop.address, 0)) as line:
        line.sendall(f"POST /RPC2 HTTP/1.0\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = b"".join(iter(lambda: line.recv(4096), b""))
    assert b" 200 OK\r\n" in answer
    ((struct,), _) = xmlrpc.client.loads(answer.partition(b"\r\n\r\n")[2].decode())
    assert struct == laptop.register()
    # Newer ones send the key's whole line.
    key = f"ssh-dss {laptop.pubkey} jim@xo"
    again = {"serial": laptop.serial, "nick": laptop.nick, "uuid": laptop.uuid, "pubkey": key}
    assert register(server.address, laptop.address, **again) == struct
    assert server.identity(times=True) == before


def test_a_new_nick_changes_the_nick_and_nothing_else(laptops: Laptops, server: Server) -> None:
    laptop = laptops("Jim").settled()
    before, account = server.identity(), server.account(laptop.serial)
    laptop.nick = "जिम"
    assert laptop.register()["success"] == "OK"
    assert server.account(laptop.serial) == {**account, "nick": "जिम"}
    changed = [line for line in server.identity() if line not in before]
    assert len(changed) == 1, changed
    assert server.laptops()[laptop.serial]["nick"] == "जिम"
    assert_goes_on(laptop, server)


def test_a_known_serial_with_a_new_key_works_at_once_and_sees_nothing_old(laptops: Laptops, server: Server) -> None:
    child = laptops("Jim").settled()
    stranger = laptops("Jim", serial=child.serial, machine=child.uuid)
    answer = stranger.register()
    assert answer["success"] == "OK", answer
    status = stranger.status()
    assert status["approval"] == "pending"
    assert "ask your teacher for your old documents" in status["message"]
    assert "the school server has no backup of this laptop yet" in stranger.refused("datastore-latest/")
    stranger.write_many(2)
    stranger.back_up()
    tree = f"{child.serial}.2"
    assert_apart(stranger, tree, child, server)
    assert server.lost(stranger.backed_up, tree) == []
    assert server.laptops()[tree]["state"] == "waiting"
    assert f"{tree}  {child.serial}" in server.xs("laptop", "list")
    assert "same child?" in server.xs("laptop", "list")
    assert_goes_on(child, server)
    assert child.status()["approval"] == "none"
    assert child.history() == {child.serial: server.stamps(child.serial)}, "nor does the child see the stranger's"
    assert_apart(stranger, tree, child, server)


def test_a_new_serial_with_a_known_key_is_one_more_name_of_the_same_tree(laptops: Laptops, server: Server) -> None:
    laptop = laptops("Jim").settled()
    names = [laptop.serial]
    for _ in range(19):
        laptop.serial = new_serial()
        answer = laptop.register()
        assert answer["backupurl"] == f"{laptop.serial}@schoolserver:backup"
        names.append(laptop.serial)
    laptop.write("Under another name")
    assert len(laptop.back_up().files) < 12, "only the new document"
    assert server.account(names[0])["names"] == names
    assert laptop.history() == {names[0]: server.stamps(names[0])}
    assert set(laptop.page().documents()) == set(laptop.backed_up)
    for name in names[:2]:
        laptop.login = name
        assert laptop.read("datastore-latest/") == laptop.journal()
    laptop.serial, laptop.login = new_serial(), ""
    refused = laptop.register()
    assert refused["success"] == "ERR"
    assert "registered under 20 serials already" in refused["error"]
    assert WAY_OUT in refused["error"]
    assert laptop.permission() == (403, "unknown")
    assert laptop.serial in server.xs("laptop", "list")
    laptop.serial = names[-1]
    laptop.back_up()


def test_another_learners_key_under_a_known_serial_opens_its_own_tree_only(laptops: Laptops, server: Server) -> None:
    child, other = laptops("Jim").settled(), laptops("Ann").settled()
    own, before = other.serial, server.identity()
    other.serial = child.serial
    answer = other.register()
    assert answer["backupurl"] == f"{own}@schoolserver:backup", "its own name, not the one that it claimed"
    assert server.identity() == before
    # Old clients keep the serial, not the name in that address: it opens nothing with this key.
    assert NO_ENTRY in other.ask("xs status").words()
    other.login = own
    other.write("Ann's next story")
    other.back_up()
    assert server.lost(other.backed_up, own) == []
    assert_apart(other, own, child, server)
    assert_goes_on(child, server)


def test_what_every_board_without_a_serial_says_is_refused_with_the_way_out(laptops: Laptops, server: Server) -> None:
    before = server.identity(times=True)
    for serial, machine in (NOBODY, (NOBODY[0], ""), ("", NOBODY[1])):
        board = laptops("Pi", serial=serial, machine=machine)
        answer = board.register()
        assert answer["success"] == "ERR"
        assert WAY_OUT in answer["error"]
        assert "\n" not in answer["error"]
        assert board.permission() == (403, "unknown")
        assert NO_ENTRY in board.ask("xs status").words()
        refused = server.xs("laptop", "list").partition("Refused lately:")[2]
        assert board.serial in refused
        assert board.address in refused
        assert answer["error"] in refused
    assert server.identity(times=True) == before


def test_two_laptops_of_one_child_are_one_timeline_and_go_on_apart(laptops: Laptops, server: Server) -> None:
    old, new, other = (laptops(nick).settled() for nick in ("Jim", "Jim", "Ann"))
    server.xs("laptop", "approve", new.serial, "--as", old.serial)
    for one, another in ((old, new), (new, old)):
        one.write("After the approval")
        one.back_up()
        assert server.lost(one.backed_up, one.serial) == [], "each goes on writing its own tree"
        assert one.status()["approval"] == "granted"
        assert one.history() == {one.serial: server.stamps(one.serial), another.serial: server.stamps(another.serial)}
        newest = f"datastore/{server.stamps(another.serial)[-1]}/"
        assert one.read(f"trees/{another.serial}/{newest}") == another.backed_up
        assert one.read("datastore-latest/") == one.journal()
    for one in (old, new):
        assert set(one.page().documents()) == set(old.backed_up) | set(new.backed_up)
    for tree in (old.serial, new.serial):
        newest = f"trees/{tree}/datastore/{server.stamps(tree)[-1]}/"
        assert f"{tree} is no tree of this laptop's child" in other.refused(newest)
    assert_goes_on(other, server)
    assert f"same child as {old.serial}" in server.xs("laptop", "list")


def test_a_laptop_handed_on_to_another_child_starts_anew(laptops: Laptops, server: Server) -> None:
    jim = laptops("Jim").settled()
    ann = Laptop.found(jim.home)  # the same machine and key, with another child at it, and an empty Journal
    server.xs("laptop", "hand-on", jim.serial)
    for uid in ann.journal():
        ann.delete(uid)
    ann.nick, ann.backed_up, tree = "Ann", {}, f"{jim.serial}.2"
    assert ann.register()["success"] == "OK"
    assert "the school server has no backup of this laptop yet" in ann.refused("datastore-latest/")
    ann.write_many(2)
    ann.back_up()
    assert server.lost(ann.backed_up, tree) == []
    assert_apart(ann, tree, jim, server)
    assert ann.status()["approval"] == "none", "a person has said already that it is another child"
    shown = server.laptops()
    assert (shown[tree]["nick"], shown[tree]["names"], shown[tree]["state"]) == ("Ann", [jim.serial], "in use")
    assert (shown[jim.serial]["nick"], shown[jim.serial]["state"]) == ("Jim", "removed")
    assert server.lost(jim.backed_up, jim.serial) == [], "Jim's documents stay"

    next_one = laptops("Jim").settled()
    unclear = server.refusal("laptop", "approve", next_one.serial, "--as", jim.serial)
    assert f"{jim.serial}.1" in unclear
    assert tree in unclear
    server.xs("laptop", "approve", next_one.serial, "--as", f"{jim.serial}.1")
    assert set(next_one.page().documents()) == set(jim.backed_up) | set(next_one.backed_up)
    newest = server.stamps(jim.serial)[-1]
    assert next_one.read(f"trees/{jim.serial}/datastore/{newest}/") == jim.backed_up
    assert_apart(ann, tree, jim, server)


def test_a_laptop_in_store_opens_nothing_until_it_is_taken_out_again(laptops: Laptops, server: Server) -> None:
    laptop = laptops("Jim").settled()
    server.xs("laptop", "retire", laptop.serial)
    before = server.identity(times=True)
    assert laptop.permission() == (403, "retired")
    for command in ("xs status", "xs ticket", "rsync --server --sender -ltre.iLsfxCIvu . datastore-latest/"):
        assert NO_ENTRY in laptop.ask(command).words()
    refused = laptop.register()
    assert refused["success"] == "ERR"
    assert "given back to the school" in refused["error"]
    assert "ask a teacher" in refused["error"]
    assert server.identity(times=True) == before
    assert server.laptops()[laptop.serial]["state"] == "retired"
    assert server.lost(laptop.backed_up, laptop.serial) == []
    server.xs("laptop", "retire", laptop.serial, "--undo")
    assert laptop.register()["success"] == "OK"
    assert_goes_on(laptop, server)


def test_a_session_that_is_open_ends_when_its_laptop_goes_into_store(laptops: Laptops, server: Server) -> None:
    laptop = laptops("Jim").settled(1)
    with laptop.asking(PUSH) as session:
        end = time.monotonic() + 20
        while server.host.run(f"pgrep --uid {laptop.serial} --exact rsync").rc:
            assert session.poll() is None, "the session ended before anybody said so"
            assert time.monotonic() < end, "the session did not begin"
        server.xs("laptop", "retire", laptop.serial)
        try:
            session.wait(10)
        except subprocess.TimeoutExpired:
            pytest.fail("the session went on")
    assert server.host.run(f"pgrep --uid {laptop.serial}").rc == 1
    server.xs("laptop", "retire", laptop.serial, "--undo")
    laptop.back_up()


def test_a_laptop_is_not_taken_from_who_waits_with_its_serial(laptops: Laptops, server: Server) -> None:
    child = laptops("Jim").settled(1)
    waiting = laptops("Jim", serial=child.serial).settled(1)
    tree, before = f"{child.serial}.2", server.identity(times=True)
    for act in ("hand-on", "remove"):
        assert f"{tree} has come with a new key of this laptop" in server.refusal("laptop", act, child.serial)
    assert server.identity(times=True) == before
    assert_apart(waiting, tree, child, server)
    server.xs("laptop", "remove", tree)
    assert NO_ENTRY in waiting.ask("xs status").words()
    assert server.lost(waiting.backed_up, tree) == []
    assert_goes_on(child, server)


def test_a_removed_laptop_that_comes_back_waits_for_a_person(laptops: Laptops, server: Server) -> None:
    jim = laptops("Jim").settled()
    server.xs("laptop", "remove", jim.serial)
    assert jim.permission() == (403, "unknown")
    assert NO_ENTRY in jim.ask("xs status").words()
    assert server.laptops()[jim.serial]["state"] == "removed"
    assert server.lost(jim.backed_up, jim.serial) == []

    back = Laptop.found(jim.home)
    back.backed_up = {}
    assert back.register()["success"] == "OK"
    assert back.status()["approval"] == "pending"
    for uid in back.journal():
        back.delete(uid)
    back.write_many(2)
    back.back_up()
    tree = f"{jim.serial}.2"
    assert_apart(back, tree, jim, server)
    assert server.laptops()[tree]["state"] == "waiting"
    server.xs("laptop", "approve", jim.serial)
    assert set(back.page().documents()) == set(jim.backed_up) | set(back.backed_up)
    back.restore(f"trees/{jim.serial}/datastore/{server.stamps(jim.serial)[-1]}/")
    assert back.back_up().bytes < 10_000, "the old documents are on the server already"
    assert server.lost({**jim.backed_up, **back.backed_up}, tree) == []
    server.xs("laptop", "remove", jim.serial)
    assert server.lost({**jim.backed_up, **back.backed_up}, tree, jim.serial) == [], "whatever is removed"
