"""Temporary store directories: gone at the end, and after kill -9 with the next one."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from pyromq.app.ephemeral import LOCK_NAME, PREFIX, ephemeral_directory
from pyromq.errors import StartFailed
from tests.support.processes import ServerProcess, child_environment

OWNER = """
import signal
import sys
from pathlib import Path
from pyromq.app.ephemeral import ephemeral_directory
with ephemeral_directory(Path(sys.argv[1])) as directory:
    (directory / "commitlog").mkdir()
    print(directory, flush=True)
    signal.pause()
"""


def owner(parent: Path) -> ServerProcess:
    return ServerProcess(
        "owner", [sys.executable, "-c", OWNER, str(parent)], environment=child_environment()
    )


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_it_is_gone_after_the_block_however_that_ends(
    error: type[BaseException], tmp_path: Path
) -> None:
    with ephemeral_directory(tmp_path) as directory:
        (directory / "a" / "b").mkdir(parents=True)
        (directory / "a" / "b" / "file").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(error), ephemeral_directory(tmp_path):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        left = Path(process.await_line(PREFIX, 20))
        process.kill()
        assert (left / "commitlog").is_dir()
        with ephemeral_directory(tmp_path) as directory:
            assert list(tmp_path.iterdir()) == [directory]


def test_one_in_use_is_left_alone_in_this_process_and_in_another(tmp_path: Path) -> None:
    with owner(tmp_path) as process, ephemeral_directory(tmp_path) as first:
        other = Path(process.await_line(PREFIX, 20))
        with ephemeral_directory(tmp_path) as second:
            assert set(tmp_path.iterdir()) == {other, first, second}
        assert (other / "commitlog").is_dir()
        assert (first / LOCK_NAME).exists()


@pytest.mark.parametrize("has_lock", [True, False])
def test_a_removal_that_was_interrupted_is_finished(has_lock: bool, tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}left"
    left.mkdir()
    if has_lock:
        (left / LOCK_NAME).touch()
    with ephemeral_directory(tmp_path):
        assert not left.exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    foreign = tmp_path / "elsewhere"
    foreign.mkdir()
    (foreign / LOCK_NAME).touch()
    (tmp_path / f"{PREFIX}link").symlink_to(foreign)
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}full").mkdir()
    (tmp_path / f"{PREFIX}full" / "no lock was ever here").touch()
    before = sorted(tmp_path.rglob("*"))
    with ephemeral_directory(tmp_path):
        pass
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("moment", ["before the lock", "after the lock"])
def test_a_new_one_taken_for_a_left_one_is_made_again(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may look at it before it is locked."""
    taken: list[Path] = []
    make, open_file = tempfile.mkdtemp, os.open

    def made(prefix: str, dir: Path) -> str:  # noqa: A002 — mkdtemp's own name
        path = Path(make(prefix=prefix, dir=dir))
        if not taken:
            taken.append(path)
            if moment == "before the lock":
                path.rmdir()
        return str(path)

    def opened(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = open_file(path, flags, mode)
        if moment == "after the lock" and path.parent == taken[0]:
            path.unlink()
            path.parent.rmdir()
        return descriptor

    monkeypatch.setattr(tempfile, "mkdtemp", made)
    monkeypatch.setattr(os, "open", opened)
    with ephemeral_directory(tmp_path) as directory:
        assert directory != taken[0]
        assert list(tmp_path.iterdir()) == [directory]
        monkeypatch.undo()


def test_a_place_where_none_can_be_made_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(StartFailed, match=r"missing.*No such file.*TMPDIR"),
        ephemeral_directory(tmp_path / "missing"),
    ):
        pass
