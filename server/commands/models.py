"""`luna models`: model packs, with the progress of what takes long."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engines.packs.errors import PackError
from engines.packs.pack import DEFAULT, Pack, load
from engines.packs.prepare import is_prepared, prepare
from server.commands.client import complain
from server.settings import Settings


def run(settings: Settings) -> int:
    """Make the default pack, and see that the other packs that the settings name are there. The exit status."""
    try:
        ensure(settings, Console())
    except (PackError, OSError) as error:
        complain(error)
        return 1
    return 0


def ensure(settings: Settings, console: Console) -> list[Pack]:
    """The packs that the settings name. The default one is made where it is not there; nothing is ever downloaded.

    Raises:
        PackError: a pack is not there, cannot be made, or is damaged.
    """
    return [
        _default(settings, console) if name == DEFAULT else _installed(settings, name, console)
        for name in dict.fromkeys(settings.engine.packs)
    ]


def _installed(settings: Settings, name: str, console: Console) -> Pack:
    pack = load(settings.models_folder, name)
    console.print(f"model pack '{name}' is ready")
    return pack


def _default(settings: Settings, console: Console) -> Pack:
    """A bar on a terminal, plain lines elsewhere."""
    folder, landmarks68 = settings.models_folder, settings.engine.landmarks68
    if is_prepared(folder, DEFAULT, landmarks68=landmarks68):
        console.print(f"model pack '{DEFAULT}' is ready")
        return prepare(folder, DEFAULT, landmarks68=landmarks68, progress=lambda *_: None)
    if not console.is_terminal:
        return prepare(
            folder,
            DEFAULT,
            landmarks68=landmarks68,
            progress=lambda file, done, total: console.print(
                f"preparing model pack '{DEFAULT}': {file} ({done}/{total})"
            ),
        )
    columns = (TextColumn("model pack"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("", total=None)
        pack = prepare(
            folder,
            DEFAULT,
            landmarks68=landmarks68,
            progress=lambda file, done, total: bar.update(task, description=file, completed=done, total=total),
        )
        bar.update(task, description="ready")
    return pack
