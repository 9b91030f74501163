"""Pages of HTML that need nothing but themselves: their style, their script and a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt
from markupsafe import Markup

MEDIA_TYPE = "text/html; charset=utf-8"


def page(template: str, **values: object) -> bytes:
    """A page of a template in `gateway/pages`. What is no `Markup` is escaped."""
    style, script = _source("style.css"), _source("search.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_digest(style)}",
            f"script-src {_digest(script)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    made = _templates().get_template(template).render(style=style, script=script, policy=policy, **values)
    return made.encode()


def markdown(text: str) -> Markup:
    """Text in Markdown; HTML in it is shown and not obeyed."""
    return Markup(_markdown().render(text))  # noqa: S704 the renderer escapes what it is given


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("gateway", "pages"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _source(name: str) -> Markup:
    return Markup(files("gateway").joinpath("pages", name).read_text(encoding="utf-8"))  # noqa: S704 our own file


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
