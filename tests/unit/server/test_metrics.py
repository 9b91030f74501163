"""What a process tells Prometheus."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from server.metrics import Metrics, PortTaken, served
from tests.ports import free_ports

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "metrics.md"


def told() -> Metrics:
    """Metrics that have been told one of everything."""
    metrics = Metrics()
    metrics.answered("luna.v6.Samples.DetectFaces", "OK", 0.2)
    metrics.ended("detect", "ok")
    metrics.worked("detect", 0.01, 0.02, 0.03)
    metrics.ran("default/descriptor", 5, [0.001], 0.004)
    metrics.asked("detect", "busy", 0.5)
    metrics.watch_queue(lambda: 7)
    metrics.counted({"running": 3, "waiting": 0})
    return metrics


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_told_is_served_over_http() -> None:
    (port,) = free_ports(1)
    with served(told(), "127.0.0.1", port):
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    found = samples(answer.text)
    assert found["luna_rpc_seconds_sum", "OK", "luna.v6.Samples.DetectFaces"] == 0.2
    assert found["luna_engine_turns_total", "detect", "ok"] == 1
    assert [found[f"luna_engine_{part}_seconds_sum", "detect"] for part in ("queue", "host", "compute")] == [
        0.01,
        0.02,
        0.03,
    ]
    assert found["luna_engine_batch_rows_sum", "default/descriptor"] == 5
    assert found["luna_engine_network_seconds_sum", "default/descriptor"] == 0.004
    assert found["luna_engine_remote_seconds_sum", "busy", "detect"] == 0.5
    assert found["luna_engine_queue_length",] == 7
    assert (found["luna_lambdas", "running"], found["luna_lambdas", "waiting"]) == (3, 0)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)


def test_port_0_serves_nothing_and_a_taken_port_is_told_by_its_setting() -> None:
    (port,) = free_ports(1)
    with (
        served(Metrics(), "127.0.0.1", 0),
        served(Metrics(), "127.0.0.1", port),
        pytest.raises(PortTaken, match="LUNA_METRICS__PORT"),
        served(Metrics(), "127.0.0.1", port),
    ):
        pass


def test_the_page_describes_every_metric_and_label_and_no_other() -> None:
    families = {
        family.name: sorted({name for sample in family.samples for name in sample.labels if name != "le"})
        for family in text_string_to_metric_families(generate_latest(told().registry).decode())
        if family.name.startswith("luna_") and not family.name.endswith("_created")
    }
    shown = {"counter": "_total"}
    rows = re.findall(r"^\| `(luna_\w+)` \| (\w+) \| ([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    described = {
        name.removesuffix(shown.get(kind, "")): sorted(re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows
    }
    assert described == families
