"""What Linux tells about processes of this machine: who listens on a port, and its limits."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_LISTENING: Final = "0A"


def is_here(address: str) -> bool:
    """Whether the address is one of this machine's: only then can a socket be bound to it."""
    host = address.rpartition(":")[0].strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def listener(port: int, proc: Path = PROC) -> int | None:
    """The process that listens on the port; None if there is none or it is another user's."""
    inodes = _inodes(port, proc)
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in proc.glob("[0-9]*/fd"):
        try:
            if any(str(link.readlink()) in wanted for link in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:
            continue  # it ended, or is another user's
    return None


def open_files_max(pid: int, proc: Path = PROC) -> int | None:
    """How many files the process may have open at once; None if that cannot be read."""
    try:
        text = (proc / str(pid) / "limits").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Max open files"):
            soft = line.removeprefix("Max open files").split()[0]
            return int(soft) if soft.isdigit() else 2**63 - 1
    return None


def _inodes(port: int, proc: Path) -> set[str]:
    inodes = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == _LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                inodes.add(words[9])
    return inodes


__all__ = ["PROC", "is_here", "listener", "open_files_max"]
