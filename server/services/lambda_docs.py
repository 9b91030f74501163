"""The descriptions of lambdas, as YAML and as a page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from luna.v6 import lambdas_pb2 as pb

from server.errors import NotAcceptable
from server.rpc.accept import choose

YAML: Final = "application/x-yaml"
HTML: Final = "text/html"
AT_ONCE: Final = 2
"""Pages that are made at the same time: anybody may ask for one."""


class LambdaDocuments:
    """Answers with what a lambda is said to do.

    Args:
        page: makes the page of a lambda's description, from the id and the description in YAML.
    """

    def __init__(self, page: Callable[[str, str], bytes]) -> None:
        self._page = page
        self._places = asyncio.Semaphore(AT_ONCE)

    def chosen(self, accept: str) -> str:
        """The form that a client wants; YAML where anything will do.

        Raises:
            NotAcceptable: it wants neither form.
        """
        media = choose(accept, (YAML, HTML))
        if media is None:
            raise NotAcceptable(content_type=accept, allowed=f"{YAML}, {HTML}")
        return media

    async def answer(self, lambda_id: str, text: str, media: str) -> pb.LambdaDocs:
        """A description in one of the forms."""
        if media == YAML:
            return pb.LambdaDocs(data=text.encode(), content_type=YAML)
        async with self._places:
            data = await asyncio.to_thread(self._page, lambda_id, text)
        return pb.LambdaDocs(data=data, content_type=f"{HTML}; charset=utf-8")
