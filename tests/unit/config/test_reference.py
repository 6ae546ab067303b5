"""The reference page says what the declarations say."""

from __future__ import annotations

import pytest

from pyromq.config.prop import properties_of
from tools import config_docs


def test_the_reference_page_is_up_to_date() -> None:
    assert config_docs.PAGE.read_text(encoding="utf-8") == config_docs.page(), (
        "run tools/config_docs.py"
    )


@pytest.mark.parametrize(("title", "kind"), config_docs.SECTIONS)
def test_every_property_is_on_the_page_with_a_sentence(title: str, kind: type) -> None:
    page = config_docs.page()
    assert f"## {title}\n" in page
    for name, declared in properties_of(kind).items():
        assert f"| `{name}`" in page
        assert declared.doc.endswith("."), name
        assert "|" not in declared.doc, name
