"""A small file system of its own, mounted where root allows: a tmpfs, or ext4 on a loop device."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20
TMPFS, EXT4 = "tmpfs", "ext4"


class CannotMount(Exception):
    """This process may not, or the machine cannot."""


class SmallDisk:
    """A mounted file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size_mib: int) -> None:
        """Of a tmpfs only."""
        _run("mount", "-o", f"remount,size={size_mib}m", self.path)

    def free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, name: str) -> Path:
        """Takes every byte there is with a file of that name."""
        path = self.path / name
        with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        assert self.free_bytes() < 1 << 16
        return path

    def take(self, name: str, size_bytes: int) -> Path:
        """A file of that size, every byte of it really there."""
        path = self.path / name
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        return path


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


@contextlib.contextmanager
def mounted(path: Path, size_mib: int, kind: str = TMPFS) -> Iterator[SmallDisk]:
    """Mounts one at `path`, which must not exist yet; raises CannotMount."""
    path.mkdir()
    try:
        if kind == TMPFS:
            _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", path)
        else:
            image = path.with_suffix(".img")
            with image.open("wb") as file:
                file.truncate(size_mib * MIB)
            _run("mkfs.ext4", "-q", "-m", "0", image)
            _run("mount", "-o", "loop", image, path)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise CannotMount(f"cannot mount {kind} here: {reason!s}") from error
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "-l", path)


@contextlib.contextmanager
def small_disk(path: Path, size_mib: int, kind: str = TMPFS) -> Iterator[SmallDisk]:
    """The same for a test: where that is not allowed it is skipped, in CI it fails."""
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(mounted(path, size_mib, kind))
        except CannotMount as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield disk


__all__ = ["EXT4", "MIB", "TMPFS", "CannotMount", "SmallDisk", "mounted", "small_disk"]
