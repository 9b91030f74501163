"""Tickets: what lets the pods of one lambda, and of no other, fetch its archive."""

from __future__ import annotations

import hmac
from uuid import UUID

_PURPOSE = b"archive of a lambda\0"


def ticket(secret: bytes, lambda_id: UUID) -> str:
    """The ticket of a lambda. It is derived, so that another process of the same secret knows it too."""
    return hmac.digest(secret, _PURPOSE + lambda_id.bytes, "sha256").hex()


def accepted(secret: bytes, lambda_id: UUID, shown: str) -> bool:
    """Whether what is shown is the ticket of a lambda."""
    return hmac.compare_digest(ticket(secret, lambda_id).encode(), shown.encode(errors="replace"))
