"""Properties of the doors."""

from __future__ import annotations

import pytest

from pyromq.config import BrokerConfig, RemotingConfig, defaults_for, load, set_source
from pyromq.errors import ConfigInvalid
from pyromq.units import MIB


def check(config: RemotingConfig) -> None:
    config.validate(lambda _name: "test")


def test_by_default_only_this_machine_can_connect() -> None:
    check(RemotingConfig())
    assert not RemotingConfig().is_public


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "myhost"])
def test_listening_for_others_needs_a_word_about_it(host: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^bindAddress=.*--insecure"):
        check(RemotingConfig(bind_address=host))
    check(RemotingConfig(bind_address=host, allow_insecure=True))


def test_a_public_broker_creates_no_topics_unless_told_to() -> None:
    public = RemotingConfig(bind_address="0.0.0.0", allow_insecure=True)
    assert not load(BrokerConfig, defaults_for(public)).auto_create_topic_enable
    told = [*defaults_for(public), set_source(["autoCreateTopicEnable=true"])]
    assert load(BrokerConfig, told).auto_create_topic_enable
    assert load(BrokerConfig, defaults_for(RemotingConfig())).auto_create_topic_enable


def test_unsent_bytes_are_bounded_even_where_apache_has_no_bound() -> None:
    assert RemotingConfig().unsent_size_high == 4 * MIB
    assert RemotingConfig().unsent_size_low == MIB
    set_high = RemotingConfig(write_buffer_high_water_mark=400)
    assert (set_high.unsent_size_high, set_high.unsent_size_low) == (400, 100)


def test_the_low_mark_is_not_above_the_high_one() -> None:
    with pytest.raises(ConfigInvalid, match=r"^writeBufferLowWaterMark="):
        check(RemotingConfig(write_buffer_low_water_mark=5 * MIB))


@pytest.mark.parametrize("host", ["", "a b"])
def test_a_host_is_one_word(host: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^bindAddress="):
        check(RemotingConfig(bind_address=host, allow_insecure=True))
