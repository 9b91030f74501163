"""Packs that tests make of networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from engines.packs.pack import MANIFEST, Pack, load, sha256
from tests.unit.engines.graphs import constant


def made(folder: Path, name: str, models: Sequence[dict[str, object]]) -> Pack:
    """A pack of networks that are in its folder already."""
    home = folder / name
    files = [
        {"name": path.name, "size": path.stat().st_size, "sha256": sha256(path)} for path in sorted(home.glob("*.onnx"))
    ]
    terms = {"licence": "mine", "source": "me"}
    whole = {"format": 2, "name": name, "version": "1", **terms, "files": files}
    (home / MANIFEST).write_text(json.dumps({**whole, "models": [{**terms, **model} for model in models]}))
    return load(folder, name)


def optional(folder: Path, models: Path) -> Pack:
    """A pack of optional networks: some of a folder that has them, and one that always sees the same emotion."""
    names = {
        "liveness": ("minifasnet", "antispoof_minifasnetv2se.onnx"),
        "gender": ("gender_dlib", "gender_dlib.onnx"),
        "body_detection": ("fastestdet", "fastestdet.onnx"),
    }
    (folder / "all").mkdir()
    constant(folder / "all" / "fer.onnx", (112, 112), [0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0])
    for _, name in names.values():
        (folder / "all" / name).write_bytes((models / name).read_bytes())
    described: list[dict[str, object]] = [
        {"task": task, "adapter": word, "files": {"network": name}} for task, (word, name) in names.items()
    ]
    described.append({"task": "emotions", "adapter": "expression", "files": {"network": "fer.onnx"}})
    return made(folder, "all", described)
