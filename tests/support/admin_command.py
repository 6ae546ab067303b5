"""`pyromq admin` in this process: what it prints, and how it ends."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

from pyromq.cli.admin import main
from tests.support.processes import retries

WAIT_SECONDS = 20.0


class AdminCommand:
    """The commands of one cluster."""

    def __init__(self, namesrv: str) -> None:
        self.namesrv = namesrv

    def say(self, *words: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*map(str, words), "-n", self.namesrv])
        return code, out.getvalue(), err.getvalue()

    def ask(self, *words: object) -> Any:
        """The answer to a command that must not fail, read from its JSON."""
        code, out, err = self.say(*words, "--json")
        assert (code, err) == (0, ""), f"{words}: {code} {err}"
        return json.loads(out)

    def refusal(self, *words: object) -> str:
        """The one line of a command that must fail."""
        code, out, err = self.say(*words)
        assert code == 1, f"{words}: {code} {out}"
        assert out == ""
        assert err.count("\n") == 1
        return err.strip()

    def until(self, *words: object, holds: Any) -> Any:
        """Repeats a command until what `holds` says of its answer is true: a change arrived."""
        answer: Any = None
        for _ in retries(WAIT_SECONDS, pause_seconds=0.1):
            code, out, _err = self.say(*words, "--json")
            answer = json.loads(out) if code == 0 else None
            if code == 0 and holds(answer):
                return answer
        raise AssertionError(f"{words}: not in time: {answer}")


__all__ = ["AdminCommand"]
