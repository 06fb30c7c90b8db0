# SPDX-License-Identifier: GPL-3.0-or-later
"""A laptop with Sugar's desktop, as its child uses it and sees it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from testinfra.host import Host

from lab import places
from on_laptop import Run, new_child, put

LAB = "laptop"
PROGRAMS = (places.MOLECULE / "journey" / "laptop", places.MOLECULE / "laptop" / "desktop")
PICTURES = places.BUILD / "lab" / "laptop-pictures"  # beside the lab: it goes with its hosts
PACKAGE = "/root/xo-client.deb"
PICTURE = "/home/olpc/picture.png"


class Laptop:
    """A laptop with one child, and that child's hands and eyes."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.name = name
        put(host, *PROGRAMS)
        self.child: Run = new_child(host)

    def reflash(self) -> None:
        """Make it as fresh from its box: a new child, no profile, no Journal, no key; the machine stays."""
        self.child("desktop", "stop")
        self.child = new_child(self.host)
        self.stop_timer()

    def install(self, package: Path) -> None:
        """Install the laptop's package."""
        config = places.ssh_config(LAB)
        subprocess.run(("scp", "-q", "-F", config, package, f"{self.name}:{PACKAGE}"), check=True)
        self.host.check_output(f"dpkg --install {PACKAGE}")
        self.stop_timer()

    def stop_timer(self) -> None:
        """Stop the timer: here a backup starts when a test says so."""
        self.as_child("systemctl --user stop xo-backup.timer xo-backup.service")

    def as_child(self, command: str, ends: int = 0) -> str:
        """Run `command` as the child; it must end with the exit code `ends`. Return what it printed."""
        done = self.host.run("runuser -l olpc -c %s", command)
        assert done.rc == ends, f"{command} ended {done.rc}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def start_sugar(self) -> None:
        """Start Sugar, and wait for the home view."""
        self.child("desktop", "start")
        self.sees("Favorites view", 60)

    def sees(self, words: str, seconds: float = 20) -> list[str]:
        """Wait until the screen shows something that begins with `words`, a regular expression.

        Return all the words on it.
        """
        return self._words("wait", str(seconds), words)

    def clicks(self, *words: str) -> list[str]:
        """Click on each thing with these words; return all the words that are on the screen after that."""
        return [self._words("click", one) for one in words][-1]

    def clicks_above(self, words: str) -> None:
        """Click on the figure that has these words below it."""
        self._words("above", words)

    def opens_menu(self) -> None:
        """Open the menu of the child's own figure."""
        self._words("menu")
        self.sees("My Settings")

    def starts_browse(self) -> None:
        """Start the one activity that stands in the home view, and wait for its own window."""
        self._words("activity")
        self.sees("Sugar Labs", 60)

    def presses(self, key: str) -> None:
        """Press a key: F3 is Sugar's home view, F5 the Journal, F6 the frame."""
        self._words("key", key)

    def searches(self, words: str) -> None:
        """Write `words` into the search field at the top."""
        self._words("search", words)

    def opens_backup(self, which: str) -> None:
        """Open Sugar's settings, section Backup, and choose the school server for `which` (the words on the button)."""
        self.opens_menu()
        self.clicks("My Settings", "Backup", which)
        self._words("click", "", "combo box")
        self._words("click", "School server", "menu item")
        self.clicks("Continue")

    def picture(self, name: str) -> None:
        """Keep a picture of the screen under build/, for a person to look at."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self._words("picture", PICTURE)
        source, target = f"{self.name}:{PICTURE}", PICTURES / f"{self.name}-{name}.png"
        subprocess.run(("scp", "-q", "-F", places.ssh_config(LAB), source, target), check=True)

    def login(self) -> str:
        """Return the login name that the laptop has on the server."""
        return self.as_child("gsettings get org.sugarlabs backup-url").strip("'\n").partition("@")[0]

    def _words(self, *arguments: str) -> list[str]:
        return [words for _, words in self.child("screen", *arguments) if words]

    # The network between this laptop and the school server. Only ssh, so that the server is found all the same.

    def slow_network(self, server: str) -> None:
        """Let no more than a megabyte a second come from `server`, so that there is time to look and to cancel."""
        rule = f"ip saddr {server} tcp sport 22 limit rate over 1 mbytes/second burst 100 kbytes drop"
        self._rules("type filter hook input priority 0", rule)

    def broken_network(self, server: str) -> None:
        """Break the connections to `server`, and let no new one begin."""
        rule = f"ip daddr {server} tcp dport 22 reject with tcp reset"
        self._rules("type filter hook output priority 0", rule)

    def good_network(self) -> None:
        """Take the rules away."""
        self.host.check_output("nft flush ruleset")

    def _rules(self, hook: str, rule: str) -> None:
        lines = f"flush ruleset\ntable inet lab {{\nchain rules {{\n{hook};\n{rule}\n}}\n}}\n"
        self.host.check_output("printf %%s %s | nft -f -", lines)
