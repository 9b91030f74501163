"""A client of the detector in a process of its own, so that what it costs does not look like the service's delay.

    python -m tests.robustness.flood < order.json > report.json

The order's fields are `Order`'s, with the image as Base64; the report's are `Report`'s. `flood` runs it from a test.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
import grpc.aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from luna.v6 import images_pb2, samples_pb2

from server.commands.bench_load import percentile

METHOD = "/luna.v6.Samples/DetectFaces"
SETTLED = 0.3
"""The part of an open loop after which results are counted: until then the queue fills."""


@dataclass(frozen=True)
class Order:
    """What to send: a closed loop of so many callers, or an open loop of so many calls a second."""

    target: str
    authorization: str
    image: bytes
    seconds: float
    callers: int = 0
    rate: float = 0.0
    connections: int = 4
    deadline: float = 60.0


@dataclass
class Report:
    """What came back. Times are in seconds; `goodput` is results in a second while calls were offered."""

    sent: int = 0
    results: int = 0
    refused: int = 0
    with_retry_info: int = 0
    others: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    goodput: float = 0.0
    refusals: dict[str, float] = field(default_factory=dict)
    answers: dict[str, float] = field(default_factory=dict)
    late: dict[str, float] = field(default_factory=dict)
    """How late the client itself was to send."""


def flood(order: Order, seconds: float = 300) -> Report:
    """Run an order in another process."""
    given = {**asdict(order), "image": base64.b64encode(order.image).decode()}
    argv = [sys.executable, "-m", "tests.robustness.flood"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        argv, input=json.dumps(given).encode(), cwd=root, stdout=subprocess.PIPE, timeout=seconds, check=True
    )
    return Report(**json.loads(done.stdout))


class _Flood:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._request = samples_pb2.DetectFacesRequest(
            images=[images_pb2.ImageInput(data=order.image)]
        ).SerializeToString()
        self._metadata = (("authorization", order.authorization),)
        self._ended: list[float] = []
        self._answers: list[float] = []
        self._refusals: list[float] = []
        self._others: Counter[str] = Counter()
        self._with_retry_info = 0

    async def run(self) -> Report:
        order = self._order
        # otherwise the channels of a process would share one connection
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(order.target, options=options) for _ in range(order.connections)]
        methods = [channel.unary_unary(METHOD) for channel in channels]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        begin = time.perf_counter()
        late = await (self._open(methods, begin) if order.rate else self._closed(methods, begin))
        await asyncio.gather(*(channel.close() for channel in channels))
        first = begin + (SETTLED * order.seconds if order.rate else 0)
        last = begin + order.seconds
        counted = sum(first <= ended <= last for ended in self._ended)
        sent = len(self._answers) + len(self._refusals) + self._others.total()
        return Report(
            sent=sent,
            results=len(self._answers),
            refused=len(self._refusals),
            with_retry_info=self._with_retry_info,
            others=dict(self._others),
            seconds=time.perf_counter() - begin,
            goodput=counted / (last - first),
            refusals=_told(self._refusals),
            answers=_told(self._answers),
            late=_told(late),
        )

    async def _closed(self, methods: Sequence[grpc.aio.UnaryUnaryMultiCallable], begin: float) -> list[float]:
        async def repeat(method: grpc.aio.UnaryUnaryMultiCallable) -> None:
            while time.perf_counter() < begin + self._order.seconds:
                await self._call(method)

        await asyncio.gather(*(repeat(methods[number % len(methods)]) for number in range(self._order.callers)))
        return []

    async def _open(self, methods: Sequence[grpc.aio.UnaryUnaryMultiCallable], begin: float) -> list[float]:
        late: list[float] = []
        async with asyncio.TaskGroup() as group:
            for number, method in zip(
                range(round(self._order.rate * self._order.seconds)), itertools.cycle(methods), strict=False
            ):
                due = begin + number / self._order.rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                late.append(time.perf_counter() - due)
                group.create_task(self._call(method))
        return late

    async def _call(self, method: grpc.aio.UnaryUnaryMultiCallable) -> None:
        began = time.perf_counter()
        try:
            await method(self._request, metadata=self._metadata, timeout=self._order.deadline)
        except grpc.aio.AioRpcError as error:
            taken = time.perf_counter() - began
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                self._others[f"{error.code().name}: {error.details()}"] += 1
                return
            self._refusals.append(taken)
            self._with_retry_info += _has_retry_info(error)
        else:
            self._ended.append(time.perf_counter())
            self._answers.append(self._ended[-1] - began)


def _has_retry_info(error: grpc.aio.AioRpcError) -> bool:
    status = rpc_status.from_call(error)
    return status is not None and any(one.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for one in status.details)


def _told(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        "p50": percentile(values, 0.5),
        "p90": percentile(values, 0.9),
        "p99": percentile(values, 0.99),
        "max": max(values),
    }


def main() -> None:
    """Read an order, and write the report."""
    given = json.load(sys.stdin)
    order = Order(**{**given, "image": base64.b64decode(given["image"])})
    json.dump(asdict(asyncio.run(_Flood(order).run())), sys.stdout)


if __name__ == "__main__":
    main()
