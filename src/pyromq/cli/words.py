"""What options mean, and which of mqadmin's commands are not there yet.

An option that means the same in several commands has one text.
"""

from __future__ import annotations

from typing import Final

NOT_SUPPORTED: Final = {
    "access control": (
        "createUser", "updateUser", "deleteUser", "getUser", "listUser", "copyUser", "createAcl",
        "updateAcl", "deleteAcl", "getAcl", "listAcl", "copyAcl",
    ),
    "high availability and controller": (
        "haStatus", "getSyncStateSet", "getBrokerEpoch", "getControllerMetaData",
        "getControllerConfig", "updateControllerConfig", "electMaster", "cleanBrokerMetadata",
        "resetMasterFlushOffset",
    ),
    "broker container": ("addBroker", "removeBroker"),
    "static topics": ("updateStaticTopic", "remappingStaticTopic"),
    "lite topics": (
        "getBrokerLiteInfo", "getParentTopicInfo", "getLiteTopicInfo", "getLiteClientInfo",
        "getLiteGroupInfo", "triggerLiteDispatch",
    ),
    "RocksDB": (
        "exportMetadataInRocksDB", "rocksDBConfigToJson", "checkRocksdbCqWriteProgress",
    ),
    "POP and timers": ("setConsumeMode", "exportPopRecord", "switchTimerEngine"),
    "compaction and cold data": (
        "dumpCompactionLog", "getColdDataFlowCtrInfo", "updateColdDataFlowCtrGroupConfig",
        "removeColdDataFlowCtrGroupConfig", "setCommitLogReadAheadMode",
    ),
}  # fmt: skip
"""mqadmin's commands that are not there yet, by family."""

TEXTS: Final = {
    "attributes": "+name=value sets one, -name removes one, `,` between them",
    "beginTimestamp": "stored then or later",
    "brokerAddr": "one broker, host:port",
    "cluster": "brokers of this cluster",
    "clusterName": "all masters of this cluster",
    "data-dir": "a directory of this machine whose disk is looked at",
    "endTimestamp": "stored before",
    "filePath": "directory of the file (/tmp/rocketmq/export)",
    "force": "also forwards (true); brokers before 5.0 only",
    "from": "begin at this offset in every queue",
    "interval": "seconds between two looks",
    "ipList": "client ids, `,` between them",
    "key": "the key",
    "level": "only queues with a larger backlog",
    "max": "end after so many messages",
    "method": "get, put or delete",
    "no-body": "without bodies",
    "once": "show it once and end",
    "orderConf": "broker:queues, `;` between brokers",
    "perm": "2 write, 4 read, 6 both",
    "removeOffset": "also forget its offsets (false)",
    "rounds": "end after so many looks",
    "rows": "lines per table",
    "since": "begin with messages stored at this time",
    "sql": "SQL-92 filter over properties",
    "subExpression": "tags, `||` between them",
    "tag": "only this tag, `||` between several",
    "timestamp": "now, -1 (the end), ms since 1970, yyyy-MM-dd#HH:mm:ss:SSS, or ISO 8601",
    "topic": "the topic",
}

__all__ = ["NOT_SUPPORTED", "TEXTS"]
