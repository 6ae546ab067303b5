"""Serving commands: standalone, namesrv and broker are the same parts, put together differently."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pyromq.app.house import House, Part, say
from pyromq.app.settings import Configured, configure, property_lines
from pyromq.config import LogFormat
from pyromq.config.addresses import is_unspecified
from pyromq.errors import ConfigInvalid
from pyromq.observe.logs import start_logs

STANDARD_INPUT: Final = 0

_log = logging.getLogger("pyromq.app")


def serve(options: argparse.Namespace) -> None:
    """Runs until the process is told to stop. Raises StartFailed."""
    if getattr(options, "ephemeral", False):
        if options.data_dir is not None:
            raise ConfigInvalid("--ephemeral makes its own directory: --data-dir is not accepted")
        from pyromq.app.ephemeral import ephemeral_directory

        with ephemeral_directory() as directory:
            _serve_in(options, str(directory))
    else:
        _serve_in(options, None)


def _serve_in(options: argparse.Namespace, ephemeral_dir: str | None) -> None:
    configured = configure(options, ephemeral_dir)
    is_important_only = getattr(options, "print_important_config", False)
    if is_important_only or getattr(options, "print_config", False):
        for line in property_lines(configured, is_important_only=is_important_only):
            say(line)
        return
    if configured.namesrv is None and configured.broker is None:
        raise ConfigInvalid("--namesrv-port=off --broker-port=off: nothing is left to serve")
    unserved: list[str] = []
    if options.command == "standalone":
        from pyromq.app.row import planned, unserved_lines

        if options.brokers > 1:
            planned(configured, options.brokers)
        unserved = unserved_lines(configured, options.brokers)
    is_json = configured.observe.log_format is LogFormat.JSON
    supervised: str | None = getattr(options, "supervised", None)
    logs = start_logs(configured.observe.log_level, is_json=is_json, process=supervised or "")
    try:
        # Whoever supervises it has the same settings, and has said it.
        for remark in configured.remarks if supervised is None else ():
            _log.info(remark)
        for line in unserved:
            _log.warning(line)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_live(options, configured))
    finally:
        logs.stop()


async def _live(options: argparse.Namespace, configured: Configured) -> None:
    house = House(configured.remoting)
    parts = parts_of(house, configured, options)
    await house.live(parts, say, input_descriptor=_watched_input(options))


def parts_of(
    house: House, configured: Configured, options: argparse.Namespace | None = None
) -> list[Part]:
    """The parts that a configuration asks for, introduced to each other. `options`: where there may
    be several brokers, what the command line asked for."""
    parts: list[Part] = []
    own_namesrv: Callable[[], str | None] = lambda: None  # noqa: E731
    if configured.namesrv is not None:
        from pyromq.app.namesrv import NamesrvPart

        namesrv = NamesrvPart(
            house, configured.namesrv, Path(configured.store.root), configured.namesrv_settings
        )
        parts.append(namesrv)

        def own_namesrv() -> str | None:
            """How the broker beside it reaches the name server."""
            listener = namesrv.listener
            if is_unspecified(listener.host):
                return f"127.0.0.1:{listener.port}"
            return listener.address

    if options is not None and getattr(options, "brokers", 1) > 1:
        from pyromq.app.brokers import BrokersPart

        parts.append(BrokersPart(options, configured, house.clock, own_namesrv=own_namesrv))
    elif configured.broker is not None:
        from pyromq.app.broker import BrokerPart

        parts.append(
            BrokerPart(
                house,
                configured.broker,
                configured.store,
                configured.broker_settings,
                extra_namesrv=own_namesrv,
            )
        )
    return parts


def _watched_input(options: argparse.Namespace) -> int | None:
    """Standard input, if its end stops this process: a supervised one hangs by it on the one that
    started it."""
    if getattr(options, "supervised", None) is not None:
        kind = os.fstat(STANDARD_INPUT).st_mode
        if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
            raise ConfigInvalid(
                "--supervised: standard input is not a pipe, so its end tells nothing"
            )
        return STANDARD_INPUT
    stops_with_stdin = getattr(options, "stop_with_stdin", False) and sys.__stdin__ is not None
    return STANDARD_INPUT if stops_with_stdin else None


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's where there is one."""
    try:
        import uvloop
    except ImportError:  # not made for this system
        return asyncio.new_event_loop
    return uvloop.new_event_loop


__all__ = ["loop_factory", "parts_of", "serve"]
