"""Settings for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Its assertions are the suites' own; before anything imports it.
pytest.register_assert_rewrite("tests.support.messages")

# How long one example takes says nothing about it: the machine may be busy with something else.
settings.register_profile("pyromq", deadline=None, print_blob=True)
settings.load_profile("pyromq")
