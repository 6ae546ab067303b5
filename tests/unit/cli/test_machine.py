from __future__ import annotations

import os
import socket
from pathlib import Path

from pyromq.cli.machine import is_here, listener, open_files_max


def test_the_process_that_listens_is_found_and_its_limit_read() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        assert listener(port) is None
        listening.listen()
        pid = listener(port)
        assert pid == os.getpid()
        assert open_files_max(pid) is not None


def test_limits_are_read_as_linux_writes_them(tmp_path: Path) -> None:
    assert open_files_max(7, tmp_path) is None
    (tmp_path / "7").mkdir()
    limits = tmp_path / "7" / "limits"
    limits.write_text(
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max cpu time              unlimited            unlimited            seconds   \n"
        "Max open files            1024                 524288               files     \n"
    )
    assert open_files_max(7, tmp_path) == 1024
    limits.write_text(limits.read_text().replace("1024  ", "unlimited"))
    assert open_files_max(7, tmp_path) == 2**63 - 1


def test_addresses_of_this_machine_are_known() -> None:
    assert is_here("127.0.0.1:10911")
    assert not is_here("192.0.2.1:10911")
    assert not is_here("no.such.host.invalid:10911")
