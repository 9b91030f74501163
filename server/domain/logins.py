"""Failed logins, counted so that passwords cannot be tried without end."""

from __future__ import annotations

from typing import Protocol


class FailedLogins(Protocol):
    """Counts tries by login and by address. A try counts from its beginning, so that many at once gain nothing."""

    async def begin(self, login: str, address: str) -> None:
        """Count a try as failed, before the password is looked at.

        Raises:
            Busy: there were too many; it tells when to come again.
        """
        ...

    async def succeeded(self, login: str, address: str) -> None:
        """Take back the count of a try whose password was right."""
        ...
