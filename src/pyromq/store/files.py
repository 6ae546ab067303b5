"""File operations of the metadata store, in one object so that a test can make any of them fail.

A file that replaces another is written beside it, synced, renamed over it, and the folder synced:
whoever looks finds the old content or the new, never a part.
"""

from __future__ import annotations

import os
from pathlib import Path


class Files:
    """The real file system. Every method may raise OSError."""

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def exists(self, path: Path) -> bool:
        return path.exists()

    def identity(self, path: Path) -> tuple[int, int, int] | None:
        """Differs once another program has put something in the file's place or into it; None if
        there is no file."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def names(self, directory: Path) -> list[str]:
        """Names of the folder's files; none if there is no such folder."""
        return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []

    def make_directory(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)

    def open(self, path: Path) -> int:
        """Opens for appending; creates the file if it is missing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Writes what the system takes at once, which may be less; returns how much."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def drop_cache(self, path: Path) -> None:
        """Has later reads of a synced file come from the device."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_directory(self, directory: Path) -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def boot_id(self) -> str:
        """Names this run of the operating system; empty where it has no name."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""


def write_all(files: Files, fd: int, data: bytes) -> None:
    """Writes to the last byte. A short write is followed by the rest, which tells the error."""
    rest = memoryview(data)
    while rest:
        rest = rest[files.write(fd, rest) :]


def replace_file(files: Files, path: Path, data: bytes) -> None:
    """Puts `data` in place of what `path` holds now, so that a crash leaves one or the other."""
    temporary = path.with_name(path.name + ".tmp")
    files.remove(temporary)
    fd = files.open(temporary)
    try:
        write_all(files, fd, data)
        files.sync(fd)
    finally:
        files.close(fd)
    files.rename(temporary, path)
    files.sync_directory(path.parent)


__all__ = ["Files", "replace_file", "write_all"]
