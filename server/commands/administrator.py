"""The first administrator: its password is made once and kept in the data folder, readable by the owner alone."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import typer

from server.settings import Settings

FILE = "administrator"
"""Name of the file in the data folder: the login, a colon, the password."""


def ensure(settings: Settings) -> tuple[str, str]:
    """Login and password of the administrator, made where there are none yet."""
    if settings.access.admin_password is not None:
        return settings.access.admin_login, settings.access.admin_password.get_secret_value()
    path = settings.data / FILE
    if not path.exists():
        _write(path, f"{settings.access.admin_login}:{secrets.token_urlsafe(18)}")
    return _parse(path)


def read(settings: Settings) -> tuple[str, str]:
    """Login and password of the administrator of a service that was started from the data folder."""
    path = settings.data / FILE
    if settings.access.admin_password is None and not path.exists():
        message = "give --login and --password, or run from where `luna up` keeps its data (LUNA_DATA)"
        raise typer.BadParameter(message)
    return ensure(settings)


def _parse(path: Path) -> tuple[str, str]:
    login, _, password = path.read_text().strip().partition(":")
    return login, password


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a full disk or a kill in between must not leave an administrator without a password."""
    handle, unfinished = tempfile.mkstemp(prefix=f"{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
    finally:
        Path(unfinished).unlink()
