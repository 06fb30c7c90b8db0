# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import shutil
import subprocess
import tracemalloc
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import school
from schoolserver import bundle, datastore
from schoolserver.entries import Entry
from schoolserver.errors import Refusal

ONE = school.uid(1)


def made(tree: Path) -> bytes:
    def opened() -> AbstractContextManager[Entry]:
        return datastore.entry_in(tree, ONE)

    prepared = bundle.prepare(ONE, opened)
    content = b"".join(prepared.pieces())
    assert len(content) == prepared.length
    return content


def test_a_bundle_holds_what_sugar_installs(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, b"dear diary", title="मेरो कथा", preview=school.PNG)
    with zipfile.ZipFile(io.BytesIO(made(tmp_path))) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == f"{ONE}/"
        assert sorted(archive.namelist()[1:]) == [f"{ONE}/{ONE}", f"{ONE}/_metadata.json", f"{ONE}/preview/{ONE}"]
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
        assert archive.read(f"{ONE}/{ONE}") == b"dear diary"
        assert archive.read(f"{ONE}/preview/{ONE}") == school.PNG
        metadata = json.loads(archive.read(f"{ONE}/_metadata.json"))
    assert metadata["title"] == "मेरो कथा"
    assert "preview" not in metadata
    assert all(isinstance(value, str) for value in metadata.values())


def test_without_data_or_preview_the_members_are_there_and_empty(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, data=None, preview=b"no picture")
    with zipfile.ZipFile(io.BytesIO(made(tmp_path))) as archive:
        assert archive.read(f"{ONE}/{ONE}") == b""
        assert archive.read(f"{ONE}/preview/{ONE}") == b""


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip, which Sugar calls, is not installed")
def test_the_unzip_that_sugar_calls_unpacks_it(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, b"x" * 300_000, preview=school.PNG)
    (tmp_path / "a.xoj").write_bytes(made(tmp_path))
    subprocess.run(["unzip", "-q", "-o", tmp_path / "a.xoj", "-d", tmp_path / "out"], check=True)
    assert (tmp_path / "out" / ONE / ONE).read_bytes() == b"x" * 300_000
    # Or Sugar removes the folder before its datastore service has taken the data.
    assert (tmp_path / "out" / ONE).stat().st_mode & 0o7777 == 0o300


def test_a_large_document_passes_in_small_pieces(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, bytes(21_000_000))
    prepared = bundle.prepare(ONE, lambda: datastore.entry_in(tmp_path, ONE))
    tracemalloc.start()
    assert sum(map(len, prepared.pieces())) == prepared.length > 21_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_document_beyond_what_a_zip_holds_is_refused(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE)
    with (tmp_path / "01" / ONE / "data").open("r+b") as data:
        data.truncate(bundle.LARGEST + 1)
    with pytest.raises(Refusal, match="too large"):
        bundle.prepare(ONE, lambda: datastore.entry_in(tmp_path, ONE))


def test_properties_that_would_stop_sugar_stay_out(tmp_path: Path) -> None:
    properties = {
        "title": "a",
        "timestamp": "yesterday",
        "filesize": "12",
        "creation_time": "1e9",
        "mountpoint": "/media",
        "checksum": "d41d8cd98f00b204e9800998ecf8427e",
    }
    assert json.loads(bundle.metadata_json(properties)) == {"title": "a", "filesize": "12"}


@given(st.dictionaries(st.text("abc/-", min_size=1), st.binary(max_size=99), max_size=5))
def test_the_length_is_known_before(members: dict[str, bytes]) -> None:
    sink = bundle._Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            with archive.open(zipfile.ZipInfo(name), "w") as member:
                member.write(content)
    assert len(sink.take()) == bundle.zip_length({name: len(content) for name, content in members.items()})
