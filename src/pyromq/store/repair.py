"""`pyromq store repair`: makes anew what can be derived, and moves aside what is damaged.

No record of the log is touched; only the bytes of an interrupted last write are cleared. Nothing
is deleted: what is replaced goes to `pyromq/damaged-TIME/` under its old path. Each step leaves a
store that is no worse than before if the process ends right after it. The caller holds the lock.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from pyromq.store import journal_format as form
from pyromq.store import metadata_check
from pyromq.store.check import CHECKPOINT_SIZE, STEP_SIZE, Looked, Progress
from pyromq.store.engine import StoreSettings
from pyromq.store.files import Files, replace_file
from pyromq.store.findings import Finding, Severity
from pyromq.store.journal import begin_generation
from pyromq.store.metadata import FOLDER
from pyromq.store.native import (
    StoreRebuild,
    clear_log_tail,
    note_newest_index,
    remake_record_crcs,
)
from pyromq.store.projection import BROKER_FILES, NAMESRV_FILES

CONFIRM_OURS: Final = -1
"""What our checkpoints have as confirmPhyOffset, see checkpoint.rs."""
MOVED_KINDS: Final = ("stray-file", "config-unreadable", "marker", "queue-notes", "crc-stray")
CRC_KINDS: Final = ("crc-damaged", "crc-digest", "crc-missing")
COPY_SIZE: Final = 1 << 20


class Step(NamedTuple):
    """Something repair would do."""

    text: str
    act: Callable[[], None]


class Repair:
    """The steps that a check's findings call for. `stamp` names the folder for what is replaced."""

    def __init__(
        self, settings: StoreSettings, looked: Looked, stamp: str, progress: Progress
    ) -> None:
        self._settings = settings
        self._root = Path(settings.root)
        self._report = looked.report
        self._progress = progress
        self.stamp = stamp
        self._files = Files()
        self.damaged = self._root / FOLDER / f"damaged-{stamp}"
        self._fresh = self._root / FOLDER / f"rebuilt-{stamp}"
        self.steps: list[Step] = []
        self._plan()

    def run(self, said: Callable[[str], None]) -> None:
        """Takes all steps. Raises StoreFailed or OSError at the first that fails."""
        for step in self.steps:
            said(step.text)
            step.act()

    # --- what to do -----------------------------------------------------------------------------

    def _plan(self) -> None:
        findings = [f for f in self._report.findings if f.severity is Severity.DERIVED]
        size = self._report.segment_size_bytes
        for finding in findings:
            path = Path(finding.file)
            if finding.kind in MOVED_KINDS:
                self._add(f"move {path} aside", partial(self._set_aside, path))
            elif finding.kind == "segment-missing":
                self._plan_missing(path, finding.size_bytes, size)
            elif finding.kind == "segment-size":
                text = f"bring {path} to {size} bytes"
                self._add(text, partial(self._fit_segment, path, size))
            elif finding.kind == "torn-tail":
                at = self._report.torn_tail_at
                assert at is not None, "the finding comes with its place"
                text = f"clear the incomplete record at byte {finding.byte} of {path}"
                self._add(text, partial(clear_log_tail, self._root, size, at))
            elif finding.kind == "checkpoint":
                self._add(f"replace {path}", partial(self._replace_checkpoint, path))
        self._plan_derived(findings)
        if any(f.kind in CRC_KINDS for f in self._report.findings):
            self._add("make anew: checksums of whole records", partial(self._remake_crcs, size))
        self._plan_metadata(findings)

    def _add(self, text: str, act: Callable[[], None]) -> None:
        self.steps.append(Step(text, act))

    def _plan_missing(self, path: Path, missing: int, size: int) -> None:
        for base in range(int(path.name), int(path.name) + missing, size):
            segment = path.with_name(f"{base:020}")
            self._add(
                f"put an empty segment in place of {segment}",
                partial(self._make_segment, segment, size),
            )

    def _plan_derived(self, findings: Iterable[Finding]) -> None:
        queues: set[tuple[str, int]] = set()
        with_index = False
        for finding in findings:
            if finding.topic is not None and finding.queue_id is not None:
                queues.add((finding.topic, finding.queue_id))
            with_index |= finding.kind.startswith("index-")
        wanted = [f"consume queue {topic}/{queue_id}" for topic, queue_id in sorted(queues)]
        if with_index:
            wanted.append("the index")
        if wanted:
            text = f"make anew from the log: {', '.join(wanted)}"
            self._add(text, partial(self._rebuild, sorted(queues), with_index=with_index))

    def _plan_metadata(self, findings: Iterable[Finding]) -> None:
        namesrv = self._root / metadata_check.NAMESRV_FOLDER
        damaged = [f for f in findings if f.kind == "metadata-damaged"]
        for root, projected in ((self._root, BROKER_FILES), (namesrv, NAMESRV_FILES)):
            folder = root / FOLDER
            if not any(folder == Path(f.file) or folder in Path(f.file).parents for f in damaged):
                continue
            saved = metadata_check.salvage(root, projected)
            if saved is None:
                continue
            text = f"begin a new metadata generation in {folder} from {', '.join(saved.sources)}"
            self._add(text, partial(self._begin_metadata, root, saved))

    # --- how ------------------------------------------------------------------------------------

    def _set_aside(self, path: Path) -> None:
        if not path.exists():
            return  # two findings about one file
        target = self.damaged / path.relative_to(self._root)
        target.parent.mkdir(parents=True, exist_ok=True)
        taken = 1
        while target.exists():  # a second round
            taken += 1
            target = target.with_name(f"{path.name}.{taken}")
        path.rename(target)
        self._files.sync_directory(target.parent)
        self._files.sync_directory(path.parent)

    def _make_segment(self, path: Path, size: int) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)
        self._files.sync_directory(path.parent)

    def _fit_segment(self, path: Path, size: int) -> None:
        if path.stat().st_size > size:
            rest = self.damaged / path.relative_to(self._root)
            rest = rest.with_name(f"{rest.name}.from-{size}")
            rest.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source, rest.open("wb") as target:
                source.seek(size)
                while part := source.read(COPY_SIZE):
                    target.write(part)
                target.flush()
                os.fsync(target.fileno())
            self._files.sync_directory(rest.parent)
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)

    def _replace_checkpoint(self, path: Path) -> None:
        """Ours if our marker is there: it is only believed beside such a checkpoint."""
        self._set_aside(path)
        if (self._root / FOLDER / "dispatch").exists():
            numbers = struct.pack(">6q", 0, 0, 0, 0, CONFIRM_OURS, 0)
            replace_file(self._files, path, numbers.ljust(CHECKPOINT_SIZE, b"\0"))

    def _rebuild(self, queues: list[tuple[str, int]], *, with_index: bool) -> None:
        settings = self._settings
        self._fresh.mkdir(parents=True)
        rebuild = StoreRebuild(
            root=self._root,
            segment_size=settings.segment_size,
            consume_queue_file_size=self._report.queue_file_size_bytes,
            index_slot_count=settings.index_slot_count,
            index_entry_count=settings.index_entry_count,
            delay_levels_ms=settings.delay_levels_ms,
            out=self._fresh,
            queues=queues,
            with_index=with_index,
        )
        while rebuild.step(STEP_SIZE):
            self._progress("rebuilding", *rebuild.progress())
        self._progress("rebuilding", *rebuild.progress())
        name, count = rebuild.finish()
        for topic, queue_id in queues:
            self._put_in_place(Path("consumequeue") / topic / str(queue_id))
        if with_index:
            self._put_in_place(Path("index"))
            note_newest_index(self._root, name, count)
        for directory, _, _ in os.walk(self._fresh, topdown=False):
            Path(directory).rmdir()
        self._files.sync_directory(self._root / FOLDER)

    def _remake_crcs(self, segment_size: int) -> None:
        fresh = self._root / FOLDER / f"crc-{self.stamp}"
        remake_record_crcs(self._root, segment_size, fresh)
        old = self._root / FOLDER / "crc"
        if old.exists():
            self._set_aside(old)
        fresh.rename(old)
        self._files.sync_directory(old.parent)

    def _put_in_place(self, name: Path) -> None:
        old, fresh = self._root / name, self._fresh / name
        if old.exists():
            self._set_aside(old)
        old.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(old)
        self._files.sync_directory(old.parent)
        self._files.sync_directory(old.parent.parent)

    def _begin_metadata(self, root: Path, saved: metadata_check.Salvaged) -> None:
        folder = root / FOLDER
        for name in self._files.names(folder):
            if name.startswith("metadata."):
                self._set_aside(folder / name)
        assert saved.generation < 10**10 - 1, "generations have ten digits"
        begin_generation(folder, self._files, saved.generation + 1, saved.tables, saved.sequence)
        assert form.is_header(
            (folder / f"metadata.{saved.generation + 1:010}.snapshot").read_bytes(),
            form.SNAPSHOT_MAGIC,
            saved.generation + 1,
        )


__all__ = ["Repair", "Step"]
