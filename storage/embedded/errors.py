"""What can go wrong before an embedded server is started."""

from __future__ import annotations


class CannotPrepare(RuntimeError):
    """An embedded server cannot be made ready to start; the message says what a person can do about it."""
