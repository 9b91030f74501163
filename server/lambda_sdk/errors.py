"""What may be raised, and caught, in the code of a lambda.

Refused             an answer in LUNA's form of errors, raised
└── BadRequest      400: the request is wrong
PlatformError       the service refused a call, or could not do it
"""

from __future__ import annotations

from .response import Response

BAD_REQUEST = 400
BAD_JSON = 12022
"""LUNA's code of a body that breaks its schema (contract, error codes)."""


class Refused(Exception):
    """Ends a request with an error in LUNA's form. It is an answer and no failure: nothing is logged.

    Attributes:
        status: of HTTP, 400 or more.
        error_code: LUNA's, or one of the lambda's own.
        desc: the kind of error, in a few words.
        detail: what exactly is wrong.
    """

    def __init__(self, status: int, detail: str, *, error_code: int = 0, desc: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.error_code = error_code
        self.desc = desc or detail
        self.detail = detail

    def answer(self) -> Response:
        """The error as an answer."""
        body = {"error_code": self.error_code, "desc": self.desc, "detail": self.detail, "link": ""}
        return Response(body, status=self.status)


class BadRequest(Refused):
    """The request is wrong: 400, with LUNA's code of a wrong body unless another one is given."""

    def __init__(self, detail: str, *, error_code: int = BAD_JSON, desc: str = "Bad request") -> None:
        super().__init__(BAD_REQUEST, detail, error_code=error_code, desc=desc)


class PlatformError(Exception):
    """The service refused a call, or could not do it.

    Attributes:
        code: gRPC's, by its name: NOT_FOUND, INVALID_ARGUMENT, UNAVAILABLE, ...
        reason: the service's own, as its protos name it: FACE_NOT_FOUND, ...; empty where the service was not reached.
        error_code: LUNA's; 0 where the service was not reached.
        desc: the kind of error, in LUNA's words.
        detail: what exactly is wrong.
    """

    def __init__(self, code: str, detail: str, *, reason: str = "", error_code: int = 0, desc: str = "") -> None:
        super().__init__(f"{reason or code}: {detail}")
        self.code = code
        self.reason = reason
        self.error_code = error_code
        self.desc = desc
        self.detail = detail
