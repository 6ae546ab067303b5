"""Version numbers of clients and brokers, as text. Source: MQVersion of common 5.5.0."""

from __future__ import annotations

from typing import Final

_V4_0_0_SNAPSHOT: Final = 212
"""From here on each version has a snapshot before it, and every part runs to 9."""
_V5_9_9: Final = 611


def version_name(number: int) -> str:
    """Such as V5_5_0; versions before 4.0 by their number."""
    if number > _V5_9_9:
        return "HIGHER_VERSION"
    if number < _V4_0_0_SNAPSHOT:
        return f"version {number}"
    version, is_final = divmod(number - _V4_0_0_SNAPSHOT, 2)
    name = f"V{4 + version // 100}_{version // 10 % 10}_{version % 10}"
    return name if is_final else f"{name}_SNAPSHOT"


__all__ = ["version_name"]
