"""The commands of `pyromq admin`: names, options and letters of Apache's mqadmin 5.5.0, and ours.

One line per option group: `t/topic*` is -t or --topic, required; `(b/brokerAddr c/clusterName)*`
are two of which one must be given; `:int` and `:bool` are numbers and true or false, `!` a flag
without a value; a name alone is an option without a letter, and `<topic>` one without dashes.
docs/reference/admin.md is checked against this table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from pyromq.cli.words import NOT_SUPPORTED, TEXTS

_OPTION: Final = re.compile(
    r"(?P<positional><)?(?:(?P<letter>\w+)/)?(?P<name>\w[\w-]*)>?(?P<flag>!)?(?::(?P<kind>\w+))?"
)
_GROUP: Final = re.compile(r"(?P<many>\([^)]*\))(?P<must>\*)?|(?P<one>[^\s*]+)(?P<needed>\*)?")


class Option(NamedTuple):
    """One option. `kind` is text, int, bool or flag."""

    letter: str
    name: str
    kind: str
    is_positional: bool = False

    @property
    def text(self) -> str:
        return TEXTS.get(self.name, "")


class OptionGroup(NamedTuple):
    """Options of which at most one may be given; one must be if `is_required`."""

    options: tuple[Option, ...]
    is_required: bool


class Command(NamedTuple):
    """A command. `function` is `module:function` within pyromq.cli."""

    name: str
    function: str
    text: str
    spec: str
    changes: bool = False
    """Whether it changes something, and so takes --dry-run and --yes."""

    @property
    def options(self) -> tuple[OptionGroup, ...]:
        return tuple(_groups(self.spec))

    @property
    def all_options(self) -> list[Option]:
        return [option for group in self.options for option in group.options]


def find(name: str) -> Command | None:
    """The command of that name, in any case, as mqadmin."""
    wanted = name.lower()
    return next((one for one in COMMANDS if one.name.lower() == wanted), None)


def is_known_elsewhere(name: str) -> bool:
    """Whether it is a command of mqadmin that is not supported yet."""
    wanted = name.lower()
    return any(wanted == one.lower() for names in NOT_SUPPORTED.values() for one in names)


def _groups(spec: str) -> Iterator[OptionGroup]:
    for found in _GROUP.finditer(spec):
        words = (found["many"] or found["one"]).strip("()").split()
        is_required = bool(found["must"] or found["needed"])
        yield OptionGroup(tuple(_option(word) for word in words), is_required)


def _option(word: str) -> Option:
    found = _OPTION.fullmatch(word)
    assert found is not None, word
    kind = "flag" if found["flag"] else found["kind"] or "text"
    return Option(found["letter"] or "", found["name"], kind, bool(found["positional"]))


_BROKER = "(b/brokerAddr c/clusterName)*"
_BROKER_OR_ALL = "(b/brokerAddr c/cluster)"

COMMANDS: Final = (
    # ── topics
    Command(
        "updateTopic",
        "commands.topics:update_topic",
        "Create a topic, or change its settings.",
        f"{_BROKER} t/topic* r/readQueueNums:int w/writeQueueNums:int p/perm:int o/order:bool "
        "u/unit:bool s/hasUnitSub:bool a/attributes",
        changes=True,
    ),
    Command(
        "updateTopicList",
        "commands.topics:update_topic_list",
        "Create or change the topics of a JSON file.",
        f"{_BROKER} f/filename*",
        changes=True,
    ),
    Command(
        "deleteTopic",
        "commands.topics:delete_topic",
        "Delete a topic from brokers and name servers.",
        "t/topic* c/clusterName*",
        changes=True,
    ),
    Command(
        "updateTopicPerm",
        "commands.topics:update_topic_perm",
        "Change who may use a topic: 2 write, 4 read, 6 both.",
        f"{_BROKER} t/topic* p/perm:int*",
        changes=True,
    ),
    Command(
        "updateOrderConf",
        "commands.topics:update_order_conf",
        "Read, set or delete the queue counts of an ordered topic.",
        "t/topic* m/method* v/orderConf",
        changes=True,
    ),
    Command("topicList", "commands.topics:topic_list", "All topics.", "c/clusterModel!"),
    Command(
        "topicRoute",
        "commands.topics:topic_route",
        "Which brokers hold a topic.",
        "t/topic* l/list!",
    ),
    Command(
        "topicStatus",
        "commands.topics:topic_status",
        "First and last offset of each queue.",
        "t/topic* c/cluster",
    ),
    Command(
        "topicClusterList",
        "commands.topics:topic_cluster_list",
        "The clusters that hold a topic.",
        "t/topic*",
    ),
    Command(
        "allocateMQ",
        "commands.topics:allocate_mq",
        "Which of some clients would get which queues.",
        "t/topic* i/ipList*",
    ),
    Command(
        "statsAll",
        "commands.topics:stats_all",
        "Rates and backlog of every topic and group.",
        "a/activeTopic! t/topic",
    ),
    # ── consumer groups
    Command(
        "updateSubGroup",
        "commands.groups:update_sub_group",
        "Create a consumer group, or change its settings.",
        f"{_BROKER} g/groupName* s/consumeEnable:bool m/consumeFromMinEnable:bool "
        "d/consumeBroadcastEnable:bool o/consumeMessageOrderly:bool q/retryQueueNums:int "
        "r/retryMaxTimes:int p/groupRetryPolicy i/brokerId:int "
        "w/whichBrokerWhenConsumeSlowly:int a/notifyConsumerIdsChanged:bool",
        changes=True,
    ),
    Command(
        "updateSubGroupList",
        "commands.groups:update_sub_group_list",
        "Create or change the groups of a JSON file.",
        f"{_BROKER} f/filename*",
        changes=True,
    ),
    Command(
        "deleteSubGroup",
        "commands.groups:delete_sub_group",
        "Delete a consumer group; with -c also its retry and dead-letter topics.",
        f"{_BROKER} g/groupName* r/removeOffset:bool",
        changes=True,
    ),
    Command(
        "getConsumerConfig",
        "commands.groups:get_consumer_config",
        "Settings of a group on every broker.",
        "g/groupName*",
    ),
    Command(
        "consumerProgress",
        "commands.groups:consumer_progress",
        "How far a group is in each queue, or how far all groups are.",
        "g/groupName t/topicName s/showClientIP:bool c/cluster",
    ),
    Command(
        "brokerConsumeStats",
        "commands.groups:broker_consume_stats",
        "How far all groups of a broker are.",
        "b/brokerAddr* t/timeoutMillis:int l/level:int o/order:bool",
    ),
    Command(
        "resetOffsetByTime",
        "commands.groups:reset_offset_by_time",
        "Let a group go on at a time; running clients are told.",
        "g/group* t/topic* s/timestamp* f/force:bool c/cluster b/broker q/queue:int o/offset:int",
        changes=True,
    ),
    Command(
        "skipAccumulatedMessage",
        "commands.groups:skip_accumulated_message",
        "Let a group go on behind the newest message.",
        "g/group* t/topic* f/force:bool c/cluster",
        changes=True,
    ),
    Command(
        "cloneGroupOffset",
        "commands.groups:clone_group_offset",
        "Give a group the offsets of another in a topic.",
        "s/srcGroup* d/destGroup* t/topic* o/offline:bool",
        changes=True,
    ),
    # ── clients
    Command(
        "consumerConnection",
        "commands.clients:consumer_connection",
        "Clients of a group and what they subscribe.",
        "g/consumerGroup* b/brokerAddr",
    ),
    Command(
        "producerConnection",
        "commands.clients:producer_connection",
        "Clients of a producer group.",
        "g/producerGroup* t/topic*",
    ),
    Command(
        "producer",
        "commands.clients:producer",
        "All producers of a broker.",
        "b/broker*",
    ),
    Command(
        "consumerStatus",
        "commands.clients:consumer_status",
        "What the clients of a group are doing.",
        "g/consumerGroup* i/clientId b/brokerAddr s/jstack!",
    ),
    Command(
        "getConsumerStatus",
        "commands.clients:get_consumer_status",
        "Which offsets the clients of a group have in mind.",
        "g/group* t/topic* i/originClientId",
    ),
    # ── brokers
    Command(
        "clusterList",
        "commands.brokers:cluster_list",
        "All brokers with versions and rates.",
        "m/moreStats! i/interval:int c/clusterName",
    ),
    Command(
        "brokerStatus",
        "commands.brokers:broker_status",
        "What a broker tells about itself.",
        _BROKER,
    ),
    Command(
        "getBrokerConfig",
        "commands.brokers:get_broker_config",
        "Properties of brokers.",
        _BROKER,
    ),
    Command(
        "updateBrokerConfig",
        "commands.brokers:update_broker_config",
        "Change a property of running brokers.",
        f"{_BROKER} a/updateAllBroker:bool k/key* v/value*",
        changes=True,
    ),
    Command(
        "cleanExpiredCQ",
        "commands.brokers:clean_expired_cq",
        "Delete consume queue files that are no longer needed.",
        _BROKER_OR_ALL,
        changes=True,
    ),
    Command(
        "deleteExpiredCommitLog",
        "commands.brokers:delete_expired_commit_log",
        "Delete commit log files that are older than their retention.",
        _BROKER_OR_ALL,
        changes=True,
    ),
    Command(
        "cleanUnusedTopic",
        "commands.brokers:clean_unused_topic",
        "Delete the queues of topics that no longer exist.",
        _BROKER_OR_ALL,
        changes=True,
    ),
    # ── name servers
    Command(
        "updateKvConfig",
        "commands.names:update_kv_config",
        "Store a value on every name server.",
        "s/namespace* k/key* v/value*",
        changes=True,
    ),
    Command(
        "deleteKvConfig",
        "commands.names:delete_kv_config",
        "Remove a value from every name server.",
        "s/namespace* k/key*",
        changes=True,
    ),
    Command(
        "wipeWritePerm",
        "commands.names:wipe_write_perm",
        "Have no producer write to a broker any more.",
        "b/brokerName*",
        changes=True,
    ),
    Command(
        "addWritePerm",
        "commands.names:add_write_perm",
        "Let producers write to a broker again.",
        "b/brokerName*",
        changes=True,
    ),
    Command(
        "getNamesrvConfig",
        "commands.names:get_namesrv_config",
        "Properties of the name servers.",
        "",
    ),
    Command(
        "updateNamesrvConfig",
        "commands.names:update_namesrv_config",
        "Change a property of the name servers.",
        "k/key* v/value*",
        changes=True,
    ),
    # ── messages
    Command(
        "queryMsgById",
        "commands.messages:query_by_id",
        "A message by its id, and who has consumed it; with -g and -d a client consumes it now.",
        "t/topic* i/msgId* g/consumerGroup d/clientId s/sendMessage:bool f/bodyFormat c/cluster",
        changes=True,
    ),
    Command(
        "queryMsgByKey",
        "commands.messages:query_by_key",
        "Messages by key, or with -p T by tag.",
        "t/topic* k/msgKey* b/beginTimestamp e/endTimestamp m/maxNum:int c/cluster p/keyType "
        "l/lastKey",
    ),
    Command(
        "queryMsgByUniqueKey",
        "commands.messages:query_by_unique_key",
        "A message by the id its producer gave it.",
        "t/topic* i/msgId* g/consumerGroup d/clientId a/showAll! c/cluster s/startTime e/endTime",
        changes=True,
    ),
    Command(
        "queryMsgByOffset",
        "commands.messages:query_by_offset",
        "The message at one place of a queue.",
        "t/topic* b/brokerName* i/queueId:int* o/offset:int* f/bodyFormat r/routeTopic",
    ),
    Command(
        "queryMsgTraceById",
        "commands.messages:query_trace_by_id",
        "Where a message has been, from the trace topic.",
        "i/msgId* t/traceTopic b/beginTimestamp e/endTimestamp c/maxNum:int",
    ),
    Command(
        "printMsg",
        "commands.messages:print_messages",
        "Messages of a topic.",
        "t/topic* c/charsetName s/subExpression b/beginTimestamp e/endTimestamp d/printBody:bool "
        "l/lmqParentTopic",
    ),
    Command(
        "printMsgByQueue",
        "commands.messages:print_messages_of_queue",
        "Messages of one queue; with -f their number by tag.",
        "t/topic* a/brokerName* i/queueId:int* c/charsetName s/subExpression b/beginTimestamp "
        "e/endTimestamp p/printMsg:bool d/printBody:bool f/calculate:bool",
    ),
    Command(
        "consumeMessage",
        "commands.messages:consume_messages",
        "Messages of a topic, a broker or a queue; commits nothing.",
        "t/topic* b/brokerName i/queueId:int o/offset:int g/consumerGroup s/beginTimestamp "
        "e/endTimestamp c/MessageNumber:int",
    ),
    Command(
        "queryCq",
        "commands.messages:query_cq",
        "Entries of a consume queue.",
        "t/topic* q/queue:int* i/index:int* c/count:int b/broker g/consumer",
    ),
    Command(
        "sendMessage",
        "commands.messages:send_message",
        "Send a message.",
        "t/topic* p/body* k/key c/tags b/broker i/qid:int m/msgTraceEnable:bool",
        changes=True,
    ),
    # ── probes
    Command(
        "sendMsgStatus",
        "commands.probes:send_msg_status",
        "How long a broker takes for messages.",
        "b/brokerName* s/messageSize:int c/count:int",
        changes=True,
    ),
    Command(
        "checkMsgSendRT",
        "commands.probes:check_msg_send_rt",
        "How long messages of a topic take.",
        "t/topic* a/amount:int s/size:int",
        changes=True,
    ),
    Command(
        "clusterRT",
        "commands.probes:cluster_rt",
        "How long messages take at every broker of a cluster.",
        "a/amount:int s/size:int c/cluster p/printLog:bool m/machineRoom i/interval:int",
        changes=True,
    ),
    # ── exports
    Command(
        "exportMetadata",
        "commands.exports:export_metadata",
        "Topics and groups into a JSON file.",
        f"{_BROKER} f/filePath t/topic! g/subscriptionGroup! s/specialTopic!",
    ),
    Command(
        "exportConfigs",
        "commands.exports:export_configs",
        "Properties of name servers and brokers into a JSON file.",
        "c/clusterName* f/filePath",
    ),
    Command(
        "exportMetrics",
        "commands.exports:export_metrics",
        "Sizes, rates and clients of a cluster into a JSON file.",
        "c/clusterName* f/filePath",
    ),
    # ── watching
    Command(
        "startMonitoring",
        "watch:start_monitoring",
        "Report groups that fall behind, every minute.",
        "rounds:int",
    ),
    Command(
        "tail",
        "tail:tail",
        "Messages of a topic as they come, by tag, key or SQL filter.",
        "<topic>* tag key sql (from since) max:int no-body!",
    ),
    Command(
        "top",
        "top:top",
        "Live rates, backlog and connections of a cluster.",
        "c/clusterName i/interval:int once! rows:int",
    ),
    Command(
        "doctor",
        "doctor:doctor",
        "Check addresses, ports, limits, kernel, disks and clocks; say what mends each finding.",
        "c/clusterName data-dir",
    ),
)

__all__ = ["COMMANDS", "Command", "Option", "OptionGroup", "find", "is_known_elsewhere"]
