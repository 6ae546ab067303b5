from __future__ import annotations

from pathlib import Path

from tests.support.admin_reference import command_rows, missing_rows

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "admin.md"


def test_the_page_has_every_command_with_its_options_and_no_other() -> None:
    section = PAGE.read_text().partition("## Commands\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == command_rows()


def test_the_page_says_what_is_not_there_yet() -> None:
    lines = PAGE.read_text().splitlines()
    for row in missing_rows():
        assert row in lines
