"""What a frame says: one request or response, decoded, and the two forms its header may take.

Source: org.apache.rocketmq.remoting.protocol.{RemotingCommand,SerializeType} 5.5.0.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from pyromq.codes import VERSION_5_5_0, LanguageCode

FLAG_RESPONSE: Final = 1
FLAG_ONEWAY: Final = 2


class SerializeType(IntEnum):
    """Form of the header; an answer uses its request's."""

    JSON = 0
    ROCKETMQ = 1


class Command(msgspec.Struct, gc=False):
    """One request or response, decoded. The numbers are as on the wire."""

    code: int
    opaque: int = 0
    """Number of the request; its response carries the same."""
    flag: int = 0
    language: LanguageCode = LanguageCode.JAVA
    """Of the sender; OTHER if the name or number is unknown."""
    version: int = VERSION_5_5_0
    remark: str | None = None
    ext: dict[str, str] = msgspec.field(default_factory=dict)
    """Header fields as text; `headers.decode_header` makes them typed."""
    body: bytes = b""
    serialize_type: SerializeType = SerializeType.JSON
    typed: msgspec.Struct | None = None
    """What it asks for, if its reader was told of what type; then `ext` is empty."""

    @property
    def is_response(self) -> bool:
        return self.flag & FLAG_RESPONSE != 0

    @property
    def is_oneway(self) -> bool:
        """Whether the sender wants no answer."""
        return self.flag & FLAG_ONEWAY != 0

    @classmethod
    def request(
        cls,
        code: int,
        ext: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        opaque: int = 0,
        oneway: bool = False,
        language: LanguageCode = LanguageCode.JAVA,
        serialize_type: SerializeType = SerializeType.JSON,
    ) -> Command:
        """A request as a client or, for notifications, a broker sends it."""
        return cls(
            code,
            opaque,
            FLAG_ONEWAY if oneway else 0,
            language,
            ext={} if ext is None else ext,
            body=body,
            serialize_type=serialize_type,
        )

    @classmethod
    def response_to(
        cls,
        request: Command,
        code: int = 0,
        ext: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        remark: str | None = None,
    ) -> Command:
        """The answer to `request`: same number, same serialize type."""
        return cls(
            code,
            request.opaque,
            FLAG_RESPONSE,
            LanguageCode.JAVA,
            VERSION_5_5_0,
            remark,
            {} if ext is None else ext,
            body,
            request.serialize_type,
        )


__all__ = ["FLAG_ONEWAY", "FLAG_RESPONSE", "Command", "SerializeType"]
