"""Bodies of broker administration: codes 26 and 28.

Sources: MixAll.properties2String, AdminBrokerProcessor.getBrokerRuntimeInfo 5.5.0. Runtime info
(28) is a KVTable: see routes.encode_kv_table.
"""

from __future__ import annotations

from collections.abc import Mapping


def encode_properties(properties: Mapping[str, str]) -> bytes:
    """`key=value` lines, sorted by key."""
    return "".join(f"{key}={properties[key]}\n" for key in sorted(properties)).encode()


def decode_properties(body: bytes) -> dict[str, str]:
    """The same lines; what has no `=` is skipped. For our own client's eyes."""
    lines = (line.partition("=") for line in body.decode("utf-8", "replace").splitlines())
    return {key: value for key, separator, value in lines if separator}


__all__ = ["decode_properties", "encode_properties"]
