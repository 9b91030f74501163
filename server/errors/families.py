"""The families of the tree, one for each way in which a caller can go on.

A member changes the code, and the `desc` where LUNA has another one; status and gRPC code stay those of its family.
"""

from __future__ import annotations

from server.errors.tree import LunaError


class InvalidInput(LunaError):
    """{message}"""

    code = 12031
    desc = "Bad/incomplete input data"
    status = 400


class Unauthenticated(LunaError):
    """{message}"""

    code = 11065
    desc = "Authorization failed"
    status = 401


class Forbidden(LunaError):
    """{message}"""

    code = 12033
    desc = "Forbidden"
    status = 403


class NotFound(LunaError):
    """{message}"""

    code = 12013
    desc = "Object not found"
    status = 404


class MethodNotAllowed(LunaError):
    """Path '{path}' does not serve {method}, allowed are: {allowed}"""

    code = 12021
    desc = "Method not allowed"
    status = 405


class Conflict(LunaError):
    """{message}"""

    code = 22026
    desc = "Unique constraint error"
    status = 409


class Busy(LunaError):
    """The server is busy: {message}. Try again in {retry_after} seconds"""

    code = 1
    desc = "Too many requests"
    status = 429


class Internal(LunaError):
    """Internal server error, request {request_id}"""


class DeadlineExceeded(LunaError):
    """The request took longer than its deadline"""

    code = 9
    desc = "Request timeout"
    status = 504


class Unavailable(LunaError):
    """{component} cannot be reached"""

    code = 11
    desc = "Server connection error"
    status = 502
