"""What the API of a cluster does not do. It stands apart from the client, which need not be installed."""

from __future__ import annotations


class ClusterError(Exception):
    """The API did not do what it was asked. `status` is its HTTP status; 0: it did not answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def final(self) -> bool:
        """The same will be refused again: it is no permitted or no valid object."""
        return 400 <= self.status < 500 and self.status not in (404, 408, 409, 410, 429)
