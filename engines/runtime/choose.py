"""The one place that decides what executes networks, from the settings. Nothing falls back to anything."""

from __future__ import annotations

import logging
from pathlib import Path

from engines.runtime import cuda
from engines.runtime.batching import BatchingRuntime, Policy
from engines.runtime.devices import Device, Kind, Precision
from engines.runtime.observer import Observer
from engines.runtime.onnx_runtime import OnnxRuntime
from engines.runtime.proof import TOLERANCES, ProvingRuntime
from engines.runtime.runtime import Runtime, RuntimeFailure
from engines.runtime.tensorrt_plans import FOLDER, Progress
from engines.runtime.tensorrt_runtime import TensorRtRuntime
from server.settings import Engine

log = logging.getLogger(__name__)


def choose(settings: Engine, models: Path, observer: Observer | None = None) -> Runtime:
    """What executes networks: on a GPU each is proved against the CPU as it is loaded; calls are put together.

    On the CPU runs are not limited here, because the engine's workers are; and batches are put together only where a
    wait is set, because there is little to win: a descriptor takes about a sixth less time in a batch of eight.

    Args:
        settings: device, precision, batches, streams and threads.
        models: the folder of all packs; TensorRT's plans are kept in it.
        observer: is told of every run.

    Raises:
        RuntimeFailure: the device, its driver or a package is missing; the message says what to install.
    """
    device, precision = Device.parse(settings.device), Precision(settings.precision)
    wait = settings.batch_wait_ms / 1000
    if device.kind is Kind.CPU:
        if precision is not Precision.FP32:
            raise RuntimeFailure("fp16 is for GPUs: on the CPU it is slower and no smaller; set fp32")
        return BatchingRuntime(OnnxRuntime(threads=settings.threads), Policy(settings.max_batch, wait), observer)
    proved = ProvingRuntime(
        on_gpu(settings, device, precision, models), OnnxRuntime(threads=settings.threads), TOLERANCES[precision]
    )
    log.info("%s: %s", proved.name, cuda.facts(device.number).described())
    return BatchingRuntime(proved, Policy(settings.max_batch, wait, settings.streams), observer)


def on_gpu(
    settings: Engine,
    device: Device,
    precision: Precision,
    models: Path,
    progress: Progress = lambda _phase, _done, _total: None,
) -> Runtime:
    """The bare runtime for a GPU.

    Raises:
        RuntimeFailure: as for `choose`.
    """
    if device.kind is Kind.CUDA:
        return OnnxRuntime(threads=settings.threads, device=device, precision=precision)
    return TensorRtRuntime(
        device.number,
        models / FOLDER,
        precision=precision,
        max_batch=settings.max_batch,
        streams=settings.streams,
        progress=progress,
    )
