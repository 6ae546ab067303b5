"""`pyromq store check` on sound stores of our engine and of Apache's broker, and what the command
refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyromq.app.main import main
from pyromq.store.native import open_store
from tests.support.engines import put
from tests.support.processes import child_environment
from tests.support.store_command import (
    APACHE_SIZES,
    COUNT,
    SIZES,
    VECTORS,
    command,
    findings,
    flip,
    log_file,
    make_store,
    options,
    own,
    tree,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store")


def test_check_is_silent_on_a_store_of_ours_and_changes_nothing(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = tree(root)
    code, said, err = command(capfd, "check", root)
    assert (code, findings(said), err) == (0, [], "")
    assert said["message_count"] == COUNT
    assert tree(root) == before


@pytest.mark.parametrize("kind", ["stopped", "killed"])
def test_check_is_silent_on_apaches_stores_and_changes_nothing(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "store"
    shutil.copytree(VECTORS / kind / "files", root)
    before = tree(root)
    code, said, err = command(capfd, "check", root, sizes=APACHE_SIZES)
    assert (code, err) == (0, "")
    notes = ["unclean-stop"] if kind == "killed" else []
    assert [one["kind"] for one in findings(said)] == notes
    assert said["message_count"] == 710
    assert tree(root) == before


def test_check_and_dry_run_change_nothing_of_a_damaged_store(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flip(log_file(root, 0), 500)
    flip(root / "consumequeue" / "plain" / "0" / f"{0:020}", 4)
    flip(next((root / "index").iterdir()), 50)
    before = tree(root)
    code, _, _ = command(capfd, "check", root)
    assert code == 1
    code, said, _ = command(capfd, "repair", root, "--dry-run")
    assert code == 1
    assert said["plan"] == ["make anew from the log: consume queue plain/0, the index"]
    assert tree(root) == before


def test_a_store_in_use_is_left_alone(root: Path) -> None:
    engine = open_store(own(root))
    try:
        for verb in (["check"], ["repair", "--yes"], ["repair", "--dry-run"], ["export"]):
            done = subprocess.run(
                [sys.executable, "-m", "pyromq", "store", verb[0], str(root), *verb[1:]],
                env=child_environment(),
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            assert (done.returncode, done.stdout) == (3, "")
            assert "in use" in done.stderr
    finally:
        engine.close()


@pytest.mark.parametrize(
    "words",
    [
        ["store", "check", "nowhere"],
        ["store", "mend", "."],
        ["store"],
        ["store", "export", "{root}", "--from", "yesterday"],
        ["store", "export", "{root}", "--output", "{root}/lock"],
        ["store", "check", "{root}", "--set", "maxIndexNum=x"],
    ],
)
def test_bad_arguments_end_with_2(
    words: list[str], root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(root=root) for word in words]) == 2
    assert capfd.readouterr().err.startswith("pyromq: ")


def test_what_a_killed_broker_left_is_no_finding(root: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    engine = open_store(own(root))
    for number in range(30):
        put(engine, "plain", 0, b"late", now_ms=9000 + number, KEYS=f"late{number}")
    engine.write()
    shutil.copytree(root, killed)
    engine.close()
    done = subprocess.run(
        [sys.executable, "-m", "pyromq", "store", "check", str(killed), *options(SIZES)],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "unclean-stop" in done.stdout
    assert f"{COUNT + 30} messages" in done.stdout
