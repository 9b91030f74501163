"""Fixtures of lambdas on a cluster."""

from __future__ import annotations

import pytest

from server.lambdas.kubernetes import following, keeper
from tests.kubernetes_play import playing, settings

__all__ = ["playing", "settings"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for less than in life."""
    monkeypatch.setattr(following, "LEAST_SECONDS", 0.02)
    monkeypatch.setattr(following, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(keeper, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.05)
