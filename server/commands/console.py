"""Where commands print."""

from __future__ import annotations

from rich.console import Console

WIDTH = 160
"""Columns where nobody looks: in files and pipes a table must not lose columns to the 80 of an old terminal."""


def console() -> Console:
    """The terminal as wide as it is; a file or a pipe as wide as tables need."""
    found = Console()
    return found if found.is_terminal else Console(width=max(WIDTH, found.width))
