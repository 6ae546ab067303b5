"""Properties of what a server tells about itself. Apache has XML files for this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pyromq.config.prop import Origins, check_ranges, prop


class LogLevel(StrEnum):
    """The least important events that are logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class LogFormat(StrEnum):
    """How an event is written."""

    TEXT = "TEXT"
    JSON = "JSON"


@dataclass(frozen=True, kw_only=True)
class ObserveConfig:
    """Logs."""

    log_level: LogLevel = prop(  # noqa: RUF009 — a field, not a value
        "logLevel",
        LogLevel.INFO,
        ours=True,
        doc="The least important events that are logged, on standard error.",
    )
    log_format: LogFormat = prop(  # noqa: RUF009
        "logFormat",
        LogFormat.TEXT,
        ours=True,
        boot_only=True,
        doc="TEXT is for people, JSON (one object per line) for machines.",
    )

    def validate(self, origins: Origins) -> None:
        check_ranges(self, origins)


__all__ = ["LogFormat", "LogLevel", "ObserveConfig"]
