"""What the service still does, and how quickly it refuses, when ten times as much is asked of it as it can do.

    python tests/bench/overload.py [--seconds 8] [--rounds 5] [--times 10] [--servers 1] [--apart]
                                   [--rest | --direct]

Starts a service of its own and looks for the number of callers in a closed loop that gets most out of it. Then loops of
so many callers and calls at a fixed rate, however they are answered, take turns: a machine that gets slower meanwhile
does so for both, and the medians of the rounds' ratios are told. The client runs in another process, but on the same
cores: what it and the refusals cost is missing from the peak, so that on few cores the ratio is lower than with
clients elsewhere. With --apart everything that belongs to the service stays on the first half of the cores and the
client on the others, as if it were another machine. With --direct the calls go to the first server's own port, past
Envoy.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import psutil
import skimage.data
from grpc_health.v1 import health_pb2
from rich.console import Console

from server.commands.bench_load import percentile
from tests.robustness.flood import Order, Report, flood
from tests.robustness.watch import Watch, watching
from tests.service import Service, running

CALLERS = (2, 4, 8, 16, 32)


def picture() -> bytes:
    """A photograph of 640x480 with one face, as JPEG."""
    photo = cv2.resize(skimage.data.astronaut()[:, :, ::-1], (640, 480), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", photo)[1].tobytes()


def processors(service: Service) -> float:
    """Seconds of processor time that the servers and Envoy have used."""
    used = (psutil.Process(pid).cpu_times() for program in ("server", "envoy") for pid in service.pids(program))
    return sum(times.user + times.system for times in used)


def milliseconds(taken: dict[str, float]) -> str:
    """Percentiles, told."""
    return ", ".join(f"{name} {1000 * value:.0f}" for name, value in taken.items()) or "none"


@dataclass(frozen=True)
class Window:
    """What was seen while a load lasted: by the client, by who watches; the servers' and Envoy's processor time."""

    report: Report
    watch: Watch
    spent: float

    def each(self) -> float:
        """Calls served for each second of processor time."""
        return self.report.results / self.spent


class Bench:
    """Loads a service in one way."""

    def __init__(self, service: Service, *, rest: bool, direct: bool) -> None:
        native = service.behind() if direct else service.target
        self._target = f"127.0.0.1:{service.rest_port}" if rest else native
        self._rest = rest
        self._service = service
        self._account, self._image = service.account(), picture()

    def window(self, seconds: float, **load: Any) -> Window:
        """Load it for so long. Who watches costs something as well, so that somebody always does."""
        authorization = self._account.metadata[0][1]
        order = Order(self._target, authorization, self._image, seconds, rest=self._rest, **load)
        used = processors(self._service)
        with watching(self._service, self._account, self._image) as watch:
            report = flood(order)
        return Window(report, watch, processors(self._service) - used)


def measure(bench: Bench, arguments: argparse.Namespace, console: Console) -> None:
    """Measure, and print."""
    bench.window(1, callers=4)
    tried = {callers: bench.window(arguments.seconds / 2, callers=callers) for callers in CALLERS}
    for callers, window in tried.items():
        console.print(f"{callers:3} callers: {window.report.goodput:6.1f}/s, ms: {milliseconds(window.report.answers)}")
    best = max(CALLERS, key=lambda callers: tried[callers].report.goodput)
    rounds = []
    for _ in range(arguments.rounds):
        peak = bench.window(arguments.seconds, callers=best)
        much = bench.window(arguments.seconds, rate=arguments.times * peak.report.goodput)
        rounds.append((peak, much))
        told(peak, much, console)
    ratio = median(much.report.goodput / peak.report.goodput for peak, much in rounds)
    each = median(much.each() / peak.each() for peak, much in rounds)
    console.print(
        f"{len(rounds)} rounds with {best} callers at the peak, medians: goodput {ratio:.2f} of the peak, "
        f"for each second of processor time {each:.2f}"
    )


def told(peak: Window, much: Window, console: Console) -> None:
    """Print one round."""
    report, watch = much.report, much.watch
    serving = sum(state == health_pb2.HealthCheckResponse.SERVING for state in watch.serving)
    console.print(
        f"peak {peak.report.goodput:.1f}/s; {report.sent / report.seconds:.0f}/s asked: {report.results} served, "
        f"{report.refused} refused, {report.with_retry_info} of them with the time to wait, others {report.others}\n"
        f"  goodput {report.goodput:.1f}/s, {report.goodput / peak.report.goodput:.2f} of the peak; "
        f"for each second of processor time {much.each():.1f}, {much.each() / peak.each():.2f}\n"
        f"  refusals, ms: {milliseconds(report.refusals)}; served, ms: {milliseconds(report.answers)}; "
        f"the client was late by, ms: {milliseconds(report.late)}\n"
        f"  health: {serving} of {len(watch.serving)} answers SERVING, ms: p50 "
        f"{1000 * percentile(watch.health_seconds, 0.5):.0f}, p99 {1000 * percentile(watch.health_seconds, 0.99):.0f}; "
        f"REST's healthcheck {set(watch.healthy)}; "
        f"REST's detector {sorted({status for status, _ in watch.detector})}; problems {watch.problems}"
    )


def part(service: Service) -> int:
    """Give the service the first half of the cores and the client the rest; how many the service has."""
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = cores[: len(cores) // 2], cores[len(cores) // 2 :]
    assert service.process is not None
    for process in (service.process.pid, *(one.pid for one in psutil.Process(service.process.pid).children(True))):
        for thread in psutil.Process(process).threads():
            os.sched_setaffinity(thread.id, ours)
    os.sched_setaffinity(0, theirs)
    return len(ours)


def main() -> None:
    """Start a service and measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--apart", action="store_true")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--rest", action="store_true")
    way.add_argument("--direct", action="store_true")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    workers = {"ENGINE__WORKERS": str((os.cpu_count() or 2) // 2)} if arguments.apart else {}
    with running(arguments.servers, **workers) as service:
        if arguments.apart:
            console.print(f"{part(service)} of {os.cpu_count()} cores are the service's, the others the client's")
        console.print(f"server processes {service.pids('server')}, data in {Path(service.data)}")
        measure(Bench(service, rest=arguments.rest, direct=arguments.direct), arguments, console)


if __name__ == "__main__":
    main()
