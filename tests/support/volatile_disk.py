"""An nbdkit plugin: a disk whose writes lie in a volatile cache until they are flushed.

As soon as the file `cut` exists, a power cut happens: of the sectors that were not flushed a random
half reaches the disk, in no order, and from then on every request fails. The number in the file is
the seed. As long as the file `fail` exists, a write that contains what stands in it fails with EIO.
nbdkit runs this with its own Python; nothing here imports anything of ours.
"""

import errno
import os
import random
from pathlib import Path

import nbdkit  # type: ignore[import-not-found] # of nbdkit, for its own Python

API_VERSION = 2
SECTOR = 512

_settings: dict[str, str] = {}
_cache: dict[int, bytes] = {}
_state = {"disk": -1, "is_cut": False}


def config(key: str, value: str) -> None:
    _settings[key] = value


def thread_model() -> int:
    return int(nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS)


def open(_readonly: bool) -> int:  # noqa: A001 — nbdkit's name
    if _state["disk"] < 0:
        _state["disk"] = os.open(_settings["disk"], os.O_RDWR)
    return 1


def get_size(_handle: int) -> int:
    return os.fstat(_state["disk"]).st_size


def can_flush(_handle: int) -> bool:
    return True


def can_fua(_handle: int) -> int:
    return int(nbdkit.FUA_NATIVE)


def block_size(_handle: int) -> tuple[int, int, int]:
    return SECTOR, 4096, 32 * 1024 * 1024


def _check_power() -> None:
    cut = Path(_settings["cut"])
    if not _state["is_cut"] and cut.exists():
        _state["is_cut"] = True
        chance = random.Random(int(cut.read_text()))
        for sector in [sector for sector in sorted(_cache) if chance.random() < 0.5]:
            os.pwrite(_state["disk"], _cache[sector], sector * SECTOR)
        _cache.clear()
        cut.with_name("cut.done").touch()
    if _state["is_cut"]:
        nbdkit.set_error(errno.EIO)
        raise OSError(errno.EIO, "the power is cut")


def pread(_handle: int, buffer: bytearray, offset: int, _flags: int) -> None:
    _check_power()
    data = bytearray(os.pread(_state["disk"], len(buffer), offset))
    for at in range(0, len(data), SECTOR):
        cached = _cache.get((offset + at) // SECTOR)
        if cached is not None:
            data[at : at + SECTOR] = cached
    buffer[:] = data


def pwrite(handle: int, buffer: bytes, offset: int, flags: int) -> None:
    _check_power()
    data = bytes(buffer)
    fail = Path(_settings["cut"]).with_name("fail")
    if fail.exists() and fail.read_bytes() in data:
        fail.with_name("fail.done").touch()
        nbdkit.set_error(errno.EIO)
        raise OSError(errno.EIO, "the sector is broken")
    for at in range(0, len(data), SECTOR):
        _cache[(offset + at) // SECTOR] = data[at : at + SECTOR]
    if flags & nbdkit.FLAG_FUA:
        flush(handle, 0)


def flush(_handle: int, _flags: int) -> None:
    _check_power()
    for sector, data in _cache.items():
        os.pwrite(_state["disk"], data, sector * SECTOR)
    _cache.clear()
