"""How many connections a process may hold."""

from __future__ import annotations

import resource

import pytest

from pyromq.transport import limits


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (1_024, 1_024, 768),  # 256 stay for the store
        (10_000, 10_000, 8_000),  # 80 %
        (1_024, 100_000, 80_000),  # raised first
        (200, 200, 1),  # hardly anything: still one
        (1_024, resource.RLIM_INFINITY, 500_000),
    ],
)
def test_connections_leave_descriptors_to_the_store(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, expected: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, __: None)
    assert limits.connection_count_max() == expected


def test_a_limit_that_cannot_be_raised_is_lived_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(which: int, wanted: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert limits.connection_count_max() == 768
