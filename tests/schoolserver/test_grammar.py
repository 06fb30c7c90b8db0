# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of the gate: what laptops in the field send is in it, and nothing else is."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schoolserver import grammar, jail
from schoolserver.errors import Refusal
from schoolserver.grammar import DESTINATIONS, Flag, Pull, Push, Xs, parse

UID = "0a345678-1234-1234-1234-123456789abc"
STAMP = "2026-11-23T101500Z"

# PROTOCOL.md section 4, byte for byte, and section 9.
SPOKEN = {
    "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . datastore-current": Push(
        "datastore-current", ("-ltrze.iLsfxCIvu", "--timeout=160", "--delete", "--partial"), ""
    ),
    "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . power-logs": Push(
        "power-logs", ("-ltrze.iLsfxCIvu", "--timeout=160", "--delete", "--partial"), ""
    ),
    "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . documents": Push(
        "documents", ("-ltrze.iLsfxCIvu", "--timeout=160", "--delete", "--partial"), ""
    ),
    "rsync --server -ltrze.iLsfxCIvu --timeout=10 --temp-dir /tmp . /var/lib/ds-backup/completion/SHC12345678": Flag(
        "SHC12345678", ("-ltrze.iLsfxCIvu", "--timeout=10")
    ),
    "rsync --server --sender -ltrze.iLsfxCIvu . datastore-latest/": Pull(
        "datastore-latest", ("-ltrze.iLsfxCIvu",), "/"
    ),
    f"rsync --server --sender -vltre.iLsfxCIvu . datastore/{STAMP}/": Pull(
        f"datastore/{STAMP}", ("-vltre.iLsfxCIvu",), "/"
    ),
    f"rsync --server --sender -ltre.iLs --timeout=60 . keepsakes/{UID}/{STAMP}": Pull(
        f"keepsakes/{UID}/{STAMP}", ("-ltre.iLs", "--timeout=60"), ""
    ),
    f"rsync --server --sender -ltre.iLs . trees/SHC12345678.2/datastore/{STAMP}/": Pull(
        f"datastore/{STAMP}", ("-ltre.iLs",), "/", "SHC12345678.2"
    ),
    "rsync --server -rtlze. --partial --delete . documents/": Push(
        "documents", ("-rtlze.", "--partial", "--delete"), "/"
    ),
    "rsync --server -ltre.i . /var/lib/ds-backup/completion/SHC12345678": Flag("SHC12345678", ("-ltre.i",)),
    "xs status": Xs("status"),
    "xs history": Xs("history"),
    "xs ticket": Xs("ticket"),
}  # fmt: skip


@pytest.mark.parametrize(("command", "request_"), SPOKEN.items(), ids=SPOKEN.keys())
def test_what_laptops_say_is_understood(command: str, request_: grammar.Request) -> None:
    assert parse(command) == request_


PUSH = "rsync --server -ltrze.iLs {} . datastore-current"
PULL = "rsync --server --sender -ltre.iLs . {}"
REFUSED = [
    # a shell, another program, another command behind ours
    "", " ", "sh", "bash -i", "id", "scp -t .", "internal-sftp", "/usr/lib/openssh/sftp-server", "rsync",
    "rsync --server",
    "rsync --server --daemon .", "rsync --daemon", "rrsync", "/usr/bin/rsync --server -ltre.i . documents", "rsync -h",
    "xs", "xs status ", " xs status", "xs  status", "xs status history", "xs Status", "xs --help", "xs status;id",
    "XS status",
    "xs\tstatus", "xs status\n", "rsync --server -ltre.i . documents;id", "rsync --server -ltre.i . documents && id",
    "rsync --server -ltre.i . documents | sh", "rsync --server -ltre.i . documents `id`",
    "rsync --server -ltre.i . $(id)",
    "rsync --server -ltre.i . documents\nid", "rsync --server -ltre.i . documents\r",
    "rsync --server -ltre.i . documents\0",
    "env X=1 rsync --server -ltre.i . documents", "rsync  --server -ltre.i . documents",
    "rsync\u00a0--server -ltre.i . documents",
    'rsync --server -ltre.i . "documents"', "rsync --server -ltre.i . 'documents'",
    "rsync --server -ltre.i . docu\\ments",
    # letters that are not a backup's
    *(f"rsync --server -ltr{letter}e.iLs . documents" for letter in "sLkKDHRXAogpnbCuqSWxPiyFfIBTcEJNOUdwhm0"),
    "rsync --server -llltre.i . documents", "rsync --server -e.i . documents", "rsync --server -ltr . documents",
    "rsync --server -ltre . documents", "rsync --server -ltre.i-s . documents", "rsync --server -ltre.i= . documents",
    "rsync --server ltre.i . documents", "rsync --server --ltre.i . documents",
    "rsync --server -ltre.31.14 . documents",
    f"rsync --server -ltre.{'i' * 21} . documents", "rsync --server -ltré.i . documents",
    # options that are not a backup's, or not in this spelling
    *(PUSH.format(option) for option in (
        "--inplace", "--append", "--append-verify", "--sender", "--daemon", "--config=/x",
        "--link-dest=../datastore", "--copy-dest=/",
        "--compare-dest=/etc", "--files-from=/etc/passwd", "--log-file=/x", "--log-file-format=%f", "--super",
        "--fake-super",
        "--write-devices", "--copy-devices", "--devices", "--specials", "--max-alloc=0", "--remove-source-files",
        "--partial-dir=/x",
        "--partial-dir=.x", "--temp-dir=/tmp", "--temp-dir=/x", "--temp-dir /x", "--temp-dir", "-T /tmp",
        "--rsync-path=sh", "--rsh=sh",
        "-e sh", "--backup", "--backup-dir=/", "--suffix=x", "--chmod=a+s", "--chown=root", "--usermap=*:0",
        "--groupmap=*:0", "--iconv=x",
        "--delete-excluded", "--delete-after", "--delete-missing-args", "--copy-links", "--copy-unsafe-links",
        "--copy-dirlinks",
        "--keep-dirlinks", "--munge-links", "--secluded-args", "--protect-args", "--no-r", "--old-args",
        "--outbuf=N", "--bwlimit=1",
        "--checksum-choice=none", "--compress-choice=zstd", "--compress-level=9", "--protocol=20", "--from0",
        "--xattrs", "--acls",
        "--exclude=*", "--filter=x", "--trust-sender", "--password-file=/etc/shadow", "--write-batch=/x",
        "--read-batch=/x", "--only-write-batch=/x",
        "--timeout=0", "--timeout=-1", "--timeout=1000", "--timeout=", "--timeout", "--timeout 5",
        "--timeout=1 --timeout=2",
        "--timeout=٣", "--timeout=5x", "--delete --delete", "--delete=1", "--del", "--DELETE", "--partial=x", "-p",
        "--", ".", "",
    )),
    "rsync --server --sender -ltre.i --delete . datastore-latest/",
    "rsync --server --sender -ltre.i --partial . datastore-latest",
    "rsync --server --sender -ltre.i --remove-source-files . datastore-latest/",
    "rsync --server -ltre.i --delete --temp-dir /tmp . /var/lib/ds-backup/completion/SHC12345678",
    # paths that are not a backup's
    *(f"rsync --server -ltre.i . {path}" for path in (
        "/", ".", "..", "~", "*", "", "/etc", "datastore", "datastore-latest", "datastore-latest/",
        f"datastore/{STAMP}", "keepsakes", ".state",
        "account.json", "/datastore-current", "./datastore-current", "datastore-current/..", "datastore-current//",
        "datastore-current/x",
        "datastore-current/../datastore", "documents documents", "datastore-current\\", "DATASTORE-CURRENT",
        "-documents", "--delete",
        "/var/lib/ds-backup/completion/", "/var/lib/ds-backup/completion/..",
        "/var/lib/ds-backup/completion/SHC1234567",
        "/var/lib/ds-backup/completion/SHC12345678/", "/var/lib/ds-backup/completion/SHC12345678/x",
        "/var/lib/ds-backup/completion",
        "/var/lib/ds-backup/completion/../../../etc/x", "//var/lib/ds-backup/completion/SHC12345678",
    )),
    "rsync --server -ltre.i --temp-dir /tmp . documents",
    "rsync --server -ltre.i --temp-dir /tmp/ . /var/lib/ds-backup/completion/SHC12345678",
    *(PULL.format(path) for path in (
        "/", ".", "..", "/etc/passwd", "datastore-current", "documents", "power-logs", "account.json", "datastore",
        "datastore/", ".state/lock",
        "datastore/..", "datastore/latest", f"datastore/{STAMP}/..", f"datastore/{STAMP}/../..",
        f"datastore/{STAMP}//", "datastore/2026-13-01T000000Z",
        f"datastore/.{STAMP}.new", "datastore-latest/..", "datastore-latest/../", "datastore-latest//", "keepsakes",
        f"keepsakes/{UID}",
        f"keepsakes/../{STAMP}", f"keepsakes/{UID}/{STAMP}/data", f"keepsakes/{UID.upper()}/{STAMP}",
        f"trees/SHC12345678/datastore/{STAMP}/../../x/",
        f"trees/../datastore/{STAMP}/",
        f"trees/SHC12345678/keepsakes/{UID}/{STAMP}/",
        "trees/SHC12345678/datastore-latest/",
        f"/library/users/SHC12345678/datastore/{STAMP}", "datastore-latest datastore-latest", "datastore-*/",
        "::module", "host:datastore-latest",
        "/var/lib/ds-backup/completion/SHC12345678",
    )),
    "rsync --server --sender --sender -ltre.i . datastore-latest/",
    "rsync --sender --server -ltre.i . datastore-latest/",
    "rsync --server -ltre.i --sender . datastore-latest/", "rsync --server --sender . datastore-latest/",
    "rsync --server --sender -ltre.i datastore-latest/", "rsync --server --sender -ltre.i .. datastore-latest/",
    "rsync --server --sender -ltre.i . . datastore-latest/", "rsync --server --sender -ltre.i . datastore-latest/ .",
    "x" * 301, "xs status" + " " * 300,
]  # fmt: skip


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_not_a_backup_is_refused_in_one_line_that_is_safe_to_print(command: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(command)
    assert str(refusal.value).isascii()
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 300


def test_a_refusal_says_what_the_word_would_gain() -> None:
    with pytest.raises(Refusal, match="'--inplace' is not a backup's: files would be changed where they stand"):
        parse(PUSH.format("--inplace"))
    with pytest.raises(Refusal, match="arguments would arrive after this check"):
        parse("rsync --server -sltre.i . documents")
    with pytest.raises(Refusal, match="a list of the laptop's choice would be read"):
        parse(PUSH.format("--files-from=-"))
    with pytest.raises(Refusal, match=r"are not a backup's$"):
        parse("rsync --server -ltrye.sLD . documents")


WORDS = st.sampled_from(
    ["rsync", "--server", "--sender", "-ltrze.iLsfxCIvu", "-re.", "-tle.s", "--timeout=160", "--timeout=9", "--delete",
     "--partial", "--temp-dir", "/tmp", ".", "..", "datastore-current", "documents/", "power-logs", "datastore-latest/",
     f"datastore/{STAMP}/", f"keepsakes/{UID}/{STAMP}/", "/var/lib/ds-backup/completion/SHC12345678", "xs", "status",
     "ticket", "-s", "--inplace", "--max-alloc=0", "/etc/passwd", "", "-", "--"]
)  # fmt: skip
STARTS = st.sampled_from(["rsync --server ", "rsync --server --sender ", "rsync --server -ltrze.iLs ", "xs ", ""])
TAILS = st.lists(WORDS, max_size=7).map(" ".join)
COMMANDS = st.one_of(
    st.text(max_size=120),
    st.tuples(STARTS, TAILS).map("".join),
    st.tuples(st.sampled_from(sorted(SPOKEN)), st.integers(0, 100), st.text(max_size=2)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
)  # fmt: skip
PIECES = re.compile(
    r"-[ltrzv]{1,5}e\.[A-Za-z]{0,20}|--timeout=[1-9][0-9]{0,2}|--delete|--partial|--sender|--temp-dir|/tmp|\.|-p"
    r"|--chmod=D755,F644|--exclude=(/[-0-9TZ]{18}|/datastore-latest)?/(index_updated|ds_clean)|(datastore-current|documents|power-logs|datastore-latest)/?|datastore/[-0-9TZ]{18}/?"
    r"|trees/[A-Z]{3}[A-Za-z0-9]{8}(\.[1-9][0-9]*)?/datastore/[-0-9TZ]{18}/?"
    r"|keepsakes/[-0-9a-f]{36}/[-0-9TZ]{18}/?|/var/lib/ds-backup/completion/[A-Z]{3}[A-Za-z0-9]{8}",
    re.ASCII,
)


@given(COMMANDS)
@example("rsync --server -ltre.i . documents")
@example("rsync --server --sender -ltre.i . datastore-latest")
def test_whatever_is_accepted_starts_rsync_with_known_pieces_only(command: str) -> None:
    try:
        request = parse(command)
    except Refusal:
        return
    if isinstance(request, Xs):
        assert request.verb in grammar.VERBS
        return
    argv = jail.argv(request, "/library/users/SHC12345678/x", 300)
    started = argv[argv.index("--") + 1 :]
    assert started[:2] == [jail.RSYNC, "--server"]
    assert all(PIECES.fullmatch(word) for word in started[2:])
    assert sum(word.startswith("--timeout=") for word in started) == 1
    assert ("--sender" in started) == isinstance(request, Pull)
    assert not isinstance(request, Push) or request.destination in DESTINATIONS


@given(COMMANDS)
def test_whatever_is_accepted_is_what_was_sent_word_for_word(command: str) -> None:
    try:
        request = parse(command)
    except Refusal:
        return
    match request:
        case Xs(verb):
            assert command == f"xs {verb}"
        case Push(destination, words, slash):
            assert command == f"rsync --server {' '.join(words)} . {destination}{slash}"
        case Pull(source, words, slash, tree):
            source = f"trees/{tree}/{source}" if tree else source
            assert command == f"rsync --server --sender {' '.join(words)} . {source}{slash}"
        case Flag(serial, words):
            path = f". /var/lib/ds-backup/completion/{serial}"
            start = f"rsync --server {' '.join(words)}"
            assert command in (f"{start} {path}", f"{start} --temp-dir /tmp {path}")
