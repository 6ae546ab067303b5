"""From a command line to checked configurations of the parts it starts."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pyromq.app.kept_settings import KeptSettings, kept_source, own_path
from pyromq.app.options import OFF, not_built_lines, option_source
from pyromq.config import (
    BrokerConfig,
    NamesrvConfig,
    ObserveConfig,
    RemotingConfig,
    Source,
    StoreConfig,
    defaults_for,
    environment_source,
    file_source,
    leftover_lines,
    leftovers,
    load,
    namesrv_source,
    set_source,
)
from pyromq.config.prop import properties_of
from pyromq.config.remote import BROKER_KEYS, NAMESRV_KEYS
from pyromq.config.sources import text_of
from pyromq.config.store import MESSAGE_SIZE_CEILING
from pyromq.store.engine import StoreSettings

IMPORTANT_PROPERTIES: Final = (
    "namesrvAddr",
    "brokerName",
    "brokerClusterName",
    "brokerId",
    "brokerIP1",
    "brokerIP2",
    "bindAddress",
    "listenPort",
    "haListenPort",
    "brokerPermission",
    "defaultTopicQueueNums",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
    "storePathRootDir",
    "flushDiskType",
    "brokerRole",
)
"""What `broker -m` prints: of BrokerConfig's @ImportantField those we have, and the store's."""


class Configured(NamedTuple):
    """Everything a process needs to know; None for a part that is left out."""

    remoting: RemotingConfig
    namesrv: NamesrvConfig | None
    broker: BrokerConfig | None
    store: StoreConfig
    observe: ObserveConfig
    broker_settings: KeptSettings
    """Where changes while running are kept."""
    namesrv_settings: KeptSettings
    remarks: Sequence[str]
    """What the log should say about the configuration."""


def configure(
    options: argparse.Namespace,
    data_dir: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    more: Sequence[Source] = (),
) -> Configured:
    """Raises ConfigInvalid. `data_dir`: of an ephemeral broker. `environ`: os.environ unless given.

    Where sources say different things the last one counts: what fits the situation, what was
    changed while running, NAMESRV_ADDR, the file, PYROMQ_… variables, --set, `more`, other options.
    An ephemeral broker does not read NAMESRV_ADDR: that may name a real cluster, which must not
    send its clients to it.
    """
    if environ is None:
        environ = os.environ
    kinds = _kinds(options)
    namesrv_port, broker_port = _port(options, "namesrv"), _port(options, "broker")
    overriding = [
        environment_source(environ, kinds),
        set_source(options.set),
        *more,
        *option_source(options),
    ]
    sources = [
        *_ephemeral_sources(data_dir),
        *([namesrv_source(environ)] if data_dir is None else []),
        *([file_source(Path(options.config))] if options.config else []),
        *overriding,
    ]
    if getattr(options, "namesrv_addr", None) and options.command == "broker":
        sources.append(Source("-n", {"namesrvAddr": options.namesrv_addr}))
    if data_dir is not None:
        sources.append(Source("--ephemeral", {"storePathRootDir": data_dir}))
    # Where it stores is no setting that can be changed while running: so this is the last word.
    root = load(StoreConfig, sources).root
    kept: dict[type[Any], Path] = {BrokerConfig: own_path(root)}
    if NamesrvConfig in kinds:
        kept[NamesrvConfig] = own_path(load(NamesrvConfig, sources).kv_root(root))
    for kind, keys in ((BrokerConfig, BROKER_KEYS), (NamesrvConfig, NAMESRV_KEYS)):
        if kind in kinds:
            sources[:0] = kept_source(kept[kind], keys)
    remoting = load(RemotingConfig, sources)
    store = load(StoreConfig, sources)
    namesrv = broker = None
    if NamesrvConfig in kinds:
        own = sources
        if options.command == "standalone":  # one file for both: listenPort is the broker's there
            own = [source.without("listenPort") for source in sources]
        namesrv = load(NamesrvConfig, [*own, *_port_source("--namesrv-port", namesrv_port)])
    if BrokerConfig in kinds:
        own = [*defaults_for(remoting), *sources, *_port_source("--broker-port", broker_port)]
        broker = load(BrokerConfig, own)
    observe = load(ObserveConfig, sources)
    remarks = [*leftover_lines(leftovers(kinds, sources)), *not_built_lines(options)]
    overrides = {key: source.name for source in overriding for key in source.values}
    if options.config:
        given = KeptSettings(Path(options.config), is_given=True, overrides=overrides)
        broker_settings = namesrv_settings = given
    else:
        broker_settings, namesrv_settings = (
            KeptSettings(kept.get(kind, own_path(root)), is_given=False, overrides=overrides)
            for kind in (BrokerConfig, NamesrvConfig)
        )
    return Configured(
        remoting, namesrv, broker, store, observe, broker_settings, namesrv_settings, remarks
    )


def engine_settings(store: StoreConfig, store_host: bytes) -> StoreSettings:
    """What the engine must know. `store_host`: address and port as records store them."""
    return StoreSettings(
        root=str(store.root),
        store_host=store_host,
        sync_flush=store.is_sync_flush,
        segment_size=store.mapped_file_size_commit_log_bytes,
        consume_queue_file_size=store.consume_queue_file_size,
        index_slot_count=store.max_hash_slot_num,
        index_entry_count=store.max_index_num,
        index_enabled=store.message_index_enable,
        flush_interval_ms=store.flush_interval_commit_log_ms,
        flush_interval_consume_queue_ms=store.flush_interval_consume_queue_ms,
        # The verbs refuse what is larger than maxMessageSize. What was taken when that was more
        # must still fit: delayed, or given back, it is stored once more.
        message_size_max=MESSAGE_SIZE_CEILING,
        reserve_ahead=store.reserve_ahead_size_bytes,
        write_busy_ms=store.os_page_cache_busy_time_out_mills,
        delay_levels_ms=tuple(store.delay_levels_ms),
        rebuild_in_background=True,
    )


def property_lines(configured: Configured, *, is_important_only: bool) -> list[str]:
    """`key=value` of all parts, sorted, as `-p` and `-m` print them."""
    texts: dict[str, str] = {}
    store = None if configured.broker is None else configured.store
    observe, remoting = configured.observe, configured.remoting
    for part in (observe, remoting, configured.namesrv, store, configured.broker):
        if part is not None:
            for name, declared in properties_of(type(part)).items():
                texts[name] = text_of(declared, part)
    names = IMPORTANT_PROPERTIES if is_important_only else sorted(texts)
    return [f"{name}={texts[name]}" for name in names if name in texts]


def _kinds(options: argparse.Namespace) -> list[type[Any]]:
    kinds: list[type[Any]] = [RemotingConfig, StoreConfig, ObserveConfig]
    if options.command != "broker" and _port(options, "namesrv") != OFF:
        kinds.append(NamesrvConfig)
    if options.command != "namesrv" and _port(options, "broker") != OFF:
        kinds.append(BrokerConfig)
    return kinds


def _port(options: argparse.Namespace, door: str) -> str | None:
    port: str | None = getattr(options, f"{door}_port", None)
    if port is None and getattr(options, "ephemeral", False):
        return "0"
    return port


def _port_source(option: str, port: str | None) -> Sequence[Source]:
    return [] if port in (None, OFF) else [Source(option, {"listenPort": str(port)})]


def _ephemeral_sources(data_dir: str | None) -> Sequence[Source]:
    """Nothing of an ephemeral store outlives the process: it need not wait for the disk."""
    return [] if data_dir is None else [Source("--ephemeral", {"flushDiskType": "ASYNC_FLUSH"})]


__all__ = [
    "IMPORTANT_PROPERTIES",
    "Configured",
    "configure",
    "engine_settings",
    "property_lines",
]
