"""What a process counts and times, for Prometheus to fetch.

Labels are names of methods, codes, networks and results: never accounts, ids or anything of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of durations."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Upper bounds of the buckets of batch sizes."""


class PortTaken(Exception):
    """A port cannot be listened on."""


class Metrics:
    """The metrics of one process (docs/how-to/metrics.md). It is an `engines.turn.EngineObserver`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._rpc = self._histogram(
            "luna_rpc_seconds", "Time of a call, from its arrival to its answer.", "method code"
        )
        self._turns = Counter(
            "luna_engine_turns",
            "Turns of the engine that have ended, by what came of them.",
            ("kind", "result"),
            registry=self.registry,
        )
        self._queue = self._histogram("luna_engine_queue_seconds", "Wait of a turn for a thread.", "kind")
        self._host = self._histogram("luna_engine_host_seconds", "Time of a turn outside of networks.", "kind")
        self._compute = self._histogram("luna_engine_compute_seconds", "Time of a turn inside networks.", "kind")
        self._network = self._histogram("luna_engine_network_seconds", "Time of one run of a network.", "network")
        self._batch_wait = self._histogram(
            "luna_engine_batch_wait_seconds", "Wait of a caller of a network for the run.", "network"
        )
        self._rows = Histogram(
            "luna_engine_batch_rows", "Rows of a batch.", ("network",), buckets=ROWS, registry=self.registry
        )
        self._hop = self._histogram(
            "luna_engine_remote_seconds", "Time of a call of a shared engine, as a server sees it.", "kind result"
        )

        self._lambdas = Gauge("luna_lambdas", "Lambdas by their status.", ("status",), registry=self.registry)

    def answered(self, method: str, code: str, seconds: float) -> None:
        """A call of `luna.v6` has ended (`server.rpc.dispatcher.Told`)."""
        self._rpc.labels(method, code).observe(seconds)

    def ended(self, kind: str, result: str) -> None:
        """A turn of the engine has ended."""
        self._turns.labels(kind, result).inc()

    def worked(self, kind: str, queued: float, host: float, compute: float) -> None:
        """A turn of the engine has been run."""
        self._queue.labels(kind).observe(queued)
        self._host.labels(kind).observe(host)
        self._compute.labels(kind).observe(compute)

    def ran(self, network: str, rows: int, queued: Sequence[float], seconds: float) -> None:
        """A network has run."""
        self._network.labels(network).observe(seconds)
        for one in queued:
            self._batch_wait.labels(network).observe(one)
        self._rows.labels(network).observe(rows)

    def asked(self, kind: str, result: str, seconds: float) -> None:
        """A shared engine has answered, or has not (`server.inference.remote.Asked`)."""
        self._hop.labels(kind, result).observe(seconds)

    def counted(self, lambdas: Mapping[str, int]) -> None:
        """So many lambdas of this process have each status (`server.lambdas.reconciler.Counted`)."""
        for status, number in lambdas.items():
            self._lambdas.labels(status).set(number)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Show how many images wait for a thread of this process's engine."""
        gauge = Gauge("luna_engine_queue_length", "Images that wait for a thread.", registry=self.registry)
        gauge.set_function(waiting)

    def _histogram(self, name: str, meaning: str, labels: str) -> Histogram:
        return Histogram(name, meaning, labels.split(), buckets=SECONDS, registry=self.registry)


@contextmanager
def served(metrics: Metrics, host: str, port: int) -> Iterator[None]:
    """Serve the metrics over HTTP, in a thread of their own; port 0 serves nothing.

    Raises:
        PortTaken: the port cannot be listened on.
    """
    if port == 0:
        yield
        return
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        message = f"{host}:{port} cannot be listened on, see LUNA_METRICS__PORT: {error.strerror or error}"
        raise PortTaken(message) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
