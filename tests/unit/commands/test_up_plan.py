"""What `luna up` runs: one engine in each server, one engine for all of them, or one of another machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from gateway.edge import MOST_CALLS
from server.commands.up import plan_of
from server.settings import Engine, Grpc, Metrics, Settings
from server.supervisor import Backing, Program

BEHIND = Backing((), "postgresql://somewhere/luna", "redis://somewhere")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def planned(folder: Path, engine: Engine, *, metrics: int = 0) -> dict[str, Program]:
    settings = Settings(data=folder, engine=engine, grpc=Grpc(servers=2), metrics=Metrics(port=metrics))
    return {program.name: program for program in plan_of(settings, BEHIND).programs}


def of(program: Program, name: str) -> str | None:
    return (program.env or {}).get(f"LUNA_{name}")


def test_without_a_word_each_server_has_an_engine_of_its_own(folder: Path) -> None:
    programs = planned(folder, Engine())
    assert set(programs) == {"server-1", "server-2", "lambdas", "worker", "envoy"}
    assert of(programs["server-1"], "ENGINE__ADDRESS") is None
    assert of(programs["server-1"], "METRICS__PORT") is None


def test_the_cores_are_shared_out_among_the_servers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(5))
    assert of(planned(folder, Engine())["server-2"], "ENGINE__WORKERS") == "3"
    assert of(planned(folder, Engine(workers=7))["server-2"], "ENGINE__WORKERS") is None
    assert of(planned(folder, Engine(device="cuda:0"))["server-2"], "ENGINE__WORKERS") is None


def test_a_shared_engine_starts_before_the_servers_that_are_led_to_it(folder: Path) -> None:
    programs = planned(folder, Engine(shared=True, port=50999))
    assert programs["engine"].argv[1:] == ("engine",)
    secret = of(programs["engine"], "ENGINE__SECRET")
    assert secret is not None
    assert len(secret) > 30
    for name in ("server-1", "server-2"):
        assert "engine" in programs[name].depends_on
        assert of(programs[name], "ENGINE__ADDRESS") == "127.0.0.1:50999"
        assert of(programs[name], "ENGINE__SECRET") == secret
    assert of(programs["worker"], "ENGINE__SECRET") is None
    assert not any(secret in " ".join(program.argv) for program in programs.values())


def test_the_secret_of_the_settings_is_kept(folder: Path) -> None:
    engine = Engine.model_validate({"shared": True, "secret": "hunter2"})
    assert of(planned(folder, engine)["server-2"], "ENGINE__SECRET") == "hunter2"


def test_with_the_address_of_an_engine_none_is_started(folder: Path) -> None:
    assert "engine" not in planned(folder, Engine(shared=True, address="10.0.0.5:50041"))


@pytest.mark.parametrize(
    ("engine", "most"),
    [
        (Engine(max_queue=10), 2 * (3 + 10)),
        (Engine(max_queue=10, workers=1), 2 * (1 + 10)),
        (Engine(max_queue=10, shared=True), 5 + 10),
        (Engine(max_queue=10, address="10.0.0.5:50041"), MOST_CALLS),
    ],
)
def test_the_edge_lets_in_as_many_images_as_the_engines_take(
    folder: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine, most: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(5))
    planned(folder, engine)
    edge = yaml.safe_load((folder / "envoy" / "envoy.yaml").read_text())
    (images,) = (one for one in edge["static_resources"]["clusters"] if one["name"] == "images")
    assert images["circuit_breakers"]["thresholds"][0]["max_requests"] == most


def test_each_process_has_a_port_for_its_metrics(folder: Path) -> None:
    programs = planned(folder, Engine(shared=True), metrics=9464)
    ports = [of(programs[name], "METRICS__PORT") for name in ("server-1", "server-2", "engine")]
    assert ports == ["9464", "9465", "9466"]


@pytest.mark.parametrize(("grpc", "ports"), [
    (Grpc(servers=2, host="0.0.0.0", port=50100), ["50101", "50102"]),
    (Grpc(servers=2, port=50100, server_port=50200), ["50200", "50201"]),
])  # fmt: skip
def test_the_edge_has_the_port_of_grpc_and_the_servers_have_ports_of_their_own_on_loopback(
    folder: Path, grpc: Grpc, ports: list[str]
) -> None:
    programs = {one.name: one for one in plan_of(Settings(data=folder, grpc=grpc), BEHIND).programs}
    assert [of(programs[name], "GRPC__SERVER_PORT") for name in ("server-1", "server-2")] == ports
    edge = yaml.safe_load((folder / "envoy" / "envoy.yaml").read_text())["static_resources"]
    addresses = {one["name"]: one["address"]["socket_address"] for one in edge["listeners"]}
    assert addresses["grpc"] == {"address": grpc.host, "port_value": grpc.port}
    for cluster in (one for one in edge["clusters"] if one["name"] not in {"websockets", "lambdas"}):
        (locality,) = cluster["load_assignment"]["endpoints"]
        found = [one["endpoint"]["address"]["socket_address"] for one in locality["lb_endpoints"]]
        assert found == [{"address": "127.0.0.1", "port_value": int(port)} for port in ports]


def test_envoy_outlives_the_servers_so_that_what_they_finish_gets_out(folder: Path) -> None:
    programs = planned(folder, Engine())
    assert all("envoy" in programs[name].depends_on for name in ("server-1", "server-2"))
