"""Runs lambdas on this machine: builds them, keeps them apart, calls them, and restarts and stops them.

Knows nothing of rows, accounts' rights or the edge; Linux only. `docs/explanation/lambda-isolation.md` tells what is
kept apart by what.
"""

from __future__ import annotations

from server.lambdas.local.runner import LocalRunner

__all__ = ["LocalRunner"]
