"""What packs say of their face descriptors: which version is made, and what its similarities mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engines.packs.errors import PackDamaged
from engines.packs.manifest import Model, Task
from engines.packs.pack import Pack
from server.domain.descriptors import Calibration
from server.settings import Engine


def chosen_version(installed: Sequence[Pack], settings: Engine) -> int:
    """The version that is made where none is named.

    Raises:
        PackDamaged: no pack makes the wanted one, or any.
    """
    models = _describers(installed)
    wanted = settings.descriptor_version
    if wanted:
        versions = dict.fromkeys(model.version or 0 for model in models)
        if wanted not in versions:
            known = ", ".join(map(str, versions)) or "none"
            raise PackDamaged(f"descriptor version {wanted} is wanted, and the packs make {known}")
        return wanted
    if settings.flip_averaging:
        models = [model for model in models if model.options.get("flip")] or models
    if not models:
        names = ", ".join(pack.manifest.name for pack in installed)
        raise PackDamaged(f"none of the packs {names} has a model for {Task.FACE_DESCRIPTOR.value}")
    return models[0].version or 0


def calibrations(installed: Sequence[Pack]) -> Mapping[int, Calibration]:
    """Calibrations in the manifests, by the version of the descriptors; of two packs, the first one's."""
    return {
        model.version: Calibration(model.calibration.steepness, model.calibration.midpoint)
        for model in reversed(_describers(installed))
        if model.version is not None and model.calibration is not None
    }


def _describers(installed: Sequence[Pack]) -> list[Model]:
    return [model for pack in installed for model in pack.models(Task.FACE_DESCRIPTOR)]
