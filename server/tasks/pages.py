"""Pages of HTML that show results: each needs nothing but itself, and may load nothing."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from server.domain.tasks import HTML_RESULT, TaskResult

STYLE = "style.css"


def page(template: str, **values: object) -> TaskResult:
    """A page of a template in `server/tasks/pages`. What is no `Markup` is escaped; pictures are data URIs."""
    templates = _templates()
    style = templates.get_template(STYLE).render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    made = templates.get_template(template).render(style=style, policy=policy, **values)
    return TaskResult(made.encode(), HTML_RESULT)


def data_uri(jpeg: bytes) -> str:
    """A picture that is in its address."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("server.tasks", "pages"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
