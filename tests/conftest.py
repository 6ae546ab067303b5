"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says nothing about it: the machine may be busy with something else.
settings.register_profile("pyromq", deadline=None, print_blob=True)
settings.load_profile("pyromq")
