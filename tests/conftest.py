"""What every test shares."""

from __future__ import annotations

from hypothesis import settings

# The same examples on every run, and no time limit for one: the machine may be busy.
settings.register_profile("banyan", derandomize=True, deadline=None)
settings.load_profile("banyan")
