"""System calls of a running server that fail or take long, by `strace -e inject`.

The tracer attaches to a server that serves, so that the n-th call is counted from then on, in each
thread. It ends with the server. Its log tells what really happened to which file.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TRACED = ("msync", "fdatasync", "fsync", "pwrite64", "pwritev", "fallocate", "rename", "ftruncate")
DETACH_SECONDS = 20.0

_BEGUN = re.compile(r"^(\d+) +(\w+)\((.*)$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_PATH = re.compile(r"\d+<([^>]*)>|\"([^\"]*)\"")


def why_impossible() -> str | None:
    """Why nothing can be traced here; None where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=9", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    return None if probe.returncode == 0 else f"strace may not trace: {probe.stderr.strip()}"


@dataclass(frozen=True)
class Call:
    """One system call as the tracer saw it."""

    thread: int
    name: str
    path: str
    text: str
    """What followed the opening bracket, result included."""

    @property
    def is_injected(self) -> bool:
        return "(INJECTED)" in self.text


class Strace:
    """A tracer attached to a process and all its threads, until that process ends."""

    def __init__(self, pid: int, *injections: str, paths: Sequence[Path] = ()) -> None:
        """`injections` as strace takes them: `fdatasync:error=EIO:when=3`. With `paths` only calls
        on these files are seen, counted and failed; they need not exist yet."""
        self._directory = tempfile.TemporaryDirectory(prefix="pyromq-strace-")
        self._log = Path(self._directory.name) / "log"
        words = ["-e", "trace=" + ",".join(TRACED)]
        words += [word for text in injections for word in ("-e", f"inject={text}")]
        words += [word for path in paths for word in ("-P", str(path))]
        self._process = subprocess.Popen(
            ["strace", "-f", "-y", "-p", str(pid), "-o", str(self._log), *words],
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert " attached" in line, f"strace: {line}{self._process.stderr.read()}"
        return self

    def __exit__(self, *_: object) -> None:
        """The traced process has ended, or is left alone from now on."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.communicate(timeout=DETACH_SECONDS)
        self._directory.cleanup()

    def calls(self) -> list[Call]:
        """All calls that have ended, in the order of their ends; call it before the tracer goes."""
        return calls_of(self._log.read_text(errors="replace").splitlines())


def calls_of(lines: Sequence[str]) -> list[Call]:
    """Puts calls together that other threads interrupted in the log."""
    begun: dict[tuple[str, str], str] = {}
    calls = []
    for line in lines:
        if match := _BEGUN.match(line):
            thread, name, text = match.groups()
            if text.endswith("<unfinished ...>"):
                begun[thread, name] = text.removesuffix("<unfinished ...>")
                continue
        elif match := _RESUMED.match(line):
            thread, name, text = match.groups()
            text = begun.pop((thread, name), "") + text
        else:
            continue
        path = _PATH.search(text)
        calls.append(Call(int(thread), name, (path[1] or path[2]) if path else "", text))
    return calls


__all__ = ["TRACED", "Call", "Strace", "calls_of", "why_impossible"]
