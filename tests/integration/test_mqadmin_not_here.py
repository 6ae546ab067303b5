"""Commands of mqadmin 5.5.0 for parts that are not here: each is told so, by name and with code 3.

And `docs/reference/mqadmin.md`, which says of every command whether it works.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyromq.codes import RequestCode
from pyromq.frontends.remoting.unsupported import ABSENT_PARTS
from tests.support.foreign import JavaSession
from tests.support.mqadmin import Console
from tests.support.peers import Peer, running_peer

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "mqadmin.md"
APACHES_LOG = ROOT / "tests/vectors/store/stopped/files/commitlog/00000000000000000000"

REFUSED = """
addBroker -c BROKER -b /tmp/broker.conf → 902
removeBroker -c BROKER -b DefaultCluster:broker-a:1 → 903
updateStaticTopic -t static -qn 4 -b broker-a → 513
getSyncStateSet -a BROKER -b broker-a → 1005
getBrokerEpoch -b broker-a → 1007
getControllerMetaData -a NAMESRV → 1005
getControllerConfig -a NAMESRV → 1010
updateControllerConfig -a NAMESRV -k key -v value → 1009
electMaster -a NAMESRV -b 1 -bn broker-a -c DefaultCluster → 1005
cleanBrokerMetadata -a NAMESRV -bn broker-a -c DefaultCluster → 1005
createUser -b BROKER -u user -p password → 3001
updateUser -b BROKER -u user -p password → 3002
deleteUser -b BROKER -u user → 3003
getUser -b BROKER -u user → 3004
listUser -b BROKER → 3005
copyUser -f BROKER -t BROKER → 3005
createAcl -b BROKER -s User:user -r Topic:* -a PUB -d ALLOW → 3006
updateAcl -b BROKER -s User:user -r Topic:* -a PUB -d ALLOW → 3007
deleteAcl -b BROKER -s User:user → 3008
getAcl -b BROKER -s User:user → 3009
listAcl -b BROKER → 3010
copyAcl -f BROKER -t BROKER → 3010
checkRocksdbCqWriteProgress -c DefaultCluster -t plain → 354
switchTimerEngine -b BROKER -e F → 5001
getBrokerLiteInfo -b BROKER → 200074
"""
"""Commands that tell the code and the remark."""

ONLY_ERROR = """
exportPopRecord -b BROKER → Export broker records error
getParentTopicInfo -p plain → [broker-a] error.
getLiteTopicInfo -p plain -l light → [broker-a] error.
getLiteClientInfo -p plain -g group -c client → [broker-a] error.
getLiteGroupInfo -p plain -g group → [broker-a] error.
triggerLiteDispatch -p plain -g group -b broker-a → error
"""
"""Commands that keep to themselves what they were told."""


@pytest.fixture(scope="module")
def peer(java_program: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with running_peer("ours", tmp_path_factory.mktemp("peer")) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mqadmin")


@pytest.fixture(scope="module")
def console(peer: Peer, files: Path) -> Iterator[Console]:
    # Static topics write files of their own into the temporary directory.
    with JavaSession(peer.namesrv, cwd=files, jvm=(f"-Djava.io.tmpdir={files}",)) as java:
        yield Console(java, peer)


def cases(text: str, peer: Peer) -> list[tuple[str, str]]:
    """Command and what is expected of it."""
    named = text.replace("BROKER", peer.broker).replace("NAMESRV", peer.namesrv)
    return [(line.split(" → ")[0], line.split(" → ")[1]) for line in named.strip().splitlines()]


def test_commands_for_parts_that_are_not_here_are_refused_by_name(
    console: Console, peer: Peer
) -> None:
    console.done(f"updateTopic -b {console.broker} -t plain -r 1 -w 1")
    console.until("topicRoute -t plain -l", "broker-a")
    for command, expected in cases(REFUSED, peer):
        code = RequestCode(int(expected))
        (failure,) = console.say(command).failures
        remark = f"{code.name} ({int(code)}) is not supported: this server has no "
        assert failure.startswith(f"CODE: 3 DESC: {remark}{ABSENT_PARTS[code]}"), command
    for command, expected in cases(ONLY_ERROR, peer):
        assert expected in console.say(command).text, command
    # A plain topic cannot be remapped, says the client itself.
    assert console.say("remappingStaticTopic -t plain -b broker-a").failures
    assert console.say("rocksDBConfigToJson -t topics -c DefaultCluster").failures


def test_commands_that_read_files_need_no_server(console: Console, files: Path) -> None:
    shutil.copy(APACHES_LOG, files / "compaction.log")
    dumped = console.done("dumpCompactionLog -f compaction.log")
    assert dumped.text.count("MessageExt [") > 1
    assert console.say("dumpCompactionLog -f nothing").failures == ["file nothing not exist."]
    none = console.done("exportMetadataInRocksDB -p nothing -t topics -j true")
    assert none.text == "RocksDB path is invalid.\n"


def test_the_page_lists_every_command_once(console: Console) -> None:
    offered = re.findall(r"^   (\w+) {2,}\S", console.say("help").text, re.MULTILINE)
    assert len(offered) == len(set(offered)) == 96
    listed = re.findall(
        r"^\| `(\w+)` \| (works|partly|not here) \| \S", PAGE.read_text(), re.MULTILINE
    )
    assert sorted(name for name, _ in listed) == sorted(offered)
    not_here = {name for name, state in listed if state == "not here"}
    refused = {line.split()[0] for line in (REFUSED + ONLY_ERROR).splitlines() if line}
    local = {"remappingStaticTopic", "rocksDBConfigToJson", "exportMetadataInRocksDB"}
    assert not_here == refused | local
