"""How a process writes its log: one line an entry, to standard error."""

from __future__ import annotations

import logging


def configure(level: str) -> None:
    """Set the log up. Libraries speak only from WARNING on: they may log addresses and parameters."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    for package in ("server", "gateway", "engines", "storage"):
        logging.getLogger(package).setLevel(level)
