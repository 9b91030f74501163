"""Errors of lambdas' requests.

Refused             an answer in LUNA's form of errors, raised
└── BadRequest      400: the request is wrong
"""

from __future__ import annotations

from .response import Response

BAD_REQUEST = 400
BAD_JSON = 12022
"""LUNA's code of a JSON body that breaks its schema (contract, error codes)."""


class Refused(Exception):
    """Ends a request with an error in LUNA's form. It is an answer, not a failure: nothing is logged.

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
    """The request is wrong: 400, with LUNA's code of wrong JSON unless another one is given."""

    def __init__(self, detail: str, *, error_code: int = BAD_JSON, desc: str = "Bad request") -> None:
        super().__init__(BAD_REQUEST, detail, error_code=error_code, desc=desc)
