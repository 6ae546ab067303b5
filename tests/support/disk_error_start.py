"""A start during which a system call fails: it serves or says why not, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from pyromq.codes import RequestCode
from tests.support.disk_error_run import Injection, probe_pull, probe_send
from tests.support.kill_run import SETTINGS
from tests.support.processes import ServerFailed, ask
from tests.support.pyromq_server import PyromqServer

TOPIC = "kept"
MESSAGES = 20
COMMITTED = 7


def _server(root: Path, tracer: list[str]) -> PyromqServer:
    words = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    return PyromqServer("broker", "--data-dir", root, "--broker-port", 0, *words, tracer=tracer)


def prepare(root: Path) -> None:
    """A store of a killed broker, with messages and a group's offset."""
    with _server(root, []) as broker:
        for _ in range(MESSAGES):
            assert probe_send(broker.broker, TOPIC).code == 0
        assert probe_pull(broker.broker, TOPIC).code == 0  # now there is the group, too
        fields = {"consumerGroup": "probes", "topic": TOPIC, "queueId": "0"}
        fields["commitOffset"] = str(COMMITTED)
        assert ask(broker.broker, RequestCode.UPDATE_CONSUMER_OFFSET, fields).code == 0
        broker.kill()


def start_with_error(root: Path, injection: Injection) -> tuple[bool, str]:
    """Whether the call was made so often that it failed; what became of the start."""
    log = root.with_name("strace.log")
    tracer = ["strace", "-D", "-f", "--seccomp-bpf", "-o", str(log)]
    tracer += ["-e", f"trace={injection.name}", "-e", f"inject={injection}"]
    broker = _server(root, tracer)
    try:
        broker.start()
    except ServerFailed as error:
        outcome = str(error).splitlines()[-1]
    else:
        answer = probe_send(broker.broker, "other")
        outcome = f"serves; a send gets {answer.code} {answer.remark}"
    finally:
        broker.kill()
    return "(INJECTED)" in log.read_text(), outcome


def faults_afterwards(root: Path, *, is_empty: bool = False) -> list[str]:
    """What is missing after a start on a disk that is well again; `is_empty`: nothing was there."""
    faults = []
    with _server(root, []) as broker:
        queue = {"topic": TOPIC, "queueId": "0"}
        high = ask(broker.broker, RequestCode.GET_MAX_OFFSET, queue).fields.get("offset")
        if not is_empty and high != str(MESSAGES):
            faults.append(f"{high} of {MESSAGES} messages are there")
        group = queue | {"consumerGroup": "probes"}
        offset = ask(broker.broker, RequestCode.QUERY_CONSUMER_OFFSET, group).fields.get("offset")
        if not is_empty and offset != str(COMMITTED):
            faults.append(f"the committed offset is {offset}, not {COMMITTED}")
        if (answer := probe_send(broker.broker, "other")).code != 0:
            faults.append(f"a send gets {answer.code} {answer.remark}")
        broker.stop()
    return faults


__all__ = ["faults_afterwards", "prepare", "start_with_error"]
