"""What the service adds to its engine, beside dlib's own functions: medians of one call, all measured in one run.

Run it against a service on the same machine: `python tests/bench/overhead.py --login ... --password ...`; without them,
the administrator's of the data folder that LUNA_DATA names. It takes about a minute. Everything shares the machine's
cores, so the numbers compare with each other and not with those of another run. Through the service a detection also
stores its sample, and an extraction its attribute; the threads of the other rows are threads of this process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import cv2
import dlib
import numpy as np
import onnxruntime
import requests
from luna.v6 import attributes_pb2, images_pb2, samples_pb2
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from engines.engine import DefaultEngine
from engines.packs import pack as packs
from engines.packs.pack import Pack
from engines.vision.alignment import chip
from server import settings
from server.commands import administrator, demo_pictures, models
from server.commands.client import Belongings, Client
from server.settings import Engine, Settings

WIDTH, HEIGHT = 640, 480
ROUNDS = 8
SLICE_SECONDS = 0.3
"""How long a row is measured in each round: rows take turns, so that what else the machine does hits all alike."""

THREADS = (1, 2)

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One way to do one thing. `call` may be called from several threads at a time."""

    task: str
    way: str
    call: Call
    seconds: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in THREADS})

    def measure(self, threads: int, seconds: float) -> None:
        """Call it from so many threads until the time is over, at least once from each."""
        end = time.perf_counter() + seconds

        def repeat() -> list[float]:
            taken: list[float] = []
            while not taken or time.perf_counter() < end:
                began = time.perf_counter()
                self.call()
                taken.append(time.perf_counter() - began)
            return taken

        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(repeat) for _ in range(threads)]:
                self.seconds[threads] += done.result()


class EngineInThreads:
    """The engine in an event loop of its own, for threads to call."""

    def __init__(self, installed: list[Pack], options: Engine) -> None:
        self._engine = DefaultEngine(installed, options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> EngineInThreads:
        """Start."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._engine.start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        asyncio.run_coroutine_threadsafe(self._engine.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def warp(self, image: bytes) -> bytes:
        """The sample of the largest face."""
        return asyncio.run_coroutine_threadsafe(self._engine.detect(image), self._loop).result().faces[0].warp

    def describe(self, sample: bytes) -> object:
        """The descriptor of a sample."""
        return asyncio.run_coroutine_threadsafe(self._engine.describe([sample]), self._loop).result()


class OverGrpc:
    """The service over gRPC."""

    def __init__(self, client: Client, made: Belongings) -> None:
        self._client = client
        self._made = made

    def detect(self, image: bytes) -> str:
        """The sample of the largest face."""
        request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=image)])
        answer = self._client.call(self._client.samples.DetectFaces, request)
        sample_id = answer.images[0].detections.samples[0].face.sample_id
        self._made.sample(sample_id)
        return sample_id

    def extract(self, sample_id: str) -> None:
        """An attribute with the descriptor of a sample."""
        request = attributes_pb2.ExtractAttributesRequest(sample_ids=[sample_id])
        answer = self._client.call(self._client.attributes.ExtractAttributes, request)
        self._made.attribute(answer.attributes[0].attribute_id)


class OverRest:
    """The service over REST, which is through Envoy. Each thread has a connection of its own."""

    def __init__(self, address: str, credentials: tuple[str, str], made: Belongings, closing: ExitStack) -> None:
        self._address = address
        self._credentials = credentials
        self._made = made
        self._closing = closing
        self._local = threading.local()

    def detect(self, image: bytes) -> None:
        """The sample of the largest face."""
        answer = self._session.post(
            f"{self._address}/6/detector", data=image, headers={"Content-Type": "image/jpeg"}, timeout=30
        )
        answer.raise_for_status()
        self._made.sample(answer.json()["images"][0]["detections"]["samples"][0]["face"]["sample_id"])

    def extract(self, sample_id: str) -> None:
        """An attribute with the descriptor of a sample."""
        answer = self._session.post(f"{self._address}/6/extractor", json=[sample_id], timeout=30)
        answer.raise_for_status()
        self._made.attribute(answer.json()[0]["attribute_id"])

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = self._closing.enter_context(requests.Session())
            self._local.session.auth = self._credentials
            self._local.session.trust_env = False
        session: requests.Session = self._local.session
        return session


@contextmanager
def rows(configuration: Settings, arguments: argparse.Namespace, console: Console) -> Iterator[Sequence[Row]]:
    """Everything that is measured. What is made in the service for it is deleted behind it."""
    credentials = arguments.login, arguments.password
    if not arguments.login:
        credentials = administrator.read(configuration)
    installed = models.ensure(configuration, console)
    pack = next(one for one in installed if one.has(packs.DESCRIPTOR))
    image = photo()
    with ExitStack() as stack:
        client = stack.enter_context(Client(arguments.grpc, credentials))
        made = stack.enter_context(Belongings(client))
        grpc_side = OverGrpc(client, made)
        rest = OverRest(arguments.rest.rstrip("/"), credentials, made, stack)
        engine = stack.enter_context(EngineInThreads(installed, configuration.engine))
        warp = engine.warp(image)
        sample_id = grpc_side.detect(image)
        face = chip(np.asarray(cv2.cvtColor(demo_pictures.decoded(warp), cv2.COLOR_BGR2RGB), np.uint8))
        session = descriptor_session(pack, configuration.engine.threads)
        planes = np.ascontiguousarray(face.transpose(2, 0, 1)[None], np.float32)
        detector = dlib.get_frontal_face_detector()
        network = dlib.face_recognition_model_v1(str(dlib_network()))
        detection = f"detection, {WIDTH}x{HEIGHT}"
        description = "descriptor"
        yield (
            Row(detection, "Luna over gRPC", lambda: grpc_side.detect(image)),
            Row(detection, "Luna over REST", lambda: rest.detect(image)),
            Row(detection, "Luna's engine alone", lambda: engine.warp(image)),
            Row(detection, "dlib HOG, upsample 1", lambda: detector(rgb(image), 1)),
            Row(description, "Luna over gRPC", lambda: grpc_side.extract(sample_id)),
            Row(description, "Luna over REST", lambda: rest.extract(sample_id)),
            Row(description, "Luna's engine alone", lambda: engine.describe(warp)),
            Row(description, "ONNX Runtime alone", lambda: session.run(None, {"chips": planes})),
            Row(description, "dlib", lambda: network.compute_face_descriptor(face)),
        )


def photo() -> bytes:
    """A public-domain portrait as a JPEG of 640x480, continued at its sides."""
    portrait = demo_pictures.portraits()[0].picture
    middle = cv2.resize(portrait, (HEIGHT, HEIGHT), interpolation=cv2.INTER_AREA)
    side = (WIDTH - HEIGHT) // 2
    return demo_pictures.jpeg(np.asarray(cv2.copyMakeBorder(middle, 0, 0, side, side, cv2.BORDER_REPLICATE)), 90)


def rgb(image: bytes) -> demo_pictures.Picture:
    """An encoded image as dlib takes it: the engine decodes as well, so decoding is part of the call."""
    return np.asarray(cv2.cvtColor(demo_pictures.decoded(image), cv2.COLOR_BGR2RGB), np.uint8)


def descriptor_session(pack: Pack, threads: int) -> onnxruntime.InferenceSession:
    """The descriptor network without anything of Luna's around it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(pack.path(packs.DESCRIPTOR)), options, providers=["CPUExecutionProvider"])


def dlib_network() -> Path:
    """The network's file, in the package that the default pack is made from: that one's code cannot be imported."""
    found = find_spec("face_recognition_models")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("face_recognition_models is not installed")
    return Path(found.submodule_search_locations[0]) / "models" / "dlib_face_recognition_resnet_model_v1.dat"


def table(measured: Sequence[Row]) -> Table:
    """Medians, and what each way takes more than the engine alone, or less."""
    shown = Table(title="Median of one call in ms", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown.add_column("", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for count in THREADS:
        shown.add_column(f"{count} thread{'s' if count > 1 else ''}", justify="right", no_wrap=True)
    shown.add_column("over engine", justify="right")
    shown.add_column("calls", justify="right")
    engine = {row.task: median(row, 1) for row in measured if row.way == "Luna's engine alone"}
    for row, before in zip(measured, (None, *measured), strict=False):
        begins = before is None or before.task != row.task
        if before is not None and begins:
            shown.add_section()
        medians = [f"{median(row, count):.1f}" for count in THREADS]
        over = f"{median(row, 1) - engine[row.task]:+.1f}"
        shown.add_row(row.task if begins else "", row.way, *medians, over, str(sum(map(len, row.seconds.values()))))
    return shown


def median(row: Row, threads: int) -> float:
    """Milliseconds."""
    return statistics.median(row.seconds[threads]) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc", default="127.0.0.1:50051", help="host and port")
    parser.add_argument("--rest", default="http://127.0.0.1:5000", help="address of Envoy")
    parser.add_argument("--login", default="")
    parser.add_argument("--password", default="")
    arguments = parser.parse_args()
    console = Console()
    with rows(settings.load(), arguments, console) as measured:
        for row in measured:
            row.call()
        for _ in range(ROUNDS):
            for threads in THREADS:
                for row in measured:
                    row.measure(threads, SLICE_SECONDS)
        shown = table(measured)
    console.print(shown)


if __name__ == "__main__":
    main()
