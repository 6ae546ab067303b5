"""The tutorial's own words, copied and run: a reader who follows them gets what they promise."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.pyromq_server import PyromqServer

ROOT = Path(__file__).parent.parent.parent
TUTORIAL = (ROOT / "docs" / "tutorial" / "first-message.md").read_text()

pytestmark = pytest.mark.foreign


def file_block(name: str) -> str:
    """The code block that follows a line with nothing but the file's name."""
    found = re.search(
        rf"^`{re.escape(name)}`\n\n```\w+\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE
    )
    assert found, f"the tutorial has no block for {name}"
    return found.group(1)


def test_the_tutorials_java_program_sends_and_receives_its_message(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if shutil.which("mvn") is None:
        pytest.skip("MAVEN IS MISSING: the tutorial was not run")
    (tmp_path / "src/main/java").mkdir(parents=True)
    (tmp_path / "pom.xml").write_text(file_block("pom.xml"))
    (tmp_path / "src/main/java/First.java").write_text(file_block("src/main/java/First.java"))
    build, launch = re.findall(r"^(?:mvn|java) .*$", TUTORIAL, re.MULTILINE)
    subprocess.run(["sh", "-c", build], cwd=tmp_path, check=True, timeout=240)
    with PyromqServer("standalone", "--ephemeral") as server:
        ran = subprocess.run(
            ["sh", "-c", f"{launch} {server.namesrv}"],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    record_property("peer", "rocketmq-client 5.5.0 (Java)")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "sendStatus=SEND_OK" in ran.stdout
    assert "received hello order-1" in ran.stdout
