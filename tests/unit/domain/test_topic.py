"""Topics that a broker has by itself."""

from __future__ import annotations

from pyromq.domain.topic import pop_retry_topics, start_topics


def topics(**changed: object) -> dict[str, tuple[int, int]]:
    settings: dict[str, object] = {
        "cluster_name": "C",
        "broker_name": "b",
        "default_queue_nums": 8,
        "is_auto_create": True,
        "is_cluster_topic_open": True,
        "is_broker_topic_open": True,
        "trace_topic": None,
        **changed,
    }
    return {
        config.topic_name: (config.write_queue_nums, config.perm)
        for config in start_topics(**settings)  # type: ignore[arg-type]
    }


def test_a_broker_starts_with_the_topics_apache_starts_with() -> None:
    assert topics() == {
        "SELF_TEST_TOPIC": (1, 6),
        "TBW102": (8, 7),
        "BenchmarkTest": (1024, 6),
        "C": (16, 7),
        "b": (1, 7),
        "OFFSET_MOVED_EVENT": (1, 6),
        "SCHEDULE_TOPIC_XXXX": (18, 6),
        "C_REPLY_TOPIC": (1, 6),
        "rmq_sys_REVIVE_LOG_C": (8, 6),
        "rmq_sys_SYNC_BROKER_MEMBER_b": (1, 1),
        "RMQ_SYS_TRANS_HALF_TOPIC": (1, 6),
        "RMQ_SYS_TRANS_OP_HALF_TOPIC": (1, 6),
        "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC": (1, 6),
        "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC": (1, 6),
        "rmq_sys_wheel_timer": (1, 6),
    }


def test_switches_leave_topics_out_or_close_them() -> None:
    assert "TBW102" not in topics(is_auto_create=False)
    assert topics(is_cluster_topic_open=False)["C"] == (16, 1)
    assert topics(is_broker_topic_open=False)["b"] == (1, 1)
    assert topics(trace_topic="RMQ_SYS_TRACE_TOPIC")["RMQ_SYS_TRACE_TOPIC"] == (1, 6)


def test_pop_keeps_retries_under_a_newer_and_an_older_name() -> None:
    assert pop_retry_topics("T", "G") == ("%RETRY%G+T", "%RETRY%G_T")
