"""The documentation says what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from server.commands.configuration import reference
from server.commands.wrong_settings import fields
from server.settings import PASSWORD
from server.version import VERSION

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_table_of_settings_is_that_of_the_code() -> None:
    assert reference() in (ROOT / "docs" / "reference" / "settings.md").read_text()


def test_every_setting_that_the_documentation_names_is_one() -> None:
    known = {name for name, _ in fields()} | {PASSWORD}
    # the changelog also names what was; a name that ends with "_" stands for several
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "THREAT_MODEL.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        (page.name, name) for page in pages for name in re.findall(r"\bLUNA_[A-Z0-9_]*[A-Z0-9]\b", page.read_text())
    }
    assert [one for one in sorted(named) if one[1] not in known] == []


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == ".".join(map(str, VERSION))


def test_every_link_to_a_file_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "THREAT_MODEL.md", *(ROOT / "docs").rglob("*.md")]
    lost = []
    for page in pages:
        text = page.read_text()
        linked = [page.parent / target for target in re.findall(r"\]\(([^)#:]+)\)", text)]
        named = [
            ROOT / name
            for name in re.findall(r"`((?:docs|server|storage|engines|gateway|envoy|tests)/[\w/.-]+)`", text)
        ]
        lost += [f"{page.name}: {one}" for one in (*linked, *named) if not one.exists()]
    assert lost == []
