"""ext4 on a loop device on `volatile_disk`: mounted, cut, mounted again. Needs root."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

from tests.support.processes import retries

PLUGIN = Path(__file__).with_name("volatile_disk.py")
SIZE_BYTES = 256 * 1024 * 1024


def _run(*command: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


class VolatileDisk:
    """A disk image in a folder; while entered it is mounted at `root`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "mounted"
        self._image = folder / "disk.img"
        self._device = folder / "device"
        self._cut = folder / "cut"
        self._loop = ""
        self.root.mkdir()
        with self._image.open("wb") as image:
            image.truncate(SIZE_BYTES)
        _run("mkfs.ext4", "-q", self._image)

    def __enter__(self) -> Self:
        self._cut.unlink(missing_ok=True)
        for name in ("cut.done", "fail", "fail.done"):
            self._cut.with_name(name).unlink(missing_ok=True)
        self._device.touch()
        plugin = ["nbdkit", "-s", "--exit-with-parent", "python", str(PLUGIN)]
        settings = [f"disk={self._image}", f"cut={self._cut}"]
        command = ["nbdfuse", str(self._device), "--command", *plugin, *settings]
        self._server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _ in retries(20):
            if self._device.stat().st_size == SIZE_BYTES:
                break
        self._loop = _run("losetup", "-f", "--show", "--direct-io=on", self._device)
        _run("mount", self._loop, self.root)
        return self

    def cut_power(self, seed: int) -> None:
        """From when this returns every request to the device fails."""
        temporary = self._cut.with_name("cut.tmp")
        temporary.write_text(str(seed))
        temporary.rename(self._cut)
        # Something has to ask the device before it can notice.
        for _ in retries(20):
            subprocess.run(["sync", "-f", str(self.root)], capture_output=True, check=False)
            if self._cut.with_name("cut.done").exists():
                return
        raise AssertionError("the device never noticed that its power was cut")

    def fail_writes_of(self, pattern: bytes) -> None:
        """From when this returns writes to the device that contain these bytes fail with EIO."""
        temporary = self._cut.with_name("fail.tmp")
        temporary.write_bytes(pattern)
        temporary.rename(self._cut.with_name("fail"))

    def heal(self) -> bool:
        """Ends that; whether a write had failed."""
        self._cut.with_name("fail").unlink()
        done = self._cut.with_name("fail.done")
        has_failed = done.exists()
        done.unlink(missing_ok=True)
        return has_failed

    def __exit__(self, *error: object) -> None:
        _run("umount", self.root)
        _run("losetup", "-d", self._loop)
        for _ in retries(20):  # the loop device lets go of it a moment later
            done = subprocess.run(
                ["fusermount3", "-u", str(self._device)], capture_output=True, check=False
            )
            if done.returncode == 0:
                break
        self._server.wait(20)

    def check(self) -> None:
        """The file system, its journal replayed, has no errors."""
        subprocess.run(["e2fsck", "-p", str(self._image)], capture_output=True, check=False)
        _run("e2fsck", "-fn", self._image)


__all__ = ["VolatileDisk"]
