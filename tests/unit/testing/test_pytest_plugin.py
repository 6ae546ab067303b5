"""The pytest plugin as users meet it: in a pytest of their own, with and without pytest-asyncio."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from tests.support.processes import child_environment

HEAD = """
import socket, sys, threading
import pytest

def is_served(address):
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 5):
        return True
"""


def run_pytest(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest over one test file with nothing of ours around it; warnings are errors."""
    (folder / "test_users.py").write_text(HEAD + program)
    asyncio = "" if "no:asyncio" in arguments else "asyncio_default_fixture_loop_scope = function"
    (folder / "pytest.ini").write_text(f"[pytest]\n{asyncio}\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=child_environment(TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def passed(run: subprocess.CompletedProcess[str], count: int) -> bool:
    assert run.returncode == 0, run.stdout + run.stderr
    return f"{count} passed" in run.stdout


def test_pytest_finds_the_plugin_by_itself() -> None:
    (point,) = (point for point in entry_points(group="pytest11") if point.name == "pyromq")
    assert point.value == "pyromq.testing.pytest_plugin"


def test_the_broker_is_one_per_session_and_the_topic_one_per_test(tmp_path: Path) -> None:
    program = """
seen = []

@pytest.mark.parametrize("word", ["a b/c", "ä" * 300])
def test_one(pyromq_broker, pyromq_topic, word):
    assert is_served(pyromq_broker.namesrv_addr)
    assert (pyromq_broker.store_dir / "commitlog").is_dir()
    seen.append((pyromq_broker, pyromq_topic))

def test_two(pyromq_broker, pyromq_topic):
    assert all(broker is pyromq_broker for broker, _ in seen)
    topics = [topic for _, topic in seen]
    assert len({*topics, pyromq_topic}) == 3
    assert all(topic.startswith("test_one") and len(topic) < 127 for topic in topics)
"""
    assert passed(run_pytest(tmp_path, program), 3)
    assert [path.name for path in tmp_path.glob("pyromq-*")] == []


def test_asyncio_tests_share_it_whatever_their_loops(tmp_path: Path) -> None:
    program = """
import asyncio
from pyromq.client import RemotingClient

@pytest.mark.parametrize("_", range(2))
async def test_async(pyromq_broker, pyromq_topic, _):
    client = RemotingClient()
    answer = await client.invoke(pyromq_broker.namesrv_addr, 105, {"topic": pyromq_topic})
    await client.close()
    assert answer.code == 0

def test_blocking(pyromq_broker):
    assert is_served(pyromq_broker.address)
"""
    assert passed(run_pytest(tmp_path, program, "-o", "asyncio_mode=auto"), 3)


def test_a_failing_test_leaves_nothing_behind(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, "def test_it(pyromq_topic): raise ValueError")
    assert run.returncode == 1
    assert "1 failed" in run.stdout
    assert "error" not in run.stdout.splitlines()[-1]
    assert [path.name for path in tmp_path.glob("pyromq-*")] == []


def test_who_does_not_use_it_does_not_pay_for_it(tmp_path: Path) -> None:
    program = """
def test_it():
    loaded = [name for name in sys.modules if name.startswith("pyromq")]
    assert sorted(loaded) == [
        "pyromq", "pyromq.testing", "pyromq.testing.embedded", "pyromq.testing.pytest_plugin",
        "pyromq.testing.threaded",
    ]
    assert threading.active_count() == 1
    import pyromq.client
    import pyromq.errors
    assert type(pyromq.errors.__loader__).__name__ == "SourceFileLoader"  # not pytest's
"""
    assert passed(run_pytest(tmp_path, program, "-p", "no:asyncio", "-p", "no:timeout"), 1)
