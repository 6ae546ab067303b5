"""Name servers: their key-value table, their settings, and which brokers may be written to."""

from __future__ import annotations

from collections.abc import Mapping

from pyromq.client.admin.servers import Servers
from pyromq.codes import RequestCode, ResponseCode
from pyromq.wire.remoting.bodies.admin import decode_properties, encode_properties
from pyromq.wire.remoting.headers.namesrv import (
    AddWritePermHeader,
    DeleteKvConfigHeader,
    GetKvConfigHeader,
    PutKvConfigHeader,
    WipeWritePermHeader,
)


class NameServers:
    """Questions and changes about name servers: each change goes to every one of them."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._servers.names

    async def value(self, namespace: str, key: str) -> str | None:
        header = GetKvConfigHeader(namespace=namespace, key=key)
        answer = await self._servers.ask_names(
            RequestCode.GET_KV_CONFIG,
            header,
            accepted=(ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND),
        )
        return answer.ext.get("value") if answer.code == ResponseCode.SUCCESS else None

    async def set_value(self, namespace: str, key: str, value: str) -> None:
        header = PutKvConfigHeader(namespace=namespace, key=key, value=value)
        await self._servers.ask_every_name(RequestCode.PUT_KV_CONFIG, header)

    async def delete_value(self, namespace: str, key: str) -> None:
        header = DeleteKvConfigHeader(namespace=namespace, key=key)
        await self._servers.ask_every_name(RequestCode.DELETE_KV_CONFIG, header)

    async def configs(self) -> dict[str, dict[str, str]]:
        """Settings by name server."""
        answers = await self._servers.ask_every_name(RequestCode.GET_NAMESRV_CONFIG)
        return {address: decode_properties(answer.body) for address, answer in answers.items()}

    async def change_configs(self, properties: Mapping[str, str]) -> None:
        code = RequestCode.UPDATE_NAMESRV_CONFIG
        await self._servers.ask_every_name(code, body=encode_properties(properties))

    async def wipe_write_perm(self, broker_name: str) -> dict[str, int]:
        """Takes the right to write from every route of a broker; how many, by name server."""
        answers = await self._servers.ask_every_name(
            RequestCode.WIPE_WRITE_PERM_OF_BROKER, WipeWritePermHeader(broker_name=broker_name)
        )
        return {name: int(answer.ext["wipeTopicCount"]) for name, answer in answers.items()}

    async def add_write_perm(self, broker_name: str) -> dict[str, int]:
        """Gives it back; how many, by name server."""
        answers = await self._servers.ask_every_name(
            RequestCode.ADD_WRITE_PERM_OF_BROKER, AddWritePermHeader(broker_name=broker_name)
        )
        return {name: int(answer.ext["addTopicCount"]) for name, answer in answers.items()}


__all__ = ["NameServers"]
