"""A directory that one process at a time serves from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyromq.app.lock import DirectoryLock, usable_directory
from pyromq.errors import ConfigInvalid

TAKE = """
import sys, pathlib
from pyromq.app.lock import DirectoryLock
from pyromq.errors import Occupied
try:
    DirectoryLock(pathlib.Path(sys.argv[1]))
except Occupied as error:
    sys.exit(error.exit_code)
"""


def exit_code_of_another_process(directory: Path) -> int:
    return subprocess.run(
        [sys.executable, "-c", TAKE, str(directory)], timeout=20, check=False
    ).returncode


def test_another_process_is_kept_out_until_the_release(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    lock = DirectoryLock(directory)
    assert exit_code_of_another_process(directory) == 3
    lock.release()
    assert exit_code_of_another_process(directory) == 0


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigInvalid, match="file/x cannot be made"):
        usable_directory(tmp_path / "file" / "x")
    with pytest.raises(ConfigInvalid):
        DirectoryLock(tmp_path / "file")
