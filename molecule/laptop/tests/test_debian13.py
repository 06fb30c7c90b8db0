# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian 13's OpenSSH makes no DSA key, and Sugar 0.121 knows no other: what that means for a child."""

from __future__ import annotations

from pathlib import Path

from testinfra.host import Host

from sugar_laptop import Laptop


def test_1_without_the_package_sugar_cannot_register(pc13: Laptop) -> None:
    """Without the package Sugar has no key, asks its first questions at every start, and cannot register."""
    assert "this OpenSSH has no DSA" in pc13.host.run("runuser -l olpc -c '/opt/laptop/first_start.py Jim'").stderr
    answer_the_first_questions(pc13)
    pc13.child("desktop", "stop")
    answer_the_first_questions(pc13)
    pc13.opens_menu()
    pc13.clicks("Register")
    assert "Cannot connect to the server." in pc13.sees("Registration Failed")
    pc13.picture("1-without-the-package")


def test_2_with_the_package_it_can(pc13: Laptop, server: Host, package: Path) -> None:
    """With the package the same menu registers the laptop."""
    pc13.child("desktop", "stop")
    pc13.install(package)
    answer_the_first_questions(pc13)
    pc13.opens_menu()
    pc13.clicks("Register")
    assert "You are now registered with your school server." in pc13.sees("Registration Successful")
    pc13.picture("2-with-the-package")
    account = server.file(f"/library/users/{pc13.login()}/account.json").content_string
    assert '"ssh-ed25519"' in account


def test_3_the_menu_in_the_frame_saves_and_gets_back(pc13: Laptop) -> None:
    """The menu in the frame saves the Journal; deleted documents come back, and the Journal shows them."""
    pc13.child("create_documents")
    before = pc13.child("list_documents")
    pc13.presses("F6")
    pc13.clicks("School server")
    pc13.sees("Not saved yet.")
    pc13.clicks("Save my Journal now")
    pc13.sees("Your Journal is on the school server now.", 60)
    pc13.clicks("Close")
    pc13.child("delete_documents", *sorted(before)[:30])
    pc13.clicks("School server")
    pc13.sees("Saved last on ")
    pc13.picture("3-frame")
    pc13.clicks("Get documents back", "Get them back")
    pc13.sees("30 documents are back in your Journal.", 60)
    pc13.clicks("Close")
    assert pc13.child("list_documents") == before
    pc13.child("desktop", "stop")


def answer_the_first_questions(laptop: Laptop) -> None:
    """Start Sugar, and answer what it asks a new child although this one is known: a colour and a grade."""
    laptop.child("desktop", "start")
    laptop.sees("Click to change color:", 60)
    laptop.clicks("Next")
    laptop.clicks_above("5th")
    laptop.clicks("Done")
    laptop.sees("Favorites view", 60)
