"""What the kernel tells of the machine and of a process: kind, memory, cores, file system.

Nothing here names the machine or a path on it: result pages are published.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def machine() -> str:
    """The kind of machine, without its name."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    kernel = re.match(r"[\d.]*\d", platform.release())
    gib = round(int(memory[1]) / 1024**2) if memory else 0
    kind = model[1] if model else platform.machine()
    where = "virtual, " if "hypervisor" in info else ""
    system = f"{platform.system()} {kernel[0] if kernel else ''}"
    return f"{len(os.sched_getaffinity(0))} cores of {kind} ({where}{gib} GiB), {system}"


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that holds `path`, by the text of /proc/mounts."""
    found = "unknown file system"
    longest = -1
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split()
        # of two mounts on the same place the later one is seen
        if path.is_relative_to(place) and len(place) >= longest:
            found, longest = kind, len(place)
    return found


@contextlib.contextmanager
def on_core(pid: int, core: int) -> Iterator[None]:
    """Keeps all threads of a process on one core for a while."""
    everywhere = os.sched_getaffinity(0)
    _set_affinity(pid, {core})
    try:
        yield
    finally:
        _set_affinity(pid, everywhere)


def _set_affinity(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # a thread may end meanwhile
            os.sched_setaffinity(int(thread.name), cores)


@dataclass(frozen=True)
class Memory:
    """Kilobytes of one process (smaps_rollup)."""

    private_kb: int
    anonymous_kb: int
    pss_kb: int

    @staticmethod
    def of(pid: int) -> Memory:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        sizes = {name: int(kb) for name, kb in re.findall(r"(\w+): +(\d+) kB", text)}
        private = sizes["Private_Clean"] + sizes["Private_Dirty"]
        return Memory(private, sizes["Anonymous"], sizes["Pss"])
