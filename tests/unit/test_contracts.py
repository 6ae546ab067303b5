"""A contract the import linter cannot see: only adapters reach the native module."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent.parent / "src" / "pyromq"

ADAPTERS = {
    "store/native.py",
    "transport/stream.py",
    "wire/native.py",
    "wire/remoting/native.py",
}


def imports(path: Path) -> set[str]:
    """Every dotted name a module imports, `from a import b` as `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_only_the_adapters_import_the_native_module() -> None:
    users = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if any(name.startswith("pyromq._native") for name in imports(path))
    }
    assert users
    assert users <= ADAPTERS
