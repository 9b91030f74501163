"""Paths that another process serves (`proxied` in `luna.rest`), as OpenAPI has them: any verb, body and answer."""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor import MethodDescriptor

from gateway.failures import failures_on_the_way, responses
from gateway.schemas import Schema

PROXIED_VERBS: Final = ("POST", "GET", "PUT", "PATCH", "DELETE", "HEAD")
"""The verbs that are handed on, the usual one first. OPTIONS is answered like everywhere."""

_ANY: Final = "*/*"


def body_and_answers(method: MethodDescriptor, verb: str) -> Schema:
    """What a call by a verb may bring, and how it is answered."""
    head = verb == "HEAD"
    answer: Schema = {"description": "Whatever the program answers, its status too."}
    if not head:
        answer["content"] = {_ANY: {"schema": {}}}
    made: Schema = {} if verb in {"GET", "HEAD"} else {"requestBody": {"content": {_ANY: {"schema": {}}}}}
    return {**made, "responses": {"default": answer, **responses(failures_on_the_way(method), body=not head)}}
