"""Handlers and verifiers."""

from __future__ import annotations

from server.errors.families import Forbidden, NotFound
from server.errors.tree import LunaError


class HandlerNotFound(NotFound):
    """Handler with id '{handler_id}' not found"""

    code = 34000


class VerifierNotFound(NotFound):
    """Verifier with id '{verifier_id}' not found"""

    code = 34004


class OnlyDynamicHandlers(Forbidden):
    """Handler with id '{handler_id}' is not dynamic, and only dynamic handlers are allowed here"""

    code = 34007


class HandlerCorrupted(LunaError):
    """Handler with id '{handler_id}' is corrupted: {message}"""

    code = 34002
