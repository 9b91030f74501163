"""TensorRT on one GPU: what loads plans, and sessions that spread their calls over lanes."""

from __future__ import annotations

import logging
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from engines.runtime import cuda
from engines.runtime.devices import Device, Kind, Precision
from engines.runtime.runtime import RuntimeFailure, Tensor, Tensors, TensorSpec, in_parts, rows_of
from engines.runtime.tensorrt_api import Api, CudaEngine, installed
from engines.runtime.tensorrt_lanes import Lane
from engines.runtime.tensorrt_plans import Plans, Progress, Range

log = logging.getLogger(__name__)


class TensorRtRuntime:
    """Owns the policies for all sessions: precision, batches, streams, where plans are kept.

    Args:
        number: the GPU.
        plans: folder of plans; it is created.
        precision: FP16 casts the inside of networks; TF32 is never used.
        max_batch: most rows of a batch for networks with large inputs.
        streams: runs of one network that may be under way at once; each has its own context and buffers.
        progress: told how far a build is.

    Raises:
        RuntimeFailure: TensorRT, the driver or the GPU is missing; the message says what to install.
    """

    def __init__(
        self,
        number: int,
        plans: Path,
        *,
        precision: Precision = Precision.FP32,
        max_batch: int = 16,
        streams: int = 2,
        progress: Progress = lambda _phase, _done, _total: None,
    ) -> None:
        self._api = installed()
        self._facts = cuda.facts(number)
        self._precision = precision
        self._max_batch = max_batch
        self._streams = streams
        self._progress = progress
        self._logger = logger(self._api)
        self._runtime = self._api.Runtime(self._logger)
        self._plans = Plans(self._api, self._logger, plans, self._facts.capability)
        self._sessions: list[TensorRtSession] = []

    @property
    def name(self) -> str:
        """Runtime and device."""
        return f"TensorRT {self._api.__version__}, {self._facts}, {self._precision.value}"

    @property
    def device(self) -> str:
        """The device as the settings name it."""
        return str(Device(Kind.TENSORRT, self._facts.number))

    def load(self, model: Path) -> TensorRtSession:
        """Load a model; builds its plan where there is none, which takes seconds to minutes.

        Raises:
            RuntimeFailure: the model cannot be built, or has tensors that are not float32.
        """
        cuda.use(self._facts.number)
        plan = self._plans.plan(model, self._precision, self._max_batch, self._progress)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            message = f"the plan of {model.name} cannot be loaded; TensorRT's messages are in the log"
            raise RuntimeFailure(message)
        session = TensorRtSession(self._api, engine, model.name, self._facts.number, self._streams)
        self._sessions.append(session)
        return session

    def close(self) -> None:
        """Free every network."""
        for session in self._sessions:
            session.close()
        self._sessions.clear()


class TensorRtSession:
    """A network on a GPU, with as many lanes as may run at once.

    Args:
        api: the module `tensorrt`.
        engine: the deserialised plan, with one optimisation profile.
        name: name of the model's file.
        number: the GPU.
        streams: lanes.

    Raises:
        RuntimeFailure: a tensor is not float32, or memory is short.
    """

    def __init__(self, api: Api, engine: CudaEngine, name: str, number: int, streams: int) -> None:
        self._name = name
        self._number = number
        self._inputs, self._outputs, ranges = _described(api, engine, name)
        self._ranges = {one.name: one for one in ranges}
        self._max_batch = ranges[0].most[0]
        self._lanes: list[Lane] = []
        self._free: SimpleQueue[Lane] = SimpleQueue()
        try:
            for _ in range(streams):
                lane = Lane(api, engine, name, ranges, [spec.name for spec in self._outputs])
                self._lanes.append(lane)
                self._free.put(lane)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Name of the model's file."""
        return self._name

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `run` takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What `run` gives."""
        return self._outputs

    @property
    def max_batch(self) -> int | None:
        """The largest batch of the plan's profile."""
        return self._max_batch

    def run(self, inputs: Tensors) -> dict[str, Tensor]:
        """Every output by its name. Sleeps until a lane is free.

        Raises:
            RuntimeFailure: an input is missing, has another shape or type, or lies outside the plan's profile; the
                session is closed; or the device failed.
        """
        rows = rows_of(self, inputs)
        for spec in self._inputs:
            one, shape = self._ranges[spec.name], inputs[spec.name].shape
            sides = zip(one.least[1:], shape[1:], one.most[1:], strict=True)
            if not all(least <= size <= most for least, size, most in sides):
                message = f"the plan of {self._name} serves {one.least} to {one.most}, not {shape}"
                raise RuntimeFailure(message)
        if not self._lanes:
            message = f"{self._name} is closed"
            raise RuntimeFailure(message)
        cuda.use(self._number)
        return in_parts(self._once, {spec.name: inputs[spec.name] for spec in self._inputs}, rows, self._max_batch)

    def close(self) -> None:
        """Free contexts, buffers and streams."""
        if self._lanes:
            cuda.use(self._number)
        for lane in self._lanes:
            lane.close()
        self._lanes.clear()

    def _once(self, inputs: Tensors) -> dict[str, Tensor]:
        lane = self._free.get()
        try:
            return lane.run(inputs)
        finally:
            self._free.put(lane)


def logger(api: Api) -> object:
    """An `ILogger` that writes to the log of this module."""
    base = api.ILogger

    def log_message(_self: object, severity: Any, msg: str) -> None:
        log.log(_LEVELS.get(severity.name, logging.DEBUG), "%s", msg)

    made: object = type("Logger", (base,), {"log": log_message})()
    return made


_LEVELS = {"INTERNAL_ERROR": logging.ERROR, "ERROR": logging.ERROR, "WARNING": logging.WARNING}
"""Levels of TensorRT's severities; INFO and VERBOSE are for debugging."""


def _described(
    api: Api, engine: CudaEngine, name: str
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], list[Range]]:
    inputs, outputs, ranges = [], [], []
    for index in range(engine.num_io_tensors):
        tensor = engine.get_tensor_name(index)
        if engine.get_tensor_dtype(tensor) != api.DataType.FLOAT:
            message = f"{tensor!r} of {name} is a {engine.get_tensor_dtype(tensor)}, and only float32 tensors are used"
            raise RuntimeFailure(message)
        spec = TensorSpec(tensor, tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(tensor)))
        if engine.get_tensor_mode(tensor) == api.TensorIOMode.INPUT:
            inputs.append(spec)
            least, usual, most = (tuple(shape) for shape in engine.get_tensor_profile_shape(tensor, 0))
            ranges.append(Range(tensor, least, usual, most))
        else:
            outputs.append(spec)
    return tuple(inputs), tuple(outputs), ranges
