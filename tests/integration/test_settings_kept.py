"""Settings that are changed while a server runs: they count at once, and where they stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.app.main import main
from pyromq.codes import RequestCode
from tests.support.processes import Answer, ServerFailed, ask
from tests.support.pyromq_server import PyromqServer

FREE_PORTS = ("--namesrv-port", 0, "--broker-port", 0)
OWN_FILE = Path("pyromq") / "settings.properties"
CONF = """\
# Our broker.
brokerName = broker-x
fileReservedTime=24
  # how long
\\u0064eleteWhen : 04
"""
SEND = {
    "a": "PG", "b": "Orders", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1", "h": "0",
    "i": "UNIQ_KEY\x01ID1\x02", "j": "0", "k": "false", "m": "false",
}  # fmt: skip


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def change(broker: str, **values: str) -> Answer:
    body = "".join(f"{key}={value}\n" for key, value in values.items()).encode()
    return ask(broker, RequestCode.UPDATE_BROKER_CONFIG, body=body)


def changed(broker: str, **values: str) -> None:
    answer = change(broker, **values)
    assert answer.code == 0, answer


def shown(broker: str) -> dict[str, str]:
    answer = ask(broker, RequestCode.GET_BROKER_CONFIG)
    assert answer.code == 0, answer
    return dict(line.split("=", 1) for line in answer.body.decode().splitlines())


def standalone(data_dir: Path, *more: object) -> PyromqServer:
    return PyromqServer("standalone", "--data-dir", data_dir, *FREE_PORTS, *more)


def send(broker: str, topic: str) -> Answer:
    return ask(broker, RequestCode.SEND_MESSAGE_V2, {**SEND, "b": topic}, b"body")


def test_a_change_goes_into_the_line_of_its_key_in_the_given_file(
    data_dir: Path, tmp_path: Path
) -> None:
    conf = tmp_path / "broker.conf"
    conf.write_text(CONF)
    conf.chmod(0o640)
    with standalone(data_dir, "-c", conf) as server:
        changed(server.broker, fileReservedTime="48", deleteWhen="01;13")
        changed(server.broker, traceOn="false")
        assert shown(server.broker)["fileReservedTime"] == "48"
        of_namesrv = ask(
            server.namesrv, RequestCode.UPDATE_NAMESRV_CONFIG, body=b"enableTopicList=false\n"
        )
        assert of_namesrv.code == 0
        server.kill()
    assert conf.read_text() == (
        "# Our broker.\nbrokerName = broker-x\nfileReservedTime=48\n  # how long\n"
        "deleteWhen=01;13\ntraceOn=false\nenableTopicList=false\n"
    )
    assert conf.stat().st_mode & 0o777 == 0o640
    assert not (data_dir / OWN_FILE).exists()
    with standalone(data_dir, "-c", conf) as server:
        texts = shown(server.broker)
        kept = ("brokerName", "fileReservedTime", "deleteWhen", "traceOn")
        assert [texts[key] for key in kept] == ["broker-x", "48", "01;13", "false"]
        answer = ask(server.namesrv, RequestCode.GET_NAMESRV_CONFIG)
        assert b"enableTopicList=false\n" in answer.body


def test_without_a_file_a_change_stays_in_the_data_directory(
    data_dir: Path, tmp_path: Path
) -> None:
    with standalone(data_dir) as server:
        changed(server.broker, fileReservedTime="48", deleteWhen="05", maxMsgsNumBatch="7")
        of_namesrv = ask(
            server.namesrv, RequestCode.UPDATE_NAMESRV_CONFIG, body=b"enableTopicList=false\n"
        )
        assert of_namesrv.code == 0
        server.kill()
    conf = tmp_path / "broker.conf"
    conf.write_text("deleteWhen=06\n")
    with standalone(data_dir, "-c", conf, "--set", "maxMsgsNumBatch=9") as server:
        texts = shown(server.broker)
        kept = ("fileReservedTime", "deleteWhen", "maxMsgsNumBatch")
        assert [texts[key] for key in kept] == ["48", "06", "9"]
        answer = ask(server.namesrv, RequestCode.GET_NAMESRV_CONFIG)
        assert b"enableTopicList=false\n" in answer.body
        # It counts now, and the log says that it does not at the next start.
        changed(server.broker, maxMsgsNumBatch="11")
        assert shown(server.broker)["maxMsgsNumBatch"] == "11"
        tail = server.process.tail()
    assert "maxMsgsNumBatch=11 counts until the server ends: --set sets it at each start" in tail
    assert main(["store", "check", str(data_dir)]) == 0


def test_a_change_that_cannot_be_kept_is_refused(data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    conf = folder / "broker.conf"
    conf.write_text(CONF)
    with standalone(data_dir, "-c", conf) as server:
        conf.rename(tmp_path / "moved.conf")
        answer = change(server.broker, fileReservedTime="48")
        assert answer.code == 14
        assert answer.remark == f"{conf} cannot be changed: No such file or directory"
        assert shown(server.broker)["fileReservedTime"] == "24"
        answer = change(server.broker, storePathRootDir="/elsewhere")
        assert answer.code == 16
        assert answer.remark == (
            f"storePathRootDir cannot be changed from afar: set it in {conf} and restart"
        )
        assert change(server.broker, fileReservedTime="long").code == 29
        assert change(server.broker).code == 0
        assert ask(server.broker, RequestCode.UPDATE_BROKER_CONFIG, body=b"a=\\u12\n").code == 29


def test_changes_count_at_once(data_dir: Path) -> None:
    with standalone(data_dir) as server:
        broker = server.broker
        changed(broker, autoCreateTopicEnable="false")
        assert send(broker, "New").code == 17
        changed(broker, autoCreateTopicEnable="true")
        assert send(broker, "New").code == 0
        changed(broker, brokerPermission="4")
        route = ask(server.namesrv, RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "New"})
        assert b'"perm":4' in route.body
        changed(broker, brokerPermission="6")
        changed(broker, regionId="elsewhere")
        assert send(broker, "New").fields["MSG_REGION"] == "elsewhere"


def test_a_broker_that_began_without_automatic_topics_makes_them_when_it_is_told_to(
    data_dir: Path,
) -> None:
    with standalone(data_dir, "--set", "autoCreateTopicEnable=false") as server:
        assert send(server.broker, "New").code == 17
        changed(server.broker, autoCreateTopicEnable="true")
        route = ask(server.namesrv, RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "TBW102"})
        assert route.code == 0
        assert send(server.broker, "New").code == 0


def test_a_settings_file_of_a_later_version_is_refused(data_dir: Path) -> None:
    own = data_dir / OWN_FILE
    own.parent.mkdir(parents=True)
    own.write_text("# pyromq settings, format 2, read by format 2 on\nx=1\n")
    with pytest.raises(
        ServerFailed, match=r"settings\.properties is no settings file this version"
    ):
        standalone(data_dir).start()
    assert own.read_text().startswith("# pyromq settings, format 2")
    assert [each.name for each in data_dir.iterdir()] == ["pyromq"]


def test_a_link_to_a_settings_file_stays_one(data_dir: Path, tmp_path: Path) -> None:
    conf = tmp_path / "real.conf"
    conf.write_text(CONF)
    link = tmp_path / "broker.conf"
    link.symlink_to(conf)
    with standalone(data_dir, "-c", link) as server:
        changed(server.broker, fileReservedTime="48")
    assert link.is_symlink()
    assert "fileReservedTime=48\n" in conf.read_text()
