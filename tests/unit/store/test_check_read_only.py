"""`pyromq store check` and `export` where nothing may be written: a read-only mount, or a folder of
another user."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyromq.app.main import main
from tests.support.store_command import (
    COUNT,
    command,
    findings,
    flip,
    log_file,
    make_store,
    places,
    tree,
)


@contextlib.contextmanager
def read_only(root: Path, view: Path) -> Iterator[Path]:
    """`root` seen where nothing can be written: by a mount where we are root, whom no mode stops,
    else by taking away our own right to write."""
    if os.geteuid() != 0:
        modes = {path: path.stat().st_mode for path in [root, *root.rglob("*")]}
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        try:
            yield root
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    view.mkdir()
    commands = (["--bind", str(root), str(view)], ["-o", "remount,bind,ro", str(view)])
    try:
        for words in commands:
            subprocess.run(["mount", *words], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        reason = f"NO READ-ONLY MOUNT HERE: {error.stderr!r}"
        subprocess.run(["umount", str(view)], check=False, capture_output=True)
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield view
    finally:
        subprocess.run(["umount", str(view)], check=True, capture_output=True)


def test_a_store_that_nobody_may_write_is_checked_and_exported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = make_store(tmp_path / "store")
    before = tree(root)
    with read_only(root, tmp_path / "view") as view:
        with pytest.raises(OSError, match=r"Read-only|Permission"):
            (view / "commitlog" / "probe").touch()
        code, said, err = command(capfd, "check", view)
        assert (code, findings(said), err) == (0, [], "")
        assert said["message_count"] == COUNT
        code, said, err = command(capfd, "export", view)
        assert code == 0
        assert f'"messages":{COUNT}' in err
    assert tree(root) == before


def test_damage_is_named_there_and_repair_says_what_it_would_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = make_store(tmp_path / "store")
    flip(log_file(root, 0), 500)
    flip(root / "consumequeue" / "plain" / "0" / f"{0:020}", 4)
    with read_only(root, tmp_path / "view") as view:
        code, said, _ = command(capfd, "check", view)
        assert code == 1
        assert {"bad-record", "queue-wrong"} <= {str(kind) for kind, _, _ in places(said, view)}
        code, said, _ = command(capfd, "repair", view, "--dry-run")
        assert (code, said["plan"]) == (1, ["make anew from the log: consume queue plain/0"])
        assert main(["store", "repair", str(view), "--yes"]) != 0
        assert "cannot be written to" in capfd.readouterr().err
