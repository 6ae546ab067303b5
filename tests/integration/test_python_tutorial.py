"""The Python tutorial's own programs, copied and run, against our server and against Apache's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.peers import Peer

ROOT = Path(__file__).parent.parent.parent
TUTORIAL = (ROOT / "docs" / "tutorial" / "python-client.md").read_text()
PROGRAMS = re.findall(r"^`(\w+\.py)`\n\n```python\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.foreign


def test_the_tutorials_programs_do_what_it_says(python_peer: Peer, tmp_path: Path) -> None:
    for name, text in PROGRAMS:
        (tmp_path / name).write_text(text)

    def run(name: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, name, python_peer.namesrv],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        return done.stdout.splitlines()

    assert [name for name, _ in PROGRAMS] == [
        *("send.py", "consume.py", "ordered_send.py", "ordered_consume.py")
    ]
    assert [line.split()[0] for line in run("send.py")] == ["SEND_OK"] * 3
    assert sorted(run("consume.py")) == [
        f"got parcel {number} new ['p{number}']" for number in (1, 2, 3)
    ]
    assert run("ordered_send.py") == []
    billed = run("ordered_consume.py")
    for order in ("order-1", "order-2", "order-3"):
        assert [line for line in billed if order in line] == [
            f"billing {order}:{step}" for step in ("created", "paid", "sent")
        ]
    assert len(billed) == 9
