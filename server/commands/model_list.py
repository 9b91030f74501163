"""`luna models list` and `show`: which packs there are, what they can do, under which terms, and how well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engines.packs import catalogue
from engines.packs.errors import PackError, PackMissing, UnknownPack
from engines.packs.manifest import Manifest, Model
from engines.packs.pack import DEFAULT, MANIFEST, load
from server.commands.client import complain
from server.commands.console import console as wide
from server.settings import Settings


def run(settings: Settings) -> int:
    """Print a table of all packs. The exit status."""
    table = Table("pack", "state", "tasks", "licence", "size")
    for name in dict.fromkeys((DEFAULT, *catalogue.names(), *installed(settings.models_folder))):
        table.add_row(*_row(settings, name))
    console = wide()
    console.print(table)
    console.print("`luna models show NAME` says more. LUNA_ENGINE__PACKS names the packs that are used, by commas.")
    return 0


def installed(folder: Path) -> list[str]:
    """Names of the packs in a folder, sorted; also of those that are damaged."""
    return sorted(path.parent.name for path in folder.glob(f"[a-z0-9]*/{MANIFEST}"))


def _row(settings: Settings, name: str) -> tuple[str, str, str, str, str]:
    manifest = None if name == DEFAULT else _from_catalogue(name)
    try:
        manifest = load(settings.models_folder, name).manifest
        state = "used" if name in settings.engine.packs else "installed"
    except PackMissing:
        state = "made by `luna models prepare`" if name == DEFAULT else "available"
    except PackError:
        state = "damaged"
    if manifest is None:
        return name, state, "", "", ""
    tasks = ", ".join(task.value for task in manifest.tasks)
    licence = manifest.licence + (" (to be accepted)" if manifest.accept_license else "")
    return name, state, tasks, licence, _megabytes(sum(file.size for file in manifest.files))


def _from_catalogue(name: str) -> Manifest | None:
    try:
        return catalogue.manifest(name)
    except UnknownPack:
        return None


def show(settings: Settings, name: str) -> int:
    """Print a manifest for people: the installed one, or the catalogue's. The exit status."""
    try:
        manifest, state = load(settings.models_folder, name).manifest, f"installed in {settings.models_folder / name}"
    except PackMissing as missing:
        known = _from_catalogue(name)
        if known is None:
            complain(missing)
            return 1
        manifest, state = known, "not installed"
    except PackError as error:
        complain(error)
        return 1
    Console().print("\n".join(described(manifest, state)), markup=False, highlight=False, soft_wrap=True)
    return 0


def described(manifest: Manifest, state: str) -> Iterator[str]:
    """The lines about a pack."""
    yield f"{manifest.name}, version {manifest.version}: {state}"
    if manifest.description:
        yield manifest.description
    yield f"licence    {manifest.licence}" + ("; it has to be accepted" if manifest.accept_license else "")
    yield f"source     {manifest.source}"
    for model in manifest.models:
        yield ""
        yield from _model(model)
    yield ""
    for file in manifest.files:
        yield f"{file.name}  {file.size} bytes  sha256 {file.sha256}"
        if file.url or file.archive:
            yield f"           from {file.url or (file.archive and file.archive.url)}"


def _model(model: Model) -> Iterator[str]:
    yield f"{model.task.value}, run by {model.adapter}: {', '.join(model.files.values())}"
    if model.version is not None:
        yield f"  version  {model.version}, {model.dimensions} dimensions"
        if model.calibration is None:
            yield "           not calibrated: `luna models calibrate` does it"
        else:
            map_ = f"1 / (1 + exp({model.calibration.steepness:g} (d - {model.calibration.midpoint:g})))"
            yield f"           similarity {map_}: {model.calibration.data}"
    yield f"  licence  {model.licence}"
    if model.condition:
        yield f"  note     {model.condition}"
    for one in model.accuracy:
        whose = "measured by Luna" if one.measured_by == "luna" else "the publisher's figure"
        yield f"  {one.metric} {one.value:g} on {one.data} ({whose})"
    if not model.accuracy:
        yield "  accuracy not measured"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
