"""What the kernel tells of the machine and of a process: kind, memory, cores, file system.

Nothing here names the machine or a path on it: result pages are published.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import re
import resource
import time
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


def machine_class() -> str:
    """For the name of a page: cores and make, such as 2-core-amd-epyc."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    words = re.findall(r"[a-z]+", (model[1] if model else platform.machine()).lower())
    kind = "-".join(word for word in words if word not in ("r", "tm", "cpu", "processor"))[:24]
    return f"{len(os.sched_getaffinity(0))}-core-{kind.strip('-') or 'unknown'}"


def touch_memory(gib: int) -> float:
    """Uses so much memory once, as far as half of it is free, and gives it back; seconds it took.

    A virtual machine gets its memory from the host at the first touch. Whoever writes first would
    pay for it, several times what writing to memory costs later.
    """
    available = re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())
    assert available is not None
    size = min(gib << 30, int(available[1]) << 9)
    began = time.monotonic()
    if size:
        with mmap.mmap(-1, size) as memory:
            with contextlib.suppress(OSError):  # not every kernel has them
                memory.madvise(mmap.MADV_HUGEPAGE)
            for at in range(0, size, mmap.PAGESIZE):
                memory[at] = 1
    return time.monotonic() - began


def forget_files(directory: Path) -> None:
    """Writes a directory's files to disk and takes them out of the page cache.

    Pages that a process has mapped stay: the servers have to be stopped before.
    """
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def many_maps_and_files(count: int) -> Iterator[str]:
    """Lets children map and open so many files, and puts everything back. Gives what was refused.

    Apache maps every queue's files and keeps them open.
    """
    sysctl = Path("/proc/sys/vm/max_map_count")
    maps = sysctl.read_text()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused = []
    try:
        if int(maps) < count:
            try:
                sysctl.write_text(str(count))
            except OSError:
                refused.append(f"vm.max_map_count stays {int(maps):,}")
        if files[1] != resource.RLIM_INFINITY and files[1] < count:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
            except (OSError, ValueError):
                refused.append(f"open files stay {files[1]:,}")
        yield ", ".join(refused)
    finally:
        if sysctl.read_text() != maps:
            sysctl.write_text(maps)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads, by its own CPU clock."""
    # The kernel's number of another process's clock; time has no function for it.
    return time.clock_gettime((~pid << 3) | 2)


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
    def peak_kb(pid: int) -> int:
        """The most that was ever resident, mapped files included."""
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) if found else 0

    @staticmethod
    def of(pid: int) -> Memory:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        sizes = {name: int(kb) for name, kb in re.findall(r"(\w+): +(\d+) kB", text)}
        private = sizes["Private_Clean"] + sizes["Private_Dirty"]
        return Memory(private, sizes["Anonymous"], sizes["Pss"])
