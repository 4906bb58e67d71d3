"""`pytest tests/property --hypothesis-profile long` looks for minutes to hours."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("long", max_examples=2000, stateful_step_count=60, deadline=None)
