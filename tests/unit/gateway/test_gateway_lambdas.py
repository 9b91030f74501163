"""What REST has of lambdas: bodies whose parts have types of their own, and a page that a stranger has written."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luna.v6 import lambdas_pb2

from gateway.body import Body
from gateway.endpoints import Forms
from gateway.lambda_page import LARGEST, lambda_page
from gateway.places import places_of
from server.errors import BadBody, BadMultipart, BadPartContentType, LunaError, MissingField, NotJson
from server.rpc.methods import Method
from tests.unit.gateway.parts import multipart

ID = "2c7e4b3a-6f0d-4a0e-9c4b-0d1e2f3a4b5c"
LAMBDAS = lambdas_pb2.DESCRIPTOR.services_by_name["Lambdas"]
ZIP = ("archive", "lambda.zip", "application/zip", b"PK\x00\xff")
NAMED = ("credentials", "credentials", "application/json", b'{"lambda_name": "one"}')
PARAMETERS = ("parameters", "parameters", "application/json", b'{"lambda_type": "handlers"}')


async def nobody(request: object, context: object) -> lambdas_pb2.Lambda:
    raise AssertionError


def read(*parts: tuple[str, str, str, bytes], name: str = "CreateLambda") -> lambdas_pb2.CreateLambdaRequest:
    method = Method(LAMBDAS.methods_by_name[name], nobody)
    request = method.request_type()
    kind, body = multipart(*parts)
    Body(method, places_of(method.descriptor), Forms().binders).read(request, kind, body)
    return request  # type: ignore[return-value] # the request of the method


def test_a_lambda_comes_in_parts() -> None:
    made = read(ZIP, NAMED, PARAMETERS)
    assert (made.archive, made.credentials.lambda_name) == (b"PK\x00\xff", "one")
    assert made.parameters.lambda_type == lambdas_pb2.LAMBDA_TYPE_HANDLERS
    assert not read(ZIP, NAMED).HasField("parameters")
    assert read(ZIP, NAMED, name="ReplaceLambda").archive == b"PK\x00\xff"
    assert read(ZIP, PARAMETERS, name="ValidateLambda").archive == b"PK\x00\xff"


@pytest.mark.parametrize(
    ("parts", "error", "named"),
    [
        ((NAMED,), MissingField, "archive"),
        ((ZIP,), MissingField, "credentials"),
        ((ZIP, ZIP, NAMED), BadMultipart, "archive"),
        ((("archive", "a.zip", "application/octet-stream", b"PK"), NAMED), BadPartContentType, "application/zip"),
        ((("archive", "a.zip", "application/json", b'"UEs="'), NAMED), BadPartContentType, "application/zip"),
        ((("archive", "a.zip", "", b"PK"), NAMED), BadPartContentType, "text/plain"),
        ((ZIP, ("credentials", "", "text/plain", b"{}")), BadPartContentType, "credentials"),
        ((ZIP, ("credentials", "", "application/zip", b"{}")), BadPartContentType, "credentials"),
        ((ZIP, ("credentials", "", "application/json", b"{")), NotJson, ""),
        ((ZIP, ("credentials", "", "application/json", b'{"name": "x"}')), BadBody, "credentials.name"),
        ((ZIP, NAMED, ("more", "", "application/json", b"{}")), BadBody, "more"),
    ],
)
def test_parts_are_held_to_their_names_and_types(
    parts: tuple[tuple[str, str, str, bytes], ...], error: type[LunaError], named: str
) -> None:
    with pytest.raises(error) as refused:
        read(*parts)
    assert named in refused.value.detail


class Page(HTMLParser):
    """What stands in a page: elements with their attributes, and text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


PLAIN = Page(lambda_page(ID, ""))
TAGS = PLAIN.tags | {"li", "span", "section", "h3", "p", "code", "a"}
"""Every element that the page itself has."""
DESCRIPTION = """
openapi: 3.1.0
info: {title: "Blur <b>", description: "It blurs"}
paths:
  /main:
    post: {summary: Blur faces, description: "All of *them*"}
    get: {}
    brew: {summary: no verb}
  /other:
    put: {summary: Other}
"""


def checked(page: Page) -> None:
    assert page.tags <= TAGS
    assert [tag for tag, _ in page.elements].count("script") == 1
    for _, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on")}
        assert (attributes.get("href") or "#").startswith(("#", "/docs/"))
        assert "src" not in attributes
    (policy,) = [
        attributes["content"] or "" for _, attributes in page.elements if attributes.get("http-equiv") is not None
    ]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_a_description_is_shown_with_its_operations() -> None:
    page = Page(lambda_page(ID, DESCRIPTION))
    checked(page)
    text = " ".join(page.texts)
    for wanted in ("Blur <b>", "It blurs", "Blur faces", "All of *them*", "/other", "brew"):
        assert wanted in text
    ids = [attributes["id"] for tag, attributes in page.elements if tag == "section" and "id" in attributes]
    assert ids == ["operation-1", "operation-2", "operation-3"]


ATTACKS = [
    "</pre><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "[a](javascript:alert(1))",
    "{{ 7 * 7 }}{% include 'base.html.j2' %}",
    "</title><style>*{display:none}</style>",
    "<!--",
    "\u2028</script>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_a_description_becomes_part_of_the_page(attack: str) -> None:
    quoted = attack.replace("\\", "\\\\").replace('"', '\\"')
    document = (
        f'info: {{title: "{quoted}", description: "{quoted}"}}\n'
        f'paths: {{"{quoted}": {{post: {{summary: "{quoted}", description: "{quoted}"}}}}}}\n'
    )
    for text in (document, attack):
        page = Page(lambda_page(ID, text))
        checked(page)
        assert attack in "".join(page.texts)
    assert "49" not in "".join(Page(lambda_page(ID, "info: {title: '{{ 7 * 7 }}'}")).texts).replace(ID, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "just text",
        "{",
        "a: &a [1]\nb: *a\n",
        "<<: {a: 1}",
        "!!python/object/apply:os.system ['true']",
        "a: 2024-13-45\n",
        "a: !!int x\n",
        "? {a: 1}\n: 2\n",
        "? [a]\n: 2\n",
        "[" * 20_000,
        "{a: " * 20_000,
        "- " * 20_000,
        "a: " + "[1, " * 60 + "1" + "]" * 60,
        "paths: [1]",
        "paths: {1: {post: 2}, /a: [post], /b: {post: [1]}}",
        "info: [title]",
        "a: 1\na: 2\n",
        "\0",
        "\ud7ff\uffff",
        "x" * (LARGEST + 1),
        "&" * 1000,
        "a: .inf\nb: 1e999999\nc: 0x" + "f" * 5000,
    ],
)
def test_any_text_has_its_page_soon(text: str) -> None:
    began = time.monotonic()
    page = lambda_page(ID, text)
    assert time.monotonic() - began < 5
    checked(Page(page))


def test_a_description_that_grows_by_references_is_not_read() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    page = lambda_page(ID, f"info: {{title: Bomb}}\n{bomb}")
    assert len(page) < 100_000
    assert not re.search(rb"<h1>Bomb", page)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_whatever_is_written_stays_text(text: str) -> None:
    checked(Page(lambda_page(ID, text)))
