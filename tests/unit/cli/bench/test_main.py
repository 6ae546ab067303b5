"""`pyromq bench` against a broker: what it says it sent is there, and comes back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyromq.app.main import main
from pyromq.codes import RequestCode
from pyromq.testing import ThreadedBroker, broker_in_thread
from tests.support.processes import ServerProcess, ask, child_environment

STOP_SECONDS = 10.0


@pytest.fixture(scope="module")
def broker() -> Iterator[ThreadedBroker]:
    with broker_in_thread() as running:
        yield running


@pytest.fixture
def topic(broker: ThreadedBroker, request: pytest.FixtureRequest) -> str:
    name = f"T{abs(hash(request.node.name))}"
    broker.create_topic(name, queue_count=4)
    return name


def stored(broker: ThreadedBroker, topic: str) -> int:
    """Messages of all its queues."""
    return sum(
        int(
            ask(
                broker.address,
                RequestCode.GET_MAX_OFFSET,
                {"topic": topic, "queueId": str(queue)},
            ).fields["offset"]
        )
        for queue in range(4)
    )


def bench(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> dict[str, Any]:
    """Runs one load and returns its JSON."""
    assert main(["bench", *(str(word) for word in words), "--json"]) == code
    printed = capsys.readouterr()
    read: dict[str, Any] = json.loads(printed.out)
    assert "p99 ms" in printed.err
    return read


@pytest.mark.parametrize("kind", ["producer", "batch", "ordered"])
def test_as_many_messages_are_sent_as_were_asked_for(
    kind: str, broker: ThreadedBroker, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = bench(capsys, kind, "-n", broker.namesrv_addr, "-t", topic, "-q", 100, "-w", 8)
    assert (result["kind"], result["messages"], result["failed"]) == (kind, 100, 0)
    assert result["size_bytes"] == 100 * 128
    assert sum(row["messages"] for row in result["intervals"]) == 100
    assert stored(broker, topic) == 100


@pytest.mark.parametrize("way", [["--ordered"], ["--pull"], ["-w", "3"]])
def test_a_consumer_gets_them_and_sees_their_order(
    way: list[str], broker: ThreadedBroker, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("-n", broker.namesrv_addr, "-t", topic)
    bench(capsys, "ordered", *at, "-q", 200, "-w", 4, "--order-keys", 10)
    result = bench(capsys, "consumer", *at, *way, "--from", "first", "-q", 200, "--duration", 30)
    assert result["messages"] == 200
    assert result["more"]["ordered_messages"] == 200
    if way != ["-w", "3"]:  # three listeners at once promise no order
        assert (result["more"]["order_gaps"], result["more"]["order_repetitions"]) == (0, 0)


def test_what_is_given_back_comes_again(
    broker: ThreadedBroker,
    topic: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of five is given back and comes from the retry topic: after a delay, so a consumer
    of that topic is not waited for here."""
    chances = iter([0.0])
    monkeypatch.setattr("random.random", lambda: next(chances, 0.99))
    at = ("-n", broker.namesrv_addr, "-t", topic)
    bench(capsys, "producer", *at, "-q", 5)
    group = f"G{topic}"
    taken = ("-g", group, "-r", 0.5, "--from", "first", "-q", 4, "--duration", 30)
    result = bench(capsys, "consumer", *at, *taken)
    assert (result["messages"], result["failed"]) == (4, 1)
    assert result["errors"] == {"given back": 1}
    retry = {"topic": f"%RETRY%{group}"}
    assert ask(broker.namesrv_addr, RequestCode.GET_ROUTEINFO_BY_TOPIC, retry).code == 0


def test_a_consumer_gets_what_its_expression_wants(
    broker: ThreadedBroker, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("-n", broker.namesrv_addr, "-t", topic)
    bench(capsys, "producer", *at, "-q", 40, "-l", 4, "-k", "-p", 100)
    wanted = ("-e", "tag1 || tag3", "--from", "first", "-q", 20, "--duration", 30)
    assert bench(capsys, "consumer", *at, *wanted)["messages"] == 20


def test_a_rate_is_kept_and_the_time_ends_the_run(
    broker: ThreadedBroker, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("-n", broker.namesrv_addr, "-t", topic)
    result = bench(capsys, "producer", *at, "--rate", 200, "--duration", 0.5, "-w", 2)
    # Fewer only if the machine stood still at the end: none is due after the time is over.
    assert 0 < result["messages"] <= 100
    assert stored(broker, topic) == result["messages"]
    assert result["latency_is"] == "from when a message was due to its answer"


def test_a_consumer_without_messages_ends_with_its_time(
    broker: ThreadedBroker, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("-n", broker.namesrv_addr, "-t", topic)
    assert bench(capsys, "consumer", *at, "--duration", 0.1, code=1)["messages"] == 0


def test_refused_messages_are_counted_with_their_reason(
    broker: ThreadedBroker, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("-n", broker.namesrv_addr, "-t", topic)
    result = bench(capsys, "producer", *at, "-s", 5_000_000, "-q", 3, "-w", 3, code=1)
    assert (result["messages"], result["failed"]) == (0, 3)
    assert result["errors"] == {"MessageIllegal MESSAGE_ILLEGAL": 3}
    assert "5000000" in result["examples"]["MessageIllegal MESSAGE_ILLEGAL"]


def test_people_get_rows_and_a_summary_and_a_page(
    broker: ThreadedBroker, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "out.html"
    at = ("-n", broker.namesrv_addr, "-t", topic)
    assert main(["bench", "producer", *at, "-q", "10", "--report", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["time", "messages", "msg/s"]
    assert lines[1].split()[1] == "10"
    assert lines[2].startswith(f"producer on {topic}: 10 messages in ")
    assert topic in page.read_text()


def test_a_run_without_end_is_ended_by_a_signal_with_its_results(
    broker: ThreadedBroker, topic: str
) -> None:
    process = ServerProcess(
        "bench",
        [
            sys.executable, "-m", "pyromq", "bench", "producer",
            "-n", broker.namesrv_addr, "-t", topic, "-ri", "100", "-w", "2",
        ],
        environment=child_environment(PYTHONUNBUFFERED="1"),
    )  # fmt: skip
    with process:
        process.await_line("0.1s ", 20)
        assert process.stop(STOP_SECONDS) == 0
        (summary,) = [line for line in process.stdout_lines if line.startswith("producer on")]
    said = int(summary.split()[3].replace(",", ""))
    assert said == stored(broker, topic) > 0


def test_no_name_server_and_no_topic_are_one_line(
    broker: ThreadedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "producer", "-n", "127.0.0.1:1", "-q", "1"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert main(["bench", "consumer", "-n", broker.namesrv_addr, "-t", "Unknown"]) == 1
    printed = capsys.readouterr()
    assert "Unknown" in printed.err
    assert printed.out == ""


def test_bad_options_are_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "producer", "-w", "0"]) == 2
    assert "1 or more" in capsys.readouterr().err
    assert main(["bench", "producer", "--report", "/no/such/place/out.html"]) == 2
    assert "no such directory" in capsys.readouterr().err
