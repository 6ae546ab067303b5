"""Foreign clients: the programs in tests/foreign, built once, run as commands with time limits.

`java()` and `go()` run one or more subcommands and return what they printed, one dict per JSON
line.
`JavaSession` keeps one JVM for many subcommands, as a JVM start costs about a second of CPU.
A session of pytest builds at most once, and parallel sessions wait for each other (file lock);
whether a build is fresh is told by a digest of the sources, so a second run needs no network.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import hashlib
import json
import os
import selectors
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.processes import child_environment

JAVA_FOLDER = Path(__file__).parents[1] / "foreign" / "java"
GO_FOLDER = Path(__file__).parents[1] / "foreign" / "go"
BUILD_SECONDS = 600
COMMAND_SECONDS = 120.0
TAIL_CHARACTERS = 3000
SUBCOMMAND_SEPARATOR = "--"

# C1 only and one GC thread: a short-lived client on two cores is done before C2 pays back.
CLIENT_JVM = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

Row = dict[str, Any]

# The foreign programs that took part, in order, as they name themselves; a test says by them whom
# it really talked to (acceptance.py), and pytest prints them at the end.
PEERS_MET: list[str] = []


class ToolMissing(Exception):
    """Java, Maven or Go is not there, or too old: one line says what to install."""


class ForeignFailed(Exception):
    """A foreign program failed, hung or printed nonsense."""


def tool(name: str, install: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ToolMissing(f"`{name}` is not on the PATH; the foreign-client tests need {install}")
    return found


def java_command() -> str:
    return tool("java", "a JDK 17 or later (Debian: apt-get install openjdk-17-jdk-headless)")


@contextlib.contextmanager
def _build_lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _build(name: str, command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            list(command),
            cwd=folder,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ForeignFailed(f"building the {name} client took over {BUILD_SECONDS} s") from error
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[-TAIL_CHARACTERS:]
        raise ForeignFailed(f"building the {name} client failed: {' '.join(command)}\n{output}")


def java_classpath(profile: str = "") -> list[str]:
    """Our classes and all jars of Apache's client, tools, name server and broker, built if needed.

    `profile` is empty for the version in the pom, or `client-4.9.8` for the old client alone.
    """
    target = JAVA_FOLDER / "target" / profile
    stamp, listing = target / "built", target / "classpath.txt"
    sources = [JAVA_FOLDER / "pom.xml", *(JAVA_FOLDER / "src").rglob("*.*")]
    wanted = _digest([source for source in sources if source.is_file()])
    with _build_lock(target):
        jars = listing.read_text().strip().split(os.pathsep) if listing.is_file() else []
        is_fresh = stamp.is_file() and stamp.read_text() == wanted
        if not (is_fresh and jars and all(Path(jar).is_file() for jar in jars)):
            tool("javac", "a JDK 17 or later, not only a JRE")
            maven = tool("mvn", "Maven 3.8 or later (Debian: apt-get install maven)")
            profiles = ["-P" + profile, "-Dwithout.server"] if profile else []
            _build("Java", [maven, "-q", "-B", *profiles, "package"], JAVA_FOLDER)
            stamp.write_text(wanted)
            jars = listing.read_text().strip().split(os.pathsep)
    return [str(target / "classes"), *jars]


def go_program() -> Path:
    """The Go client's binary, built if needed."""
    program, stamp = GO_FOLDER / "bin" / "foreign", GO_FOLDER / "bin" / "built"
    wanted = _digest([*GO_FOLDER.glob("*.go"), GO_FOLDER / "go.mod", GO_FOLDER / "go.sum"])
    with _build_lock(program.parent):
        if not (program.is_file() and stamp.is_file() and stamp.read_text() == wanted):
            command = tool("go", "Go 1.21 or later")
            _build("Go", [command, "build", "-trimpath", "-o", str(program), "."], GO_FOLDER)
            stamp.write_text(wanted)
    return program


def _rows(lines: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for line in lines:
        row = json.loads(line)
        assert isinstance(row, dict), line
        rows.append(row)
        PEERS_MET.append(row["client"])
    return rows


def _without_ends(rows: Sequence[Row], command: Sequence[str], errors: str) -> list[Row]:
    """The results, without the line that ends each subcommand; a failed subcommand raises."""
    for row in rows:
        if row.get("ok") is False:
            raise ForeignFailed(
                f"{row['end']}: {row.get('error')}\nof: {' '.join(command)}\n"
                f"results before: {[other for other in rows if 'end' not in other]}\n"
                f"stderr ends:\n{errors[-TAIL_CHARACTERS:]}"
            )
    return [row for row in rows if "end" not in row]


def _run(command: Sequence[str], shown: Sequence[str], timeout_seconds: float) -> list[Row]:
    try:
        done = subprocess.run(
            list(command),
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        printed = (error.stdout or b"").decode(errors="replace")
        errors = (error.stderr or b"").decode(errors="replace")
        raise ForeignFailed(
            f"{' '.join(shown)}: not done after {timeout_seconds:.0f} s\nprinted:\n"
            f"{printed[-TAIL_CHARACTERS:]}\nstderr ends:\n{errors[-TAIL_CHARACTERS:]}"
        ) from error
    rows = _rows(done.stdout.splitlines())
    results = _without_ends(rows, shown, done.stderr)
    if done.returncode != 0:
        raise ForeignFailed(
            f"{' '.join(shown)}: exit status {done.returncode}\nstderr ends:\n"
            f"{done.stderr[-TAIL_CHARACTERS:]}"
        )
    return results


def _java_main(profile: str, jvm: Sequence[str]) -> list[str]:
    classpath = os.pathsep.join(java_classpath(profile))
    return [java_command(), *CLIENT_JVM, *jvm, "-cp", classpath, "pyromq.foreign.Main"]


def _words(words: Sequence[object]) -> list[str]:
    return [str(word) for word in words]


def java(
    *words: object,
    namesrv: str,
    timeout_seconds: float = COMMAND_SECONDS,
    jvm: Sequence[str] = (),
    profile: str = "",
) -> list[Row]:
    """Runs subcommands of the Java client (several, separated by "--") in a JVM of their own."""
    shown = ["--namesrv", namesrv, *_words(words)]
    return _run([*_java_main(profile, jvm), *shown], ["java", *shown], timeout_seconds)


def go(*words: object, namesrv: str, timeout_seconds: float = COMMAND_SECONDS) -> list[Row]:
    """Runs subcommands of the Go client (several, separated by "--")."""
    shown = ["--namesrv", namesrv, *_words(words)]
    return _run([str(go_program()), *shown], ["go", *shown], timeout_seconds)


class GoRun:
    """Subcommands of the Go client that run while something else happens.

    Their standard input ends when `rows` is called: that is how `listen` is told to leave.
    """

    def __init__(
        self, *words: object, namesrv: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._shown = ["go", "--namesrv", namesrv, *_words(words)]
        self._process = subprocess.Popen(
            [str(go_program()), *self._shown[1:]],
            env=child_environment(**(environment or {})),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def rows(self, *, timeout_seconds: float = COMMAND_SECONDS) -> list[Row]:
        """Their results, as soon as they have ended; only once."""
        try:
            printed, errors = self._process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ForeignFailed(f"{' '.join(self._shown)}: not done in time") from error
        results = _without_ends(_rows(printed.splitlines()), self._shown, errors)
        if self._process.returncode != 0:
            raise ForeignFailed(
                f"{' '.join(self._shown)}: exit status {self._process.returncode}\nstderr ends:\n"
                f"{errors[-TAIL_CHARACTERS:]}"
            )
        return results

    def kill(self) -> None:
        """Nothing happens if it has ended."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate(timeout=COMMAND_SECONDS)


def mqadmin(command: str, *, namesrv: str, timeout_seconds: float = COMMAND_SECONDS) -> str:
    """What Apache's mqadmin prints, e.g. mqadmin("topicStatus -t T", namesrv=…)."""
    (row,) = java("mqadmin", "--run", command, namesrv=namesrv, timeout_seconds=timeout_seconds)
    return str(row["text"])


class JavaSession:
    """One JVM that runs subcommands one after another: `session.run("send", "--topic", …)`."""

    def __init__(
        self,
        namesrv: str,
        *,
        jvm: Sequence[str] = (),
        profile: str = "",
        cwd: Path | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [*_java_main(profile, jvm), "--namesrv", namesrv, "session"],
            cwd=cwd,
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._errors: collections.deque[str] = collections.deque(maxlen=60)
        self._unread = b""
        self._running: list[str] | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line.decode(errors="replace").rstrip("\n"))

    def run(self, *words: object, timeout_seconds: float = COMMAND_SECONDS) -> list[Row]:
        self.begin(*words)
        return self.finish(timeout_seconds=timeout_seconds)

    def begin(self, *words: object) -> None:
        """Starts a subcommand without waiting for it: something else happens meanwhile."""
        assert self._running is None, f"{self._running} has not finished"
        self._running = _words(words)
        self._input.write(("\t".join(self._running) + "\n").encode())
        self._input.flush()

    def finish(self, *, timeout_seconds: float = COMMAND_SECONDS) -> list[Row]:
        """The results of the subcommand that `begin` started."""
        assert self._running is not None, "nothing was started"
        shown, self._running = self._running, None
        deadline = time.monotonic() + timeout_seconds
        rows: list[Row] = []
        while not rows or "end" not in rows[-1]:
            rows.extend(_rows([self._line(shown, deadline)]))
        return _without_ends(rows, shown, "\n".join(self._errors))

    def one(self, *words: object, timeout_seconds: float = COMMAND_SECONDS) -> Row:
        """As `run`, for a subcommand that prints exactly one result."""
        (row,) = self.run(*words, timeout_seconds=timeout_seconds)
        return row

    def mqadmin(self, command: str, *, timeout_seconds: float = COMMAND_SECONDS) -> str:
        return str(self.one("mqadmin", "--run", command, timeout_seconds=timeout_seconds)["text"])

    def _line(self, shown: Sequence[str], deadline: float) -> str:
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            ready = self._selector.select(max(0.0, left))
            data = os.read(self._output.fileno(), 65536) if ready else b""
            if not data:
                self.close()
                why = "the JVM ended" if ready else "not done in time, JVM killed"
                raise ForeignFailed(
                    f"{' '.join(shown)}: {why}\nstderr ends:\n" + "\n".join(self._errors)
                )
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(COMMAND_SECONDS)
        self._reader.join(COMMAND_SECONDS)
        self._selector.close()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        self._output.close()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
