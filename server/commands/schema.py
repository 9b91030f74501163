"""The schema of the database, for programs started by themselves: `luna up` brings it up before its servers."""

from __future__ import annotations

from pydantic import SecretStr

from server.errors import Unavailable
from server.settings import Settings, address
from storage.migrate import SchemaUnknown, upgrade


class NoSchema(Exception):
    """The database cannot be brought to the schema of this version; the message says why to whoever operates it."""


async def bring_up(settings: Settings) -> None:
    """Apply the migrations that the database lacks; whoever comes first does it, others wait.

    Raises:
        NotConfigured: no database is named.
        NoSchema: it cannot be reached, or a later version has used it.
    """
    await bring_up_at(address(settings.database.url, "DATABASE"))


async def bring_up_at(url: SecretStr) -> None:
    """The same for the database at an address.

    Raises:
        NoSchema: it cannot be reached, or a later version has used it.
    """
    try:
        await upgrade(url)
    except SchemaUnknown as error:
        raise NoSchema(str(error)) from error
    except Unavailable as error:
        # clients are never told why; who operates the service has to know whether it is the password or the network
        raise NoSchema(f"{error}: {_why(error)}" if error.__cause__ else str(error)) from error


def _why(error: BaseException) -> str:
    """What the driver says, which names no password."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
