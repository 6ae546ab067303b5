"""The acceptance table itself: rows are well formed, and an unmet demand is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.acceptance import demands, unmet_demands
from tools.run_tests import id_of

TABLE = Path(__file__).parent.parent / "acceptance.toml"


def table(tmp_path: Path, rows: str) -> Path:
    path = tmp_path / "acceptance.toml"
    path.write_text(rows)
    return path


ROW = '[[demand]]\nid = "x"\ntext = "it works"\ntests = ["t.py::test_a"]\n'


def test_every_row_of_our_table_has_id_text_and_tests_in_files_that_exist() -> None:
    rows = demands(TABLE)
    assert rows
    for row in rows:
        for test_id in row["tests"]:
            if not test_id.startswith(("check:", "cargo:")):
                path, *_, name = test_id.removesuffix("::runTest").split("::")
                source = (TABLE.parent.parent / path).read_text()
                name = name.split("[")[0]
                assert f"def {name}(" in source or f"{name} =" in source, test_id


def test_a_demand_is_met_when_its_test_passed(tmp_path: Path) -> None:
    assert unmet_demands(table(tmp_path, ROW), {"t.py::test_a": "passed"}, {}) == []


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_a_demand_whose_test_did_not_pass_is_named(tmp_path: Path, outcome: str) -> None:
    assert unmet_demands(table(tmp_path, ROW), {"t.py::test_a": outcome}, {}) == [
        f"x: t.py::test_a {outcome}"
    ]


def test_a_demand_without_its_test_is_named(tmp_path: Path) -> None:
    assert unmet_demands(table(tmp_path, ROW), {}, {}) == ["x: no test t.py::test_a"]


def test_one_failed_case_of_a_parametrised_test_is_enough(tmp_path: Path) -> None:
    outcomes = {"t.py::test_a[1]": "passed", "t.py::test_a[2]": "failed"}
    assert unmet_demands(table(tmp_path, ROW), outcomes, {}) == ["x: t.py::test_a[2] failed"]


def test_a_stand_in_does_not_count_where_the_demand_names_a_real_peer(tmp_path: Path) -> None:
    path = table(tmp_path, ROW + 'peer = "rocketmq-client 5.5.0"\n')
    outcomes = {"t.py::test_a": "passed"}
    assert unmet_demands(path, outcomes, {"t.py::test_a": {"fake"}}) == [
        "x: t.py::test_a did not talk to rocketmq-client 5.5.0"
    ]
    assert unmet_demands(path, outcomes, {"t.py::test_a": {"rocketmq-client 5.5.0 java"}}) == []


def test_a_row_without_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks"):
        demands(table(tmp_path, '[[demand]]\nid = "x"\ntext = "it works"\ntests = []\n'))


@pytest.mark.parametrize(
    ("classname", "name", "wanted"),
    [
        ("tests.unit.test_a", "test_b[1.2]", "tests/unit/test_a.py::test_b[1.2]"),
        ("tests.unit.test_a.TestMachine", "runTest", "tests/unit/test_a.py::TestMachine::runTest"),
    ],
)
def test_a_case_of_the_report_has_the_id_the_table_uses(
    classname: str, name: str, wanted: str
) -> None:
    assert id_of(classname, name) == wanted
