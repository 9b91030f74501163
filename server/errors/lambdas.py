"""Lambdas: users' own programs."""

from __future__ import annotations

from server.errors.families import Conflict, InvalidInput, NotFound, Unavailable
from server.errors.parts import FunctionOff
from server.errors.tree import LunaError


class LambdaNotFound(NotFound):
    """Lambda with id '{lambda_id}' not found"""

    code = 42001


class LambdaNameTaken(Conflict):
    """Lambda with name '{lambda_name}' already exists"""

    code = 42003


class LambdaFailed(LunaError):
    """The lambda's own code failed: {message}"""

    code = 42004


class BadLambda(InvalidInput):
    """The lambda is not valid: {message}"""

    code = 42005


class LambdaNotUpdated(LunaError):
    """Lambda with id '{lambda_id}' could not be updated: {message}"""

    code = 42006


class LambdaArchiveGone(LunaError):
    """The archive of lambda with id '{lambda_id}' is gone: replace the lambda"""

    code = 42012
    desc = "Object not found"
    status = 410


class LambdaNotRunning(Unavailable):
    """Lambda with id '{lambda_id}' does not run, its status is '{status}'"""


class NoIsolation(FunctionOff):
    """Lambdas cannot be kept apart from this server, so that none is taken: {message}"""

    code = 11072


class TooManyLambdas(InvalidInput):
    """The account has {count} lambdas, and may have {limit}"""

    code = 42005


class Diverted(InvalidInput):
    """Handler with id '{handler_id}' is a lambda, which takes its requests by CallHandlerLambda"""
