"""Stores of earlier versions open for ever, and one of a later version is refused by name."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest

from tests.support import delayed
from tests.support.old_stores import FOLDER, contents, server
from tests.support.processes import child_environment
from tests.support.store_content import QUEUES, Content

OLD = sorted(FOLDER.glob("*/*.tar.xz"))
BROKER_FILES = ("dispatch", "queues")
JOURNAL_FILES = ("metadata.0000000001.journal", "metadata.0000000001.snapshot")


def unpack(archive: Path, root: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(root, filter="data")


def store_id(archive: Path) -> str:
    return f"{archive.parent.name}-{archive.name.removesuffix('.tar.xz')}"


@pytest.mark.parametrize("archive", OLD, ids=store_id)
def test_a_store_of_an_earlier_version_has_everything(archive: Path, tmp_path: Path) -> None:
    expected = json.loads(archive.with_name(f"{store_id(archive).split('-')[1]}.json").read_text())
    unpack(archive, tmp_path / "store")
    for _ in range(2):  # the second start reads what the present version made of it
        # Due long ago, or later than its level says: either way it is delivered now, and once.
        with server(tmp_path / "store", messageDelayLevel="1s 1s") as running:
            assert contents(running.broker) == expected
            assert delayed.await_delivered(running.broker, 20) == 20
            assert sorted(delayed.delivered(running.broker)) == list(range(20))
            running.stop()
    with server(tmp_path / "store") as running:
        content = Content()
        content.send(running.broker, "orders", 3)
        places = {(queue, *place) for (_, queue), place in content.acknowledged.items()}
        assert places == {(q, expected["queues"][f"orders/{q}"][0]) for q in range(QUEUES)}


def test_the_recorded_stores_are_small() -> None:
    assert len(OLD) >= 2
    assert all(archive.stat().st_size <= 200 * 1024 for archive in OLD)


def newer(path: Path) -> None:
    """The file says that only programs of format version 9 can read it."""
    data = bytearray(path.read_bytes())
    if path.name in JOURNAL_FILES:
        struct.pack_into(">HH", data, 8, 9, 9)
        struct.pack_into(">I", data, 20, zlib.crc32(data[:20]))
    else:
        for slot in (0, 512) if path.name == "dispatch" else (0,):
            struct.pack_into(">II", data, slot + 8, 9, 9)
    path.write_bytes(data)


def lasting(root: Path) -> dict[Path, bytes]:
    """All but the name server's directory, which is another store, and notes the engine made.

    The engine opens and closes before the metadata is looked at: it notes its stop, and makes the
    checksums of whole records that version 0.1 did not have.
    """
    own = root / "pyromq"
    notes = {own / "dispatch", root / "checkpoint", root / "abort", *own.glob("crc/*")}
    return {
        path: path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path not in notes and root / "namesrv" not in path.parents
    }


@pytest.mark.parametrize("name", BROKER_FILES + JOURNAL_FILES)
def test_a_store_of_a_later_version_is_refused_and_nothing_is_changed(
    name: str, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    unpack(FOLDER / "0.1" / "stopped.tar.xz", root)
    newer(root / "pyromq" / name)
    before = lasting(root)
    refused = subprocess.run(
        [sys.executable, "-m", "pyromq", *server(root).arguments],
        capture_output=True,
        text=True,
        env=child_environment(),
        timeout=30,
        check=False,
    )
    assert refused.returncode == 4, refused.stderr
    assert refused.stdout == ""
    last = refused.stderr.strip().splitlines()[-1]
    assert str(root / "pyromq" / name) in last
    assert "9" in last
    assert "version" in last
    assert lasting(root) == before
