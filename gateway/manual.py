"""The manual: the project's Markdown as pages, by a dictionary of what there is. No path is ever looked up on a disk.

README.md and the other files beside it are pages at the top; those of `docs/` keep their folders. Programs and
manifests in `docs/` are text, and pictures are part of the pages that show them.
"""

from __future__ import annotations

import base64
import posixpath
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from gateway import markup
from server.errors import reference

INDEX = "index.html"
ERRORS = "errors.html"
"""Where the links in errors lead."""
TEXT = "text/plain; charset=utf-8"

_TOP = {
    "README.md": "readme.html",
    "ARCHITECTURE.md": "architecture.html",
    "THREAT_MODEL.md": "threat-model.html",
    "CHANGELOG.md": "changelog.html",
}
_PLACED = {"docs/reference/errors.md": ERRORS}
_GROUPS = {"": "Luna", "tutorial": "Tutorial", "how-to": "How to", "reference": "Reference",
           "explanation": "Explanation", "adr": "Decisions"}  # fmt: skip
_PICTURES = {".jpg": "image/jpeg", ".png": "image/png"}
_HEADING = re.compile(r"^##+ (.+)$", re.MULTILINE)
_NO_PROSE = re.compile(r"[#|`<-]|\d+\. ")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the manual: its name in the project, its path below the manual, its text."""

    name: str
    path: str
    text: str

    @property
    def title(self) -> str:
        """The first heading, or the file's name."""
        if self.name == "README.md":
            return "About"
        match = None if self.program else _TITLE.search(self.text)
        return match[1].replace("`", "") if match else posixpath.relpath(self.path, self.folder or ".")

    @property
    def program(self) -> bool:
        """True for what is shown as it is."""
        return not self.name.endswith(".md")

    @property
    def folder(self) -> str:
        """The kind of page."""
        folder, below, _ = self.path.partition("/")
        return "reference" if self.path == ERRORS else folder if below else ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a page."""

    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A page in the list of pages; `words` is what a search looks at."""

    path: str
    title: str
    words: str


@dataclass(frozen=True, slots=True)
class Group:
    """Pages of one kind."""

    name: str
    pages: tuple[Entry, ...]


class Manual:
    """The pages of the manual, rendered when they are first asked for. `pictures` are bytes by names in the project."""

    def __init__(self, sources: Iterable[Source], pictures: Mapping[str, bytes] = MappingProxyType({})) -> None:
        found = {source.path: source for source in sources}
        found.setdefault(ERRORS, Source("errors.md", ERRORS, f"# Errors\n\n{reference()}"))
        self._sources = found
        self._by_name = {source.name: source.path for source in found.values()}
        self._pictures = pictures
        self._made: dict[str, tuple[bytes, str]] = {}

    def page(self, path: str) -> tuple[bytes, str] | None:
        """Bytes and media type of the page at a path below the manual; None where there is none. "" is the index."""
        path = path or INDEX
        if path not in self._made:
            if path == INDEX:
                self._made[path] = (self._index(), markup.MEDIA_TYPE)
            elif path in self._sources:
                self._made[path] = self._rendered(self._sources[path])
            else:
                return None
        return self._made[path]

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that has a page."""
        return (INDEX, *self._sources)

    def _rendered(self, source: Source) -> tuple[bytes, str]:
        if source.program:
            return source.text.encode(), TEXT
        renderer = MarkdownIt("commonmark").enable("table")
        tokens = renderer.parse(source.text)
        headings = list(_anchored(tokens))
        self._link(tokens, posixpath.dirname(source.name))
        html = renderer.renderer.render(tokens, renderer.options, {})
        body = Markup(html.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>"))  # noqa: S704 the project's own files
        return self._page(source.path, source.title, body, headings), markup.MEDIA_TYPE

    def _index(self) -> bytes:
        parts = [Markup("<h1>Luna</h1>")]
        if "readme.html" in self._sources:
            first = _paragraph(self._sources["readme.html"].text)
            parts.append(markup.markdown(first))
        parts.append(Markup('<p><a href="/docs/spec">The REST API, operation by operation</a></p>'))
        for group in self._groups:
            rows = Markup("").join(
                Markup('<li><a href="/docs/dev/{}">{}</a></li>').format(entry.path, entry.title)
                for entry in group.pages
            )
            parts.append(Markup("<h2>{}</h2><ul>{}</ul>").format(group.name, rows))
        return self._page(INDEX, "Manual", Markup("\n").join(parts), [])

    def _page(self, path: str, title: str, body: Markup, headings: list[Heading]) -> bytes:
        return markup.page("manual.html.j2", path=path, title=title, body=body, headings=headings, groups=self._groups)

    @cached_property
    def _groups(self) -> tuple[Group, ...]:
        known = tuple(self._sources.values())
        folders = dict.fromkeys((*_GROUPS, *(source.folder for source in known)))
        made = []
        for folder in folders:
            entries = tuple(
                Entry(source.path, source.title, " ".join((source.title, *_HEADING.findall(source.text))).lower())
                for source in known
                if source.folder == folder and not source.program  # the pages that are about them lead there
            )
            if entries:
                made.append(Group(_GROUPS.get(folder, folder), entries))
        return tuple(made)

    def _link(self, tokens: Iterable[Token], folder: str) -> None:
        """Let links between files be links between pages, names of files too, and let pages have their pictures."""
        for token in tokens:
            for child in token.children or ():
                if child.type == "link_open":
                    child.attrSet("href", self._target(str(child.attrGet("href")), folder))
                if child.type == "image":
                    child.attrSet("src", self._picture(str(child.attrGet("src")), folder))
            token.children = [one for child in token.children or () for one in self._named(child)] or token.children

    def _target(self, href: str, folder: str) -> str:
        path, _, anchor = href.partition("#")
        if ":" in path or path.startswith("/") or not path:
            return href
        found = self._by_name.get(posixpath.normpath(posixpath.join(folder, path)))
        return f"/docs/dev/{found}{'#' if anchor else ''}{anchor}" if found else href

    def _picture(self, src: str, folder: str) -> str:
        name = posixpath.normpath(posixpath.join(folder, src))
        if name not in self._pictures:
            return src
        data = base64.b64encode(self._pictures[name]).decode("ascii")
        return f"data:{_PICTURES[posixpath.splitext(name)[1]]};base64,{data}"

    def _named(self, token: Token) -> Iterator[Token]:
        found = self._by_name.get(token.content) if token.type == "code_inline" else None
        if found is None:
            yield token
            return
        yield Token("link_open", "a", 1, attrs={"href": f"/docs/dev/{found}"})
        yield token
        yield Token("link_close", "a", -1)


def sources() -> Iterator[Source]:
    """The files of the manual: beside the package in a checkout, inside it in a wheel."""
    root = _root()
    if root is None:
        return
    for name, path in _TOP.items():
        if (root / name).is_file():
            yield Source(name, path, (root / name).read_text(encoding="utf-8"))
    for name, file in _files(root, {".md", ".py", ".yaml"}):
        below = name.removeprefix("docs/")
        path = _PLACED.get(name, f"{below.removesuffix('.md')}.html" if file.suffix == ".md" else below)
        yield Source(name, path, file.read_text(encoding="utf-8"))


def pictures() -> dict[str, bytes]:
    """The pictures of the manual, by their names in the project."""
    root = _root()
    return {} if root is None else {name: file.read_bytes() for name, file in _files(root, _PICTURES)}


def _root() -> Path | None:
    package = Path(__file__).resolve().parent
    return next((one for one in (package / "manual_source", package.parent) if (one / "docs").is_dir()), None)


def _files(root: Path, kinds: Container[str]) -> Iterator[tuple[str, Path]]:
    for file in sorted((root / "docs").rglob("*")):
        if file.is_file() and file.suffix in kinds:
            yield file.relative_to(root).as_posix(), file


def _anchored(tokens: list[Token]) -> Iterator[Heading]:
    """Give every heading an anchor; those of the second level are the page's list."""
    taken: set[str] = set()
    for token, inline in pairwise(tokens):
        if token.type != "heading_open":
            continue
        text = "".join(child.content for child in inline.children or ())
        anchor = re.sub(r"[^\w]+", "-", text.lower()).strip("-") or "section"
        while anchor in taken:
            anchor += "-"
        taken.add(anchor)
        token.attrSet("id", anchor)
        if token.tag == "h2":
            yield Heading(anchor, text)


def _paragraph(text: str) -> str:
    """The first paragraph after the title."""
    blocks = [block.strip() for block in _TITLE.sub("", text, count=1).split("\n\n") if block.strip()]
    return next((" ".join(block.split()) for block in blocks if not _NO_PROSE.match(block)), "")
