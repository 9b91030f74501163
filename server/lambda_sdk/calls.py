"""The call in progress, as whatever works for it may know it."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("luna_lambda_request_id", default="")
"""Its id, as in the header Luna-Request-Id; tasks that its code starts inherit it."""
