"""The prepared pack, its networks and dlib as the independent reference, shared by the engine's tests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cv2
import dlib
import matplotlib.cbook
import numpy as np
import pytest
import pytest_asyncio
import skimage.data

from engines.engine import DefaultEngine
from engines.packs import pack as packs
from engines.packs import sources
from engines.packs.pack import Pack
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.vision.decoding import Image
from engines.vision.detector import Detector
from engines.vision.landmarks import LandmarkPredictor
from server.settings import Engine
from tests.packs import default_pack

CORES = os.cpu_count() or 1


@pytest.fixture(scope="session")
def pack() -> Pack:
    return default_pack()


@pytest.fixture(scope="session")
def runtime() -> OnnxRuntime:
    return OnnxRuntime(threads=1)


@pytest.fixture(scope="session")
def detector(pack: Pack, runtime: OnnxRuntime) -> Detector:
    names = packs.PROPOSAL, packs.REFINEMENT, packs.OUTPUT
    proposal, refinement, output = (runtime.load(pack.path(name)) for name in names)
    return Detector(proposal, refinement, output)


@pytest.fixture(scope="session")
def landmarks5(pack: Pack) -> LandmarkPredictor:
    return LandmarkPredictor(pack.path(packs.LANDMARKS5))


@pytest.fixture(scope="session")
def landmarks68(pack: Pack) -> LandmarkPredictor:
    return LandmarkPredictor(pack.path(packs.LANDMARKS68))


@pytest_asyncio.fixture(scope="session")
async def engine(pack: Pack) -> AsyncIterator[DefaultEngine]:
    engine = DefaultEngine([pack], Engine(landmarks68=True))
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture(scope="session")
def astronaut() -> Image:
    return np.ascontiguousarray(skimage.data.astronaut())


@pytest.fixture(scope="session")
def hopper() -> Image:
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as stream:
        encoded = np.frombuffer(stream.read(), np.uint8)
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


@pytest.fixture(scope="session")
def photos(request: pytest.FixtureRequest) -> Path:
    folder = request.config.rootpath.parent / "shared" / "data" / "photos"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="session")
def shared_models(request: pytest.FixtureRequest) -> Path:
    folder = request.config.rootpath.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="session")
def dlib_network() -> Any:
    return dlib.face_recognition_model_v1(str(sources.installed(sources.DESCRIPTOR)))


@pytest.fixture(scope="session")
def dlib_predictor5() -> Any:
    return dlib.shape_predictor(str(sources.installed(sources.LANDMARKS5)))


@pytest.fixture(scope="session")
def dlib_predictor68() -> Any:
    return dlib.shape_predictor(str(sources.installed(sources.LANDMARKS68)))
