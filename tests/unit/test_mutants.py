"""Every bug planted in the engine is listed with a test that exists; `make mutants` runs them."""

from __future__ import annotations

from tools.mutants import MUTANTS, planted, rust_tests


def test_every_planted_bug_is_listed_with_an_existing_test() -> None:
    assert planted() == set(MUTANTS)
    assert len(MUTANTS) >= 12
    assert {test for _, test in MUTANTS.values()} <= rust_tests()
