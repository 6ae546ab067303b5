"""The wheel holds everything, and serves in an empty environment without Rust."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.failpoint_build import FAILPOINT_TRACES

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.packaging


def uv() -> str:
    found = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    assert Path(found).exists(), "uv is missing: run `make test`, which installs it"
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by plain `uv build`: source archive first, then the wheel from nothing but that."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([uv(), "build", "--quiet", "--out-dir", str(out)], cwd=ROOT, check=True)
    (built,) = out.glob("*.whl")
    assert list(out.glob("*.tar.gz"))
    return built


def test_the_wheel_serves_every_python_from_3_11_on(wheel: Path) -> None:
    assert "-cp311-abi3-" in wheel.name


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    package = ROOT / "src" / "pyromq"
    wanted = {
        str(path.relative_to(ROOT / "src"))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wanted <= names
    assert "pyromq/_native.abi3.so" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("entry_points.txt") for name in names)


def test_no_failpoint_is_in_the_wheel(wheel: Path) -> None:
    """Neither the engine's, which a feature would build in, nor the metadata's, which are tests."""
    files = zipfile.ZipFile(wheel)
    engine = files.read("pyromq/_native.abi3.so")
    assert b"sync-failed" in engine  # names that the engine does use are found
    for name in files.namelist():
        content = files.read(name)
        for trace in FAILPOINT_TRACES:
            assert trace not in content, name


def test_the_installed_command_serves_without_rust_and_stops_cleanly(
    wheel: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "env"
    subprocess.run(
        [uv(), "venv", "--quiet", "--python", sys.executable, str(environment)], check=True
    )
    python = environment / "bin" / "python"
    subprocess.run(
        [uv(), "pip", "install", "--quiet", "--python", str(python), str(wheel)], check=True
    )
    bare = {"PATH": f"{environment}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    if certificates := os.environ.get("SSL_CERT_FILE"):
        bare["SSL_CERT_FILE"] = certificates
    with subprocess.Popen(
        [str(environment / "bin" / "pyromq"), "standalone", "--ephemeral"],
        cwd=tmp_path,
        env=bare,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            ready = server.stdout.readline()
            assert ready.startswith("READY namesrv=127.0.0.1:"), ready
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=10) == 0


def test_users_get_the_pytest_fixtures_and_the_report_page_by_installing_it(
    wheel: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "env"
    subprocess.run(
        [uv(), "venv", "--quiet", "--python", sys.executable, str(environment)], check=True
    )
    python = str(environment / "bin" / "python")
    pytest_wanted = f"pytest=={pytest.__version__}"
    subprocess.run(
        [uv(), "pip", "install", "--quiet", "--python", python, str(wheel), pytest_wanted],
        check=True,
    )
    (tmp_path / "test_users.py").write_text(
        "import subprocess, sys\n"
        "def test_it(pyromq_broker, pyromq_topic, tmp_path):\n"
        "    page = tmp_path / 'out.html'\n"
        "    subprocess.run([sys.executable, '-m', 'pyromq', 'bench', 'producer', '-q', '5',\n"
        "                    '-n', pyromq_broker.namesrv_addr, '-t', pyromq_topic,\n"
        "                    '--report', str(page)], check=True)\n"
        "    assert 'uPlot=function' in page.read_text()\n"
        "    import pyromq.broker\n"
        "    assert type(pyromq.broker.__loader__).__name__ == 'SourceFileLoader'\n"
    )
    ran = subprocess.run(
        [python, "-W", "error", "-m", "pytest", "-q", "test_users.py"],
        cwd=tmp_path,
        env={"PATH": f"{environment}/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout
