"""`luna models`: preparing model packs, with its progress shown."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from engines.packs.pack import Pack
from engines.packs.prepare import is_prepared, prepare
from server.settings import Settings


def run(settings: Settings) -> None:
    """Prepare the pack that the settings name."""
    ensure(settings, Console())


def ensure(settings: Settings, console: Console) -> Pack:
    """The pack that the settings name, prepared where it is not; a bar on a terminal, plain lines elsewhere."""
    folder, name, landmarks68 = settings.models_folder, settings.engine.pack, settings.engine.landmarks68
    if is_prepared(folder, name, landmarks68=landmarks68):
        console.print(f"model pack '{name}' is ready")
        return prepare(folder, name, landmarks68=landmarks68, progress=lambda *_: None)
    if not console.is_terminal:
        return prepare(
            folder,
            name,
            landmarks68=landmarks68,
            progress=lambda file, done, total: console.print(f"preparing model pack '{name}': {file} ({done}/{total})"),
        )
    columns = (TextColumn("model pack"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("", total=None)
        pack = prepare(
            folder,
            name,
            landmarks68=landmarks68,
            progress=lambda file, done, total: bar.update(task, description=file, completed=done, total=total),
        )
        bar.update(task, description="ready")
    return pack
