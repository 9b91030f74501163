"""The version of this program, and of the API that it speaks."""

from __future__ import annotations

VERSION = (0, 1, 0)
"""Major, minor and patch of this program; pyproject.toml carries the same."""

API = 6
"""Major version of the LUNA API; its paths begin with /6."""
