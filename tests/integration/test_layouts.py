"""Which descriptors tasks compare, and what their similarities mean: from manifests, or from a shared engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import EngineFailure
from server.number_application import LayoutsOnDemand
from server.settings import Engine, Settings
from tests.engines import SECRET, EngineProcess, engine
from tests.packs import default_pack, models_folder


async def test_a_shared_engine_and_the_packs_it_has_tell_the_same() -> None:
    default_pack()
    own = await LayoutsOnDemand(Settings(models=models_folder(), engine=Engine()))()
    process: EngineProcess
    async with engine() as process:
        shared = await LayoutsOnDemand(Settings(engine=Engine(address=process.address, secret=SECRET)))()
    assert own == shared
    assert own.specs[own.face_version].calibration is not None


async def test_a_wanted_version_is_taken_and_one_that_no_pack_makes_is_refused() -> None:
    default_pack()
    wanted = await LayoutsOnDemand(Settings(models=models_folder(), engine=Engine(descriptor_version=1002)))()
    assert wanted.face_version == 1002
    with pytest.raises(EngineFailure, match="1904 is wanted, and the packs make 1001, 1002"):
        await LayoutsOnDemand(Settings(models=models_folder(), engine=Engine(descriptor_version=1904)))()


async def test_a_pack_that_is_missing_is_named_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(EngineFailure, match="luna models prepare"):
        await LayoutsOnDemand(Settings(models=tmp_path, engine=Engine()))()
