"""Pages of the documentation: they need nothing from elsewhere, obey no text, and are found by their names alone."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from gateway import headers, markup
from gateway.documentation import Documentation
from gateway.documents import write_text
from gateway.manual import ERRORS, INDEX, Manual, Source, pictures, sources
from server.errors import catalogue
from tests.edge import services

DOCUMENTATION = Documentation(services())
MANUAL = Manual(sources(), pictures())
TEXT = "text/plain; charset=utf-8"


class Page(HTMLParser):
    """What a page has: its anchors, its links, what it loads, and the texts of some elements."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.policy = ""
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._inside = tag
        if "id" in given:
            self.anchors.append(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        self.loads += [given[name] for name in ("src", "srcset", "action", "data", "style", "onclick") if name in given]
        if tag == "link":
            self.loads.append(given.get("href", ""))

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def pages() -> dict[str, Page]:
    made = {f"/docs/dev/{path}": MANUAL.page(path) for path in MANUAL.paths}
    html = {path: found[0] for path, found in made.items() if found is not None and found[1] == markup.MEDIA_TYPE}
    return {path: Page(data) for path, data in {**html, "/docs/spec": DOCUMENTATION.specification_page()}.items()}


PAGES = pages()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_nothing_and_its_policy_allows_nothing_else(path: str) -> None:
    page = PAGES[path]
    assert [one for one in page.loads if not re.fullmatch(r"data:image/(jpeg|png);base64,[\w+/]+=*", one)] == []
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.texts[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.policy
    assert "default-src 'none'" in page.policy
    assert "unsafe" not in page.policy


@pytest.mark.parametrize("path", PAGES)
def test_every_link_inside_leads_to_a_page_and_to_an_anchor_of_it(path: str) -> None:
    for link in PAGES[path].links:
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        target = target or path
        assert target in PAGES or target.removeprefix("/docs/dev/") in MANUAL.paths, link
        assert not anchor or anchor in PAGES[target].anchors, link


@pytest.mark.parametrize("path", PAGES)
def test_the_anchors_of_a_page_are_its_own(path: str) -> None:
    anchors = PAGES[path].anchors
    assert len(set(anchors)) == len(anchors)


def test_every_error_has_an_anchor_where_errors_link_to() -> None:
    anchors = set(PAGES[f"/docs/dev/{ERRORS}"].anchors)
    assert {str(error.code) for error in catalogue()} <= anchors
    bare = Manual([]).page(ERRORS)
    assert bare is not None
    assert {str(error.code) for error in catalogue()} <= set(Page(bare[0]).anchors)


def test_every_operation_has_its_section() -> None:
    text = DOCUMENTATION.specification().decode()
    operations = set(re.findall(r"operationId: (\w+)", text))
    anchors = set(PAGES["/docs/spec"].anchors)
    aliases = {one for one in operations if one.startswith(("options_", "head_", "call_lambda_")) or one[-1].isdigit()}
    assert operations - aliases <= anchors


@pytest.mark.parametrize("path", [
    "../README.md", "README.md", "docs/compatibility.md", "/etc/passwd", "..", ".", "/", "tutorial", "tutorial/",
    "how-to/../index.html", "index.html/", "%2e%2e/README.md", "INDEX.HTML", "index.html\0", "manual.py", "style.css",
])  # fmt: skip
def test_only_the_names_of_pages_are_found(path: str) -> None:
    assert MANUAL.page(path) is None


def test_the_index_names_every_page() -> None:
    assert MANUAL.page("") == MANUAL.page(INDEX)
    pages = {path for path in MANUAL.paths if path.endswith(".html") and path != INDEX}
    assert {f"/docs/dev/{path}" for path in pages} <= set(PAGES[f"/docs/dev/{INDEX}"].links)


def test_a_page_leads_to_every_program_and_its_list_of_pages_names_none() -> None:
    programs = {f"/docs/dev/{path}" for path in MANUAL.paths if not path.endswith(".html")}
    assert programs
    assert programs <= {link for page in PAGES.values() for link in page.links}
    assert programs.isdisjoint(PAGES[f"/docs/dev/{INDEX}"].links)


def test_every_page_has_a_title_of_its_own() -> None:
    titles = [source.title for source in sources() if not source.program]
    assert [title for title in titles if title.endswith((".html", ".md"))] == []
    assert len(set(titles)) == len(titles)


def test_links_between_files_are_links_between_pages() -> None:
    manual = Manual([
        Source("docs/a/one.md", "a/one.html", "# One\n\n[2](../b/two.md#x) `docs/b/two.md` [3](three.md) [p](p.py)"),
        Source("docs/b/two.md", "b/two.html", "# Two\n\n## X\n\n[web](https://example.com/a.md) [top](#x)"),
        Source("docs/a/p.py", "a/p.py", "print('<b>')\n"),
    ])  # fmt: skip
    one, two = manual.page("a/one.html"), manual.page("b/two.html")
    assert one is not None
    assert two is not None
    own = [link for link in Page(one[0]).links if link in ("/docs/dev/b/two.html#x", "three.md")]
    assert own == ["/docs/dev/b/two.html#x", "three.md"]
    assert Page(one[0]).links.count("/docs/dev/b/two.html") == 2
    assert {"https://example.com/a.md", "#x"} <= set(Page(two[0]).links)
    assert manual.page("a/p.py") == (b"print('<b>')\n", TEXT)


def test_pictures_are_part_of_the_pages_that_show_them() -> None:
    text = "# One\n\n![a](../b/c.png) ![other](d.png)"
    page = Manual([Source("docs/a/one.md", "a/one.html", text)], {"docs/b/c.png": b"bytes"}).page("a/one.html")
    assert page is not None
    assert Page(page[0]).loads == [f"data:image/png;base64,{base64.b64encode(b'bytes').decode()}", "d.png"]


def test_html_in_descriptions_is_shown_and_not_obeyed() -> None:
    assert "<script>" not in markup.markdown("a <script>alert(1)</script> [x](javascript:alert(1))")
    assert 'href="javascript' not in markup.markdown("[x](javascript:alert(1))")
    page = markup.page("manual.html.j2", path="", title="<img>", body="<img>", headings=[], groups=[])
    assert b"<img>" not in page


def test_settings_as_text_are_a_line_each() -> None:
    value = {"A": {"b": 1, "c": {"d": "x y", "e": []}}, "F": None, "G": "a\u2028b", "H": ""}
    lines = ["A.b = 1", "A.c.d = x y", "A.c.e = []", "F = null", 'G = "a\u2028b"', "H ="]
    assert write_text(value).decode() == "\n".join(lines) + "\n"


def test_names_of_files_cannot_leave_their_header() -> None:
    for name in ('a"; x=1', "a\r\nb: c", "é.png", "a/../b"):
        value = dict(headers.of_content("a/b", name))["content-disposition"]
        assert value.startswith("attachment; filename*=UTF-8''")
        assert re.fullmatch(r"[A-Za-z0-9%._~-]+", value.partition("''")[2])
    assert ("content-disposition", "attachment; filename=a-b.c_1") in list(headers.of_content("a/b", "a-b.c_1"))
