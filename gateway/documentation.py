"""The service's own documentation: the description of its API, and the manual. Each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from google.protobuf.descriptor import ServiceDescriptor

from gateway.manual import Manual, pictures, sources
from gateway.openapi import as_yaml, specification
from gateway.specification_page import page_of


class Documentation:
    """What is said of some services, in their order. Its methods may be called from any thread."""

    def __init__(self, services: Iterable[ServiceDescriptor]) -> None:
        self._services = tuple(services)

    def specification(self) -> bytes:
        """The OpenAPI description as YAML."""
        return self._yaml

    def specification_page(self) -> bytes:
        """The same as a page of HTML."""
        return self._page

    def page(self, path: str) -> tuple[bytes, str] | None:
        """Bytes and media type of a page of the manual; None where there is none. "" is the index."""
        return self._manual.page(path)

    @cached_property
    def _document(self) -> dict[str, object]:
        return specification(self._services)

    @cached_property
    def _yaml(self) -> bytes:
        return as_yaml(self._document)

    @cached_property
    def _page(self) -> bytes:
        return page_of(self._document)

    @cached_property
    def _manual(self) -> Manual:
        return Manual(sources(), pictures())
