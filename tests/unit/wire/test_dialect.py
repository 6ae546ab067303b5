"""fastjson's dialect; what it accepts and writes was taken from fastjson2 2.0.59 itself."""

from __future__ import annotations

import math

import msgspec
import pytest

from pyromq.wire import dialect
from pyromq.wire.dialect import DialectError


class Inner(msgspec.Struct, rename="camel", frozen=True):
    queue_id: int
    broker_name: str | None = None


class Outer(msgspec.Struct, rename="camel"):
    zulu: int = 1
    alpha_beta: str | None = None
    table: dict[Inner, int] = msgspec.field(default_factory=dict)
    numbers: dict[int, dict[str, Inner]] = msgspec.field(default_factory=dict)
    items: list[Inner | None] = msgspec.field(default_factory=list)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('{0:"a",1:"b"}', {"0": "a", "1": "b"}),
        ('{-3:{7:1}}', {"-3": {"7": 1}}),
        ('{{"b":"x","q":3}:5}', {'{"b":"x","q":3}': 5}),
        ('{{"k":{"n":[1,{}]}}:[{}]}', {'{"k":{"n":[1,{}]}}': [{}]}),
        ("{'a':'b'}", {"a": "b"}),
        ("['a\"b', \"a'b\"]", ['a"b', "a'b"]),
        ("[1,2,]", [1, 2]),
        ('{"a":1,}', {"a": 1}),
        ('{"a":1,"a":2}', {"a": 2}),
        ('{"a":1,"a":null,"b":null}', {}),
        ("{'a':1,'a':null,'b':null}", {}),
        ("[null]", [None]),
        (' \t\r\n{ "a" : [ true , false ] } ', {"a": [True, False]}),
        ("[+5,05,-0,1.50,1.,2e3,-1E-2]", [5, 5, 0, 1.5, 1.0, 2000.0, -0.01]),
        ('"tab\there"', "tab\there"),
        (r'"\"\\\/\b\f\n\r\t\u4e2d\ud83d\ude00\0\v\'"', "\"\\/\b\f\n\r\t中😀\0\v'"),
        (r'"x\ud800y\udc00"', "x?y?"),
        ("{}", {}),
        ("[]", []),
        ("12345678901234567890123", 12345678901234567890123),
    ],
)  # fmt: skip
def test_the_dialect_is_read_as_a_standard_tree(text: str, tree: object) -> None:
    assert dialect.read(text.encode()) == tree


def test_nan_is_read() -> None:
    value = dialect.read(b"NaN")
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("text", "reason", "position"),
    [
        ("", "expected a value", 0),
        ("{", "expected a key", 1),
        ("{a:1}", "expected a key", 1),
        ('{"a"}', "expected ':'", 4),
        ('{"a":}', "expected a value", 5),
        ('{"a":1 "b":2}', "expected ',' or '}'", 7),
        ("[1 2]", "expected ',' or ']'", 3),
        ("[1", "expected ',' or ']'", 2),
        ('"abc', "string without end", 0),
        ("'abc\\'", "string without end", 0),
        (r'"\x"', "unknown escape", 1),
        (r'"\u12g4"', "expected four hex digits", 1),
        ('"\\', "unknown escape", 1),
        ("1 2", "text goes on behind the value", 2),
        ("{}{}", "text goes on behind the value", 2),
        ("tru", "expected a value", 0),
        ("-", "expected a value", 0),
        ("٣", "expected a value", 0),
        ("[" * 17, "nested deeper than 16", 16),
        ("{" * 17, "nested deeper than 16", 16),
        ("9" * 4301, "number longer than 4300", 0),
        ("1e999", "number beyond any double", 0),
    ],
)
def test_an_error_tells_what_and_where(text: str, reason: str, position: int) -> None:
    with pytest.raises(DialectError) as error:
        dialect.read(text.encode())
    assert str(error.value) == f"{reason} at position {position}"
    assert error.value.position == position


def test_size_and_depth_are_limited_as_asked() -> None:
    with pytest.raises(DialectError, match="6 bytes are over the limit of 5"):
        dialect.read(b"[1,2,]", size_max=5)
    assert dialect.read(b"[[1]]", depth_max=2) == [[1]]
    with pytest.raises(DialectError, match="nested deeper than 1"):
        dialect.read(b"[[1]]", depth_max=1)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":{0:"x{1:y",-12 : [{"q\\"{3:":1}],"z":null},5:{6:{7:null}}}',
        b'["{0:1}", {1:"\\\\"}, {2:"\\u4e2d"}]',
        b"{ 1:true,\n\t22 :false}",
    ],
)
def test_quoting_integer_keys_gives_what_the_tolerant_reader_gives(text: bytes) -> None:
    fast = dialect._without_nulls(
        msgspec.json.decode(dialect._with_quoted_keys(text)), dialect.DEPTH_MAX
    )
    assert fast == dialect._read_tolerantly(text, dialect.DEPTH_MAX) == dialect.read(text)


def test_long_texts_are_taken_typed_and_with_no_more_than_bare_keys() -> None:
    entries = b",".join(b'%d:"10.0.0.1:10911"' % number for number in range(100_000))
    body = b"{" + entries + b"}"
    assert len(body) > dialect.TOLERANT_SIZE_MAX
    assert len(dialect.decode(body, dict[int, str])) == 100_000
    with pytest.raises(DialectError, match="over the limit of 262144"):
        dialect.read(body)
    with pytest.raises(DialectError, match="and not plain"):
        dialect.decode(b"{" + entries + b",}", dict[int, str])
    with pytest.raises(DialectError, match="over the limit of 1000"):
        dialect.decode(body, dict[int, str], size_max=1000)


def test_invalid_utf8_is_an_error_with_its_place() -> None:
    with pytest.raises(DialectError, match="invalid UTF-8 at position 2"):
        dialect.read(b'["\xff"]')


def test_typed_values_from_standard_and_dialect() -> None:
    standard = b'{"alphaBeta":"x","numbers":{"3":{"k":{"queueId":1}}}}'
    expected = Outer(alpha_beta="x", numbers={3: {"k": Inner(1)}})
    assert dialect.decode(standard, Outer) == expected
    assert dialect.decode(b"{'alphaBeta':'x','numbers':{3:{'k':{'queueId':'1'}}}}", Outer) == (
        expected
    )


def test_a_wrong_type_is_a_validation_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        dialect.decode(b'{"zulu":"many"}', Outer)


def test_deep_standard_json_is_refused_whatever_its_type() -> None:
    deep = b'{"unknown":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    with pytest.raises(DialectError, match="nested deeper"):
        dialect.decode(deep, Outer)


SAMPLE = Outer(
    table={Inner(3, "b"): 5},
    numbers={7: {'é\x01\n"': Inner(1)}},
    items=[Inner(0), None],
)


def test_members_are_alphabetical_without_nulls_and_keys_bare() -> None:
    assert (
        dialect.encode(SAMPLE)
        == (
            '{"items":[{"queueId":0},null],"numbers":{7:{"é\\u0001\\n\\"":{"queueId":1}}},'
            '"table":{{"brokerName":"b","queueId":3}:5},"zulu":1}'
        ).encode()
    )


def test_standard_json_can_be_read_by_anyone() -> None:
    text = dialect.encode(SAMPLE, standard=True)
    assert text.isascii()
    tree = msgspec.json.decode(text)
    assert tree["numbers"]["7"] == {'é\x01\n"': {"queueId": 1}}
    assert tree["table"] == {'{"brokerName":"b","queueId":3}': 5}


def test_maps_are_sorted_in_standard_json_only() -> None:
    assert dialect.encode({"b": 1, "a": 2}) == b'{"b":1,"a":2}'
    assert dialect.encode({"b": 1, "a": 2}, standard=True) == b'{"a":2,"b":1}'


def test_pretty_text_is_indented_with_tabs_like_apaches_config_files() -> None:
    assert dialect.encode({"a": {3: 4, "l": ["x"], "e": {}}, "b": []}, pretty=True) == (
        b'{\n\t"a":{\n\t\t3:4,\n\t\t"l":[\n\t\t\t"x"\n\t\t],\n\t\t"e":{}\n\t},\n\t"b":[]\n}'
    )


def test_what_was_written_is_read_back() -> None:
    for pretty in (False, True):
        tree = dialect.read(dialect.encode(SAMPLE, pretty=pretty))
        assert isinstance(tree, dict)
        assert tree["items"] == [{"queueId": 0}, None]


def test_numbers_keep_their_kind() -> None:
    assert dialect.encode([1, 1.0, 0.1, True, None, -(2**63), math.nan, math.inf]) == (
        b"[1,1.0,0.1,true,null,-9223372036854775808,null,null]"
    )


def test_a_value_without_json_form_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="no JSON form for object"):
        dialect.encode([object()])
