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
PATH = "/6/detector"
TOO_MANY = 429
SETTLED = 0.3
"""The part of an open loop after which results are counted: until then the queue fills."""


@dataclass(frozen=True)
class Order:
    """What to send: a closed loop of so many callers, or an open loop of so many calls a second.

    `target` is a gRPC port; with `rest` it is an HTTP port, and `connections` are made as they are needed.
    """

    target: str
    authorization: str
    image: bytes
    seconds: float
    callers: int = 0
    rate: float = 0.0
    connections: int = 4
    deadline: float = 60.0
    rest: bool = False


@dataclass
class Report:
    """What came back. Times are in seconds; `goodput` is results in a second while calls were offered.

    `with_retry_info` are the refusals that tell when to come back: by RetryInfo, or by Retry-After.
    """

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


class _Refused(Exception):
    """The service is busy, and may have told when to come back."""

    def __init__(self, *, told_when: bool) -> None:
        super().__init__()
        self.told_when = told_when


class _Failed(Exception):
    """Something else than a result or a refusal came back."""


class _Grpc:
    """Calls by gRPC, over several connections in turns."""

    def __init__(self, order: Order) -> None:
        request = samples_pb2.DetectFacesRequest(images=[images_pb2.ImageInput(data=order.image)])
        self._request = request.SerializeToString()
        self._metadata = (("authorization", order.authorization),)
        self._deadline = order.deadline
        # otherwise the channels of a process would share one connection
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(order.target, options=options) for _ in range(order.connections)]
        self._methods = itertools.cycle([channel.unary_unary(METHOD) for channel in self._channels])

    async def open(self) -> None:
        await asyncio.gather(*(channel.channel_ready() for channel in self._channels))

    async def close(self) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def call(self) -> None:
        try:
            await next(self._methods)(self._request, metadata=self._metadata, timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise _Refused(told_when=_has_retry_info(error)) from None
            raise _Failed(f"{error.code().name}: {error.details()}") from None


class _Rest:
    """Calls by HTTP/1.1, each on a connection that is free then, or on a new one."""

    def __init__(self, order: Order) -> None:
        self._host, _, port = order.target.rpartition(":")
        self._port = int(port)
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: {order.target}\r\nAuthorization: {order.authorization}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(order.image)}\r\n\r\n"
        )
        self._request = head.encode() + order.image
        self._deadline = order.deadline
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self) -> None:
        """Connections are made as they are needed."""

    async def close(self) -> None:
        for _, writer in self._free:
            writer.close()

    async def call(self) -> None:
        async with asyncio.timeout(self._deadline):
            reader, writer = self._free.pop() if self._free else await asyncio.open_connection(self._host, self._port)
            writer.write(self._request)
            await writer.drain()
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._free.append((reader, writer))
        code = int(status.split()[1])
        if code == TOO_MANY:
            raise _Refused(told_when="retry-after" in headers)
        if code >= 300:
            raise _Failed(str(code))


class _Flood:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._way: _Grpc | _Rest
        self._ended: list[float] = []
        self._answers: list[float] = []
        self._refusals: list[float] = []
        self._others: Counter[str] = Counter()
        self._with_retry_info = 0

    async def run(self) -> Report:
        order = self._order
        # channels belong to the loop that runs when they are made
        self._way = _Rest(order) if order.rest else _Grpc(order)
        await self._way.open()
        begin = time.perf_counter()
        late = await (self._open(begin) if order.rate else self._closed(begin))
        await self._way.close()
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

    async def _closed(self, begin: float) -> list[float]:
        async def repeat() -> None:
            while time.perf_counter() < begin + self._order.seconds:
                await self._call()

        await asyncio.gather(*(repeat() for _ in range(self._order.callers)))
        return []

    async def _open(self, begin: float) -> list[float]:
        late: list[float] = []
        async with asyncio.TaskGroup() as group:
            for number in range(round(self._order.rate * self._order.seconds)):
                due = begin + number / self._order.rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                late.append(time.perf_counter() - due)
                group.create_task(self._call())
        return late

    async def _call(self) -> None:
        began = time.perf_counter()
        try:
            await self._way.call()
        except _Refused as refused:
            self._refusals.append(time.perf_counter() - began)
            self._with_retry_info += refused.told_when
        except (_Failed, OSError, EOFError, TimeoutError) as failed:
            self._others[f"{type(failed).__name__}: {failed}"] += 1
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
