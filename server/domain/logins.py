"""Failed logins, counted so that passwords cannot be tried without end."""

from __future__ import annotations

from typing import Protocol


class FailedLogins(Protocol):
    """Counts wrong passwords by login and by address."""

    async def check(self, login: str, address: str) -> None:
        """Return where a further try is fine.

        Raises:
            Busy: there were too many; it tells when to come again.
        """
        ...

    async def add(self, login: str, address: str) -> None:
        """Count a wrong password."""
        ...
