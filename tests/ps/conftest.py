"""A busy machine must not fail a property test: examples have no deadline, each test has pytest's timeout."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
