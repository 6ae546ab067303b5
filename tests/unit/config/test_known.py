"""The tables of keys that are known and not read."""

from __future__ import annotations

from pyromq.config import BrokerConfig, NamesrvConfig, RemotingConfig, StoreConfig
from pyromq.config.known import KNOWN_UNUSED, NOT_YET
from pyromq.config.prop import properties_of

KINDS = (BrokerConfig, NamesrvConfig, RemotingConfig, StoreConfig)


def test_a_declared_property_is_not_called_unused() -> None:
    declared = {name for kind in KINDS for name in properties_of(kind)}
    assert not declared & KNOWN_UNUSED
    assert not declared & NOT_YET.keys()


def test_promises_are_keys_that_apache_has() -> None:
    assert NOT_YET.keys() <= KNOWN_UNUSED


def test_only_keys_of_ours_are_missing_in_apache() -> None:
    """Two classes may declare one key (listenPort), then they must agree whose it is."""
    owners: dict[str, bool] = {}
    for kind in KINDS:
        for name, declared in properties_of(kind).items():
            assert owners.setdefault(name, declared.is_ours) == declared.is_ours
    assert owners["listenPort"] is False
    assert owners["allowInsecure"] is True
