"""The engine built with failpoints: beside the everyday build, never in its place."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
TARGET: Final = ROOT / "native" / "target" / "failpoints"

FAILPOINT_TRACES: Final = (b"RMQLOG_FAILPOINTS", b"failpoint_steps", b"start.holes.rename")
"""What is in every module with failpoints: a variable, a function, a step."""


@cache
def native_module() -> Path:
    """The module with failpoints, built if any source is newer than it. Takes about a minute the
    first time, none later."""
    command = ["cargo", "build", "--quiet", "--locked", "--package", "pyromq-native"]
    command += ["--features", "failpoints,pyo3/extension-module", "--target-dir", str(TARGET)]
    environment = {**os.environ, "PYO3_PYTHON": sys.executable}
    subprocess.run(command, cwd=ROOT / "native", env=environment, check=True)
    return TARGET / "debug" / "lib_native.so"


@cache
def engine_steps() -> frozenset[str]:
    """The steps of the engine that have failpoints, as the built module lists them."""
    code = (
        "import json, sys; from pathlib import Path;"
        "from tests.support.failpoint_main import load_native;"
        "load_native(Path(sys.argv[1]));"
        "from pyromq import _native; print(json.dumps(_native.failpoint_steps()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(native_module())],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    steps: list[str] = json.loads(done.stdout)
    assert len(steps) == len(set(steps))
    return frozenset(steps)


def installed_module() -> Path:
    """The everyday build: what `python -m pyromq` loads here."""
    spec = importlib.util.find_spec("pyromq._native")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


__all__ = ["FAILPOINT_TRACES", "engine_steps", "installed_module", "native_module"]
