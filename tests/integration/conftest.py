"""One server per module for the foreign-client suites; `--peer apache` swaps in Apache's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import cast

import pytest

from tests.support.differential import Differential
from tests.support.foreign import (
    PEERS_MET,
    ForeignFailed,
    JavaSession,
    ToolMissing,
    go_program,
    java_classpath,
    java_command,
)
from tests.support.messages import Sent
from tests.support.peers import Kind, Peer, running_peer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--peer",
        choices=("ours", "apache"),
        default=os.environ.get("PYROMQ_PEER", "ours"),
        help="the server that foreign clients meet (environment: PYROMQ_PEER)",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds what the tests need before the first one's time begins: a build may take longer than
    a test may, and a fixture counts as the test's. What fails here fails again in the fixture."""
    if session.config.getoption("--collect-only"):
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    with contextlib.suppress(ToolMissing, ForeignFailed):
        if "java_program" in wanted:
            java_classpath()
    with contextlib.suppress(ToolMissing, ForeignFailed):
        if "go_client" in wanted:
            go_program()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if PEERS_MET:
        terminalreporter.write_line("foreign programs: " + ", ".join(sorted(set(PEERS_MET))))


@pytest.fixture(autouse=True)
def _peers_met(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test says which foreign programs it talked to, for the acceptance table."""
    before = len(PEERS_MET)
    yield
    met = set(PEERS_MET[before:])
    sent = getattr(request.node, "funcargs", {}).get("sent")
    if isinstance(sent, Sent):  # by a fixture that several tests share
        met.add(sent.result["client"])
    for name in sorted(met):
        request.node.user_properties.append(("peer", name))


@pytest.fixture(scope="session")
def peer_kind(request: pytest.FixtureRequest) -> Kind:
    # The option is unknown when pytest loads this file late, as in a run of the whole tree.
    ours = os.environ.get("PYROMQ_PEER", "ours")
    return cast("Kind", request.config.getoption("--peer", default=ours))


@pytest.fixture(scope="session")
def differential(peer_kind: Kind) -> Differential:
    """Compares what a client saw with what it sees at Apache's server."""
    return Differential(peer_kind)


@pytest.fixture(scope="session")
def java_program() -> None:
    """Java client and Apache server, built; a missing tool is one line, and a failure."""
    try:
        java_command()
        java_classpath()
    except ToolMissing as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def go_client() -> None:
    """The Go client, built."""
    try:
        go_program()
    except ToolMissing as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with running_peer(peer_kind, tmp_path_factory.mktemp("peer")) as running:
        yield running


@pytest.fixture(scope="module")
def java(peer: Peer) -> Iterator[JavaSession]:
    """One JVM with an Apache Java client for all tests of a module."""
    with JavaSession(peer.namesrv) as session:
        session.run("version")
        yield session


@pytest.fixture(scope="session", params=["ours", "apache"])
def python_peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    """For our own client: the same tests run against our server and against Apache's."""
    if request.param == "apache":
        request.getfixturevalue("java_program")
    # Else a broker asks about an open transaction after 36 s only, or, as it notes ends with a
    # delay, asks about one that has ended and then delivers its message twice.
    soon = {
        "transactionCheckInterval": "1000",
        "transactionTimeOut": "2000",
        "transactionOpBatchInterval": "100",
    }
    properties = soon if request.param == "apache" else None
    with running_peer(request.param, tmp_path_factory.mktemp("python"), properties) as peer:
        yield peer
