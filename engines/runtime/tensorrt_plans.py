"""TensorRT plans: what they are keyed by, how they are built, and where they are kept.

A plan is code for one GPU model, made from one model by one version of TensorRT. Building takes seconds to minutes, so
plans are kept in `<models>/plans` under a digest of everything that they depend on. A plan is trusted like a program:
whoever can write into that folder can run code here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import onnx

from engines.runtime.devices import Precision
from engines.runtime.precision import in_half
from engines.runtime.runtime import RuntimeFailure
from engines.runtime.tensorrt_api import Api, BuilderConfig

log = logging.getLogger(__name__)

FOLDER = "plans"
"""Name of the plans' folder in the folder of all packs."""

BUILDER = "1"
"""Version of this code and of the cast to float16: it changes when the same model gives another plan."""

MIN_SIDE, USUAL_SIDE, MAX_SIDE = 11, 256, 1040
"""Smallest, most usual and largest height and width, in pixels, of networks that take pictures of any size. The
proposal network gets tiles within these bounds (`engines.vision.detector`)."""

_LARGE_ROW = 3 * 160 * 160
_MOST = 8
"""A row of fewer values than a large one lets a batch have more rows, up to eight times as many."""

Progress = Callable[[str, int, int], None]
"""Told the phase of a build, how many of its steps are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Range:
    """The shapes of one input that a plan serves: smallest, the one that it is fastest for, and largest."""

    name: str
    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]

    @property
    def only_batch(self) -> bool:
        """True where nothing but the batch varies, if that."""
        return self.least[1:] == self.most[1:]


@dataclass(frozen=True, slots=True)
class Key:
    """Everything that a plan depends on.

    Attributes:
        model: sha256 of the ONNX file.
        tensorrt: version of TensorRT.
        capability: compute capability of the GPU.
        precision: what the network's inside is cast to.
        profile: the shapes that are served.
        builder: version of the code here.
    """

    model: str
    tensorrt: str
    capability: tuple[int, int]
    precision: Precision
    profile: tuple[Range, ...]
    builder: str = BUILDER

    def to_json(self) -> str:
        """The key in one way only, for people and for its digest."""
        return json.dumps(asdict(self), default=lambda one: one.value, sort_keys=True)

    @property
    def digest(self) -> str:
        """Name of the plan's files."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:32]


def profile(name: str, shape: tuple[int | None, ...], max_batch: int) -> Range:
    """The shapes of an input that a plan should serve.

    A batch may be of 1 to `max_batch` rows, of more where rows are small. The other dimensions that are not fixed are
    heights and widths.
    """
    sides = [size is None for size in shape[1:]]
    if any(sides):
        rows = 1
    else:
        values = prod(size or 1 for size in shape[1:])
        rows = max_batch * max(1, min(_MOST, _LARGE_ROW // values))

    def of(batch: int, side: int) -> tuple[int, ...]:
        return (batch if shape[0] is None else shape[0], *(side if size is None else size for size in shape[1:]))

    return Range(name, of(1, MIN_SIDE), of(min(max_batch, rows), USUAL_SIDE), of(rows, MAX_SIDE))


class Plans:
    """Builds plans and keeps them.

    Args:
        api: the module `tensorrt`.
        logger: an `ILogger`.
        folder: where plans are kept; it is created.
        capability: compute capability of the GPU that is current.
    """

    def __init__(self, api: Api, logger: object, folder: Path, capability: tuple[int, int]) -> None:
        self._api = api
        self._logger = logger
        self._folder = folder
        self._capability = capability

    def plan(self, model: Path, precision: Precision, max_batch: int, progress: Progress) -> bytes:
        """The plan for a model on this GPU, built where it has not been. Other processes that build wait.

        Raises:
            RuntimeFailure: the model cannot be read, or TensorRT cannot parse or build it.
        """
        try:
            content = model.read_bytes()
        except OSError as error:
            message = f"{model} cannot be read: {error}"
            raise RuntimeFailure(message) from error
        ranges = ranges_of(content, max_batch)
        digest = hashlib.sha256(content).hexdigest()
        key = Key(digest, self._api.__version__, self._capability, precision, ranges)
        self._folder.mkdir(parents=True, exist_ok=True)
        with _alone(self._folder / ".lock"):
            kept = read(self._folder, key)
            if kept is None:
                kept = self._built(
                    model.name, in_half(content) if precision is Precision.FP16 else content, key, progress
                )
                write(self._folder, key, kept)
            return kept

    def _built(self, name: str, graph: bytes, key: Key, progress: Progress) -> bytes:
        builder = self._api.Builder(self._logger)
        network = builder.create_network()
        parser = self._api.OnnxParser(network, self._logger)
        if not parser.parse(graph):
            errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            message = f"TensorRT cannot parse {name}: {errors or 'it does not say why'}"
            raise RuntimeFailure(message)
        config = builder.create_builder_config()
        config.clear_flag(self._api.BuilderFlag.TF32)
        steps = monitor(self._api, progress)
        config.progress_monitor = steps
        shapes = builder.create_optimization_profile()
        for one in key.profile:
            shapes.set_shape(one.name, one.least, one.usual, one.most)
        if config.add_optimization_profile(shapes) < 0:
            message = f"TensorRT takes no profile of the shapes {key.profile} for {name}"
            raise RuntimeFailure(message)
        with self._timings(config):
            built = builder.build_serialized_network(network, config)
        if built is None:
            message = f"TensorRT cannot build {name}; its messages are in the log"
            raise RuntimeFailure(message)
        return bytes(built)

    @contextmanager
    def _timings(self, config: BuilderConfig) -> Iterator[None]:
        """Lends a build the times that earlier builds measured, and keeps what it adds."""
        path = self._folder / f"timings-{self._api.__version__}-{self._capability[0]}.{self._capability[1]}.cache"
        known = path.read_bytes() if path.is_file() else b""
        cache = config.create_timing_cache(known)
        if not config.set_timing_cache(cache, False):
            log.warning("the timing cache %s does not fit this GPU and is made anew", path.name)
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, False)
        yield
        _replace(path, bytes(cache.serialize()))


def read(folder: Path, key: Key) -> bytes | None:
    """A kept plan; None where there is none, or where it is not what its note says."""
    note = folder / f"{key.digest}.json"
    try:
        expected = json.loads(note.read_text("utf-8"))
        plan = (folder / f"{key.digest}.plan").read_bytes()
    except (OSError, ValueError):
        return None
    whole = isinstance(expected, dict) and expected.get("sha256") == hashlib.sha256(plan).hexdigest()
    return plan if whole else None


def write(folder: Path, key: Key, plan: bytes) -> None:
    """Keep a plan. Its note, with the key and the plan's checksum, comes last: without it there is no plan."""
    _replace(folder / f"{key.digest}.plan", plan)
    note = {"key": json.loads(key.to_json()), "sha256": hashlib.sha256(plan).hexdigest()}
    _replace(folder / f"{key.digest}.json", json.dumps(note, indent=2).encode())


class _Steps:
    """What an `IProgressMonitor` is told, passed on as progress. Nested phases are left out."""

    def __init__(self, base: type, progress: Progress) -> None:
        # the binding wants its own constructor called by name
        base.__init__(self)  # type: ignore[misc]
        self._progress = progress
        self._phases: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        if parent_phase is None:
            self._phases[phase_name] = num_steps
            self._progress(phase_name, 0, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        if phase_name in self._phases:
            self._progress(phase_name, step + 1, self._phases[phase_name])
        return True

    def phase_finish(self, phase_name: str) -> None:
        steps = self._phases.pop(phase_name, None)
        if steps is not None:
            self._progress(phase_name, steps, steps)


def monitor(api: Api, progress: Progress) -> object:
    """An `IProgressMonitor` that tells `progress` (source: TensorRT Python API reference, IProgressMonitor)."""
    base = api.IProgressMonitor
    made: object = type("BuildProgress", (_Steps, base), {})(base, progress)
    return made


def ranges_of(model: bytes, max_batch: int) -> tuple[Range, ...]:
    """The shapes of every input of a serialised ONNX model that a plan should serve.

    Raises:
        RuntimeFailure: it is no model.
    """
    try:
        graph = onnx.load_model_from_string(model).graph
    except Exception as error:  # protobuf's own type is not public
        message = f"this is no ONNX model: {error}"
        raise RuntimeFailure(message) from error
    constants = {constant.name for constant in graph.initializer}
    return tuple(
        profile(
            one.name,
            tuple(size.dim_value if size.HasField("dim_value") else None for size in one.type.tensor_type.shape.dim),
            max_batch,
        )
        for one in graph.input
        if one.name not in constants
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the lock that one build at a time may have; the system frees it when the process ends."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step. Only who holds the lock may: the temporary name is always the same."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
