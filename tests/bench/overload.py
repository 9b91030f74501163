"""What the service still does, and how quickly it refuses, when ten times as much is asked of it as it can do.

    python tests/bench/overload.py [--seconds 8] [--times 10] [--servers 1] [--apart] [--rest | --direct]

Starts a service of its own. The peak is that of closed loops with several numbers of callers; then calls are offered at
a fixed rate, however they are answered. The client runs in another process, but on the same cores: what it and the
refusals cost is missing from the peak, so that on few cores the ratio is lower than with clients elsewhere. What the
cores did meanwhile is printed with the result; what is served for each second of the servers' and Envoy's processor
time is disturbed least by whatever else the machine does. With --apart everything that belongs to the service stays on
the first half of the cores and the client on the others, as if it were another machine. With --direct the calls go to
the first server's own port, past Envoy.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import psutil
import skimage.data
from grpc_health.v1 import health_pb2
from rich.console import Console

from server.commands.bench_load import percentile
from tests.robustness.flood import Order, Report, flood
from tests.robustness.watch import watching
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


def measure(service: Service, seconds: float, times: float, console: Console, *, rest: bool, direct: bool) -> None:
    """Measure, and print."""
    account, image = service.account(), picture()

    def order(length: float, **load: float) -> Order:
        native = service.behind() if direct else service.target
        target = f"127.0.0.1:{service.rest_port}" if rest else native
        return Order(target, account.metadata[0][1], image, length, rest=rest, **load)  # type: ignore[arg-type]

    flood(order(1, callers=4))
    peak: Report | None = None
    best = 0.0
    for callers in CALLERS:
        used = processors(service)
        # who watches costs something as well
        with watching(service, account, image):
            found = flood(order(seconds / 2, callers=callers))
        spent = processors(service) - used
        console.print(
            f"{callers:3} callers: {found.goodput:6.1f}/s, ms: {milliseconds(found.answers)}; "
            f"server {spent / found.seconds:.2f} cores"
        )
        best = max(best, found.results / spent)
        peak = found if peak is None or found.goodput > peak.goodput else peak
    assert peak is not None
    used = processors(service)
    with watching(service, account, image) as watch:
        report = flood(order(seconds, rate=times * peak.goodput))
    spent = processors(service) - used
    share, each = spent / report.seconds, report.results / spent
    serving = sum(state == health_pb2.HealthCheckResponse.SERVING for state in watch.serving)
    console.print(
        f"offered {times * peak.goodput:.0f}/s for {seconds:g} s, sent {report.sent}: {report.results} served, "
        f"{report.refused} refused, {report.with_retry_info} of them with the time to wait, others {report.others}\n"
        f"goodput {report.goodput:.1f}/s, {report.goodput / peak.goodput:.2f} of the peak; "
        f"for each second of processor time {each:.1f}, {each / best:.2f} of the best\n"
        f"refusals, ms: {milliseconds(report.refusals)}; served, ms: {milliseconds(report.answers)}\n"
        f"the client was late by, ms: {milliseconds(report.late)}; server {share:.2f} of {os.cpu_count()} cores\n"
        f"health: {serving} of {len(watch.serving)} answers SERVING, ms: p50 "
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
        measure(service, arguments.seconds, arguments.times, console, rest=arguments.rest, direct=arguments.direct)


if __name__ == "__main__":
    main()
