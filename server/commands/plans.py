"""`luna models build`: makes TensorRT's plans for the configured packs, with progress."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from engines.packs.errors import PackError
from engines.packs.pack import load
from engines.runtime.choose import on_gpu
from engines.runtime.devices import Device, Kind, Precision
from engines.runtime.runtime import RuntimeFailure
from server.settings import Settings


def run(settings: Settings) -> int:
    """Build what is not built yet. The exit status: 0, or 1 where something is missing or cannot be built."""
    console = Console()
    try:
        networks = networks_of(settings)
        device = Device.parse(settings.engine.device)
        if device.kind is not Kind.TENSORRT:
            device = Device(Kind.TENSORRT, device.number)
            console.print(f"building for {device}: LUNA_ENGINE__DEVICE is {settings.engine.device}")
        _build(settings, device, networks, console)
    except (PackError, RuntimeFailure) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return 0


def networks_of(settings: Settings) -> list[Path]:
    """The networks of the configured packs.

    Raises:
        PackMissing, PackDamaged: a pack has not been prepared, or is not what its manifest says.
    """
    packs = [load(settings.models_folder, name) for name in dict.fromkeys(settings.engine.packs)]
    return [pack.path(file.name) for pack in packs for file in pack.manifest.files if file.name.endswith(".onnx")]


def _build(settings: Settings, device: Device, networks: list[Path], console: Console) -> None:
    columns = (
        TextColumn("{task.fields[network]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bar:
        current: list[TaskID] = []

        def progress(phase: str, done: int, total: int) -> None:
            if current:
                bar.update(current[-1], description=phase, completed=done, total=total)

        runtime = on_gpu(
            settings.engine, device, Precision(settings.engine.precision), settings.models_folder, progress
        )
        try:
            for network in networks:
                current.append(bar.add_task("", total=None, network=network.name))
                begin = time.monotonic()
                runtime.load(network)
                bar.update(current[-1], description="ready")
                console.print(f"{network.name}: ready after {time.monotonic() - begin:.1f} s")
        finally:
            runtime.close()
