"""Documents that tests read: YAML by libyaml, which takes a tenth of what the parser in Python takes."""

from __future__ import annotations

from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Not every machine's wheel has libyaml."""


def read_yaml(text: str | bytes) -> Any:
    """The document of a text of YAML, of plain values alone."""
    return yaml.load(text, Loader=LOADER)
