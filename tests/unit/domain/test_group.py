"""Group names that may come into being by being used."""

from __future__ import annotations

import pytest

from pyromq.domain.group import check_group_name, is_legal_group_name
from pyromq.errors import InvalidParameter


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "..", "x" * 121, "名", "a\n"])
def test_an_illegal_name_is_illegal_for_both_checks(name: str) -> None:
    assert not is_legal_group_name(name)
    with pytest.raises(InvalidParameter):
        check_group_name(name)


@pytest.mark.parametrize("name", ["CG", "%a|b-c_1", "x" * 120])
def test_a_legal_name_is_legal_for_both_checks(name: str) -> None:
    assert is_legal_group_name(name)
    check_group_name(name)
