"""Declared properties: conversion, ranges, and the one line that says what is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import pytest

from pyromq.config.prop import (
    INT_MAX,
    Origins,
    check_ranges,
    convert,
    invalid,
    prop,
    properties_of,
    require,
)
from pyromq.errors import ConfigInvalid


class Colour(StrEnum):
    RED = "RED"
    BLUE = "BLUE"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Every kind of property once."""

    size: int = prop("sampleSize", 5, low=1, high=10, doc="A size.")
    free: int = prop("freeNumber", 0, doc="Any number.")
    is_on: bool = prop("sampleEnable", True, doc="A switch.")
    text: str = prop("sampleText", "x", doc="A text.", ours=True)
    colour: Colour = prop("sampleColour", Colour.RED, doc="A choice.")  # noqa: RUF009

    def validate(self, origins: Origins) -> None:
        check_ranges(self, origins)


def test_a_declaration_is_a_field_with_its_default() -> None:
    sample = Sample()
    assert (sample.size, sample.is_on, sample.text) == (5, True, "x")
    assert Sample(size=7).size == 7


def test_properties_are_listed_by_their_rocketmq_names() -> None:
    declared = properties_of(Sample)
    names = ["sampleSize", "freeNumber", "sampleEnable", "sampleText", "sampleColour"]
    assert list(declared) == names
    assert declared["sampleSize"].attribute == "size"
    assert declared["sampleSize"].accepted == "1 to 10"
    assert declared["freeNumber"].accepted == f"0 to {INT_MAX}"
    assert declared["sampleEnable"].accepted == "true or false"
    assert declared["sampleColour"].accepted == "RED, BLUE"
    assert declared["sampleText"].is_ours


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("sampleSize", "7", 7),
        ("sampleSize", " 7\t", 7),
        ("sampleSize", "+7", 7),
        ("sampleSize", "-7", -7),
        ("sampleSize", "007", 7),
        ("sampleEnable", "true", True),
        ("sampleEnable", "TRUE ", True),
        ("sampleEnable", "False", False),
        ("sampleText", " a b ", "a b"),
        ("sampleText", "", ""),
        ("sampleColour", "BLUE ", Colour.BLUE),
    ],
)
def test_a_text_becomes_the_declared_type(name: str, text: str, value: object) -> None:
    converted = convert(properties_of(Sample)[name], text, "here")
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sampleSize", ""),
        ("sampleSize", "7k"),
        ("sampleSize", "1_000"),
        ("sampleSize", "0x10"),
        ("sampleSize", "1.5"),
        ("sampleSize", "\u0667"),
        ("sampleSize", "9" * 20),
        ("sampleEnable", "yes"),
        ("sampleEnable", "1"),
        ("sampleEnable", ""),
        ("sampleColour", "red"),
        ("sampleColour", ""),
    ],
)
def test_a_text_of_another_form_is_refused_with_key_value_origin_and_range(
    name: str, text: str
) -> None:
    declared = properties_of(Sample)[name]
    expected = f"{name}={text!r} (broker.conf:3) is not accepted: {declared.accepted}"
    with pytest.raises(ConfigInvalid, match=f"^{re.escape(expected)}$"):
        convert(declared, text, "broker.conf:3")


@pytest.mark.parametrize("size", [0, 11, -5])
def test_a_number_out_of_its_bounds_is_refused(size: int) -> None:
    with pytest.raises(ConfigInvalid, match=r"sampleSize='-?\d+' \(--set\).*1 to 10"):
        Sample(size=size).validate(lambda _name: "--set")


@pytest.mark.parametrize("size", [1, 10])
def test_bounds_are_inclusive(size: int) -> None:
    Sample(size=size).validate(lambda _name: "default")


def test_a_message_is_one_line_of_bounded_length() -> None:
    text = str(invalid("a", "x" * 10_000 + "\n", "here", "less"))
    assert "\n" not in text
    assert len(text) < 300


def test_a_switch_is_shown_as_a_file_would_say_it() -> None:
    assert "a='true'" in str(invalid("a", True, "here", "false"))


def test_require_passes_what_is_right() -> None:
    require(True, "a", 1, lambda _name: "here", "1")
    with pytest.raises(ConfigInvalid):
        require(False, "a", 1, lambda _name: "here", "2")
