"""The package itself: everything it promises is there, and importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pyromq.client


def test_every_public_name_is_there() -> None:
    for name in pyromq.client.__all__:
        assert getattr(pyromq.client, name) is not None
    assert set(pyromq.client.__all__) <= set(dir(pyromq.client))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = pyromq.client.Nothing


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, pyromq.client;"
        "print([m for m in ('asyncio', 'msgspec', 'pyromq._native', 'redis') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "[]"
