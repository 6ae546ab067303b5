"""File operations: a replaced file is the old one or the new one, never a part."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.store.files import Files, replace_file, write_all
from tests.support.faulty_files import FaultyFiles


def test_a_replaced_file_has_the_new_content_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old and long", b"new"):
        replace_file(Files(), path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("operation", ["open", "write", "sync", "rename"])
def test_a_replacement_that_fails_leaves_the_old_content(tmp_path: Path, operation: str) -> None:
    path, files = tmp_path / "file", FaultyFiles()
    replace_file(files, path, b"old")
    files.fail(operation)
    with pytest.raises(OSError, match="Input/output error"):
        replace_file(files, path, b"new")
    assert path.read_bytes() == b"old"
    assert not files.open_fds
    replace_file(files, path, b"newer")
    assert path.read_bytes() == b"newer"


def test_the_new_content_is_synced_before_it_takes_the_place(tmp_path: Path) -> None:
    files = FaultyFiles()
    replace_file(files, tmp_path / "file", b"content")
    assert files.calls == ["remove", "open", "write", "sync", "rename", "sync_directory"]


def test_a_short_write_is_followed_by_the_rest(tmp_path: Path) -> None:
    files = FaultyFiles()
    fd = files.open(tmp_path / "file")
    files.shorten_next_write(3)
    files.shorten_next_write(1)
    write_all(files, fd, b"0123456789")
    files.close(fd)
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert files.calls.count("write") == 3


def test_what_does_not_exist_has_no_names_and_can_be_removed(tmp_path: Path) -> None:
    assert Files().names(tmp_path / "none") == []
    Files().remove(tmp_path / "none")
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert Files().names(tmp_path) == ["a", "b"]


def test_the_boot_id_stays_while_the_machine_runs() -> None:
    assert Files().boot_id() == Files().boot_id()
