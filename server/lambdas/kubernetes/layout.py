"""Folders of a lambda in its pod."""

from __future__ import annotations

CODE, PACKAGES, BASE = "code", "packages", "base"
"""The archive, what its requirements installed, and what the platform gives to all lambdas, in the order of imports."""
SCRATCH = "tmp"
"""What a build needs while it goes on."""
