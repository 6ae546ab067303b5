"""What a failed sync of the metadata journal leaves for the next process to do.

The kernel calls the pages of a failed sync clean and shows them all the same; a sync by the next
process would succeed without them. So a note tells that process to write the journals once again
into new files, sync those, and read them from the device before it believes them. Where that fails
it does not start, and the note stays. A power cut takes the lost pages itself and may take the
note, too: it is not synced.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from pyromq.store.files import Files, replace_file, write_all

NOTE: Final = "metadata-sync-failed"

_log = logging.getLogger(__name__)


def note_failed_sync(directory: Path, files: Files, error: BaseException) -> None:
    """Leaves the note. If even that fails, the next process has no way to know."""
    try:
        fd = files.open(directory / NOTE)
        try:
            write_all(files, fd, f"{error}\n".encode())
        finally:
            files.close(fd)
    except OSError as failure:
        _log.error("%s: cannot be written: %s", directory / NOTE, failure)


def write_again(directory: Path, files: Files) -> None:
    """Before anything is read of the journals: if there is a note, makes them durable anew and has
    later reads come from the device. Raises OSError if the disk refuses; the note is still there
    then."""
    note = directory / NOTE
    if not files.exists(note):
        return
    for name in files.names(directory):
        if name.endswith(".journal"):
            path = directory / name
            replace_file(files, path, files.read(path))
            files.drop_cache(path)
            _log.warning("%s: a sync had failed; written again, read back from the device", path)
    files.remove(note)


__all__ = ["NOTE", "note_failed_sync", "write_again"]
