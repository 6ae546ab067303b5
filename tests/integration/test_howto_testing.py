"""docs/howto/testing-your-application.md: its programs, copied from the page and run as it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.foreign import go_program
from tests.support.processes import child_environment

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "howto" / "testing-your-application.md").read_text()
BIN = Path(sys.executable).parent
# Three short-lived JVMs on few cores: they end before a better compiler pays back.
QUICK_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def files(language: str) -> dict[str, str]:
    """The page's code blocks that follow a line with nothing but a file's name."""
    found = dict(
        re.findall(rf"^`([\w./]+)`\n\n```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    )
    assert found, f"the page has no file with {language}"
    return found


def command(beginning: str) -> str:
    """The one command of the page's shell blocks that begins so."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (line,) = [
        line for block in blocks for line in block.splitlines() if line.startswith(beginning)
    ]
    return str(line)


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run(line: str, folder: Path, timeout_seconds: float = 200, **environment: str) -> str:
    """What a command prints; `pyromq`, `python` and `pytest` are this environment's."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=child_environment(PATH=path, TMPDIR=str(temporary), **environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert [path.name for path in temporary.glob("pyromq-*")] == []
    return ran.stdout


def test_pytest(tmp_path: Path) -> None:
    python, ini = files("python"), files("ini")
    write(tmp_path, {"test_orders.py": python["test_orders.py"], **ini})
    assert "1 passed" in run(command("pytest"), tmp_path)


def test_unittest(tmp_path: Path) -> None:
    write(tmp_path, {"test_with_unittest.py": files("python")["test_with_unittest.py"]})
    printed = run(command("python -m unittest"), tmp_path, PYTHONWARNINGS="error")
    assert "Ran 2 tests" in printed
    assert "OK" in printed


@pytest.mark.foreign
def test_junit(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    if shutil.which("mvn") is None:
        pytest.fail("Maven is missing (Debian: apt-get install maven)")
    write(tmp_path, files("xml") | files("java"))
    run(command("mvn"), tmp_path, JAVA_TOOL_OPTIONS=QUICK_JVM)
    (report,) = (tmp_path / "target" / "surefire-reports").glob("*.txt")
    assert "Tests run: 1, Failures: 0, Errors: 0, Skipped: 0" in report.read_text()
    record_property("peer", "rocketmq-client 5.5.0 (Java)")


@pytest.mark.foreign
def test_go(
    go_client: None, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """With -trimpath as the tests' own program is built, whose packages are then used again."""
    assert go_program().exists()
    write(tmp_path, files("go"))
    for line in ("go mod init", "go get"):
        run(command(line), tmp_path)
    printed = run(command("go test"), tmp_path, GOFLAGS="-trimpath")
    assert re.search(r"^ok\s+orders", printed, re.MULTILINE), printed
    record_property("peer", "rocketmq-client-go 2.1.2")
