"""What `luna up` runs for lambdas, and where Envoy leads their calls."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api import annotations_pb2
from luna.v6 import lambdas_pb2

from gateway.edge import path_pattern, proxied_templates
from server.application import SERVICES
from server.commands.up import plan_of
from server.lambdas.proxy import METHODS, PATH
from server.rpc.methods import unary
from server.services import http_calls
from server.settings import Grpc, Lambdas, Metrics, Settings
from server.supervisor import Backing, Program

BEHIND = Backing((), "postgresql://somewhere/luna", "redis://somewhere")
LAMBDAS = lambdas_pb2.DESCRIPTOR.services_by_name["Lambdas"]
CALL = "/6/lambdas/00000000-0000-4000-8000-000000000001/proxy/"


def planned(folder: Path, lambdas: Lambdas) -> dict[str, Program]:
    settings = Settings(data=folder, lambdas=lambdas, grpc=Grpc(servers=2), metrics=Metrics(port=9464))
    return {program.name: program for program in plan_of(settings, BEHIND).programs}


def of(program: Program, name: str) -> str | None:
    return (program.env or {}).get(f"LUNA_{name}")


def edge_of(folder: Path) -> Any:
    return yaml.safe_load((folder / "envoy" / "envoy.yaml").read_text())["static_resources"]


def routes(folder: Path) -> list[dict[str, Any]]:
    (rest,) = (one for one in edge_of(folder)["listeners"] if one["name"] == "rest")
    manager = rest["filter_chains"][0]["filters"][0]["typed_config"]
    found: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


def cluster(folder: Path) -> dict[str, Any] | None:
    return next((one for one in edge_of(folder)["clusters"] if one["name"] == "lambdas"), None)


def test_one_process_runs_lambdas_and_knows_every_server_by_a_secret(folder: Path) -> None:
    programs = planned(folder, Lambdas(port=50999))
    lambdas = programs["lambdas"]
    assert lambdas.argv[1:] == ("lambdas",)
    secret = of(lambdas, "LAMBDAS__SECRET")
    assert secret is not None
    assert len(secret) > 30
    assert {of(programs[name], "LAMBDAS__SECRET") for name in ("server-1", "server-2")} == {secret}
    assert not any(secret in " ".join(program.argv) for program in programs.values())
    assert secret not in (folder / "envoy" / "envoy.yaml").read_text()
    assert {"server-1", "envoy"} <= set(lambdas.depends_on)
    assert of(lambdas, "METRICS__PORT") not in {
        of(programs[name], "METRICS__PORT") for name in ("server-1", "server-2")
    }


def test_the_secret_of_the_settings_is_kept(folder: Path) -> None:
    lambdas = Lambdas.model_validate({"secret": "hunter2hunter2hunter2"})
    assert of(planned(folder, lambdas)["server-2"], "LAMBDAS__SECRET") == "hunter2hunter2hunter2"


def test_where_lambdas_are_off_nothing_of_them_is_there(folder: Path) -> None:
    programs = planned(folder, Lambdas(enabled=False))
    assert "lambdas" not in programs
    assert of(programs["server-1"], "LAMBDAS__SECRET") is None
    assert cluster(folder) is None
    assert not [one for one in routes(folder) if one.get("route", {}).get("cluster") == "lambdas"]


def test_with_an_address_elsewhere_calls_are_led_there_and_no_process_is_started(folder: Path) -> None:
    assert "lambdas" not in planned(folder, Lambdas(address="lambdas.example.com:50090"))
    found = cluster(folder)
    assert found is not None
    assert found["type"] == "STRICT_DNS"
    endpoint = found["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {"address": "lambdas.example.com", "port_value": 50090}


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::", "::1"), ("localhost", "127.0.0.1")],
)
def test_envoy_reaches_the_process_of_this_machine(folder: Path, host: str, reached: str) -> None:
    planned(folder, Lambdas(host=host, port=50999))
    found = cluster(folder)
    assert found is not None
    assert found["type"] == "STATIC"
    endpoint = found["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {"address": reached, "port_value": 50999}


def test_calls_of_lambdas_pass_the_transcoder_by_and_are_waited_for_as_long_as_their_host_may_take(
    folder: Path,
) -> None:
    planned(folder, Lambdas(call_seconds=7))
    (route,) = (one for one in routes(folder) if one.get("route", {}).get("cluster") == "lambdas")
    assert route["route"]["timeout"] == "12.000s"
    transcoder = route["typed_per_filter_config"]["envoy.filters.http.grpc_json_transcoder"]
    assert transcoder["disabled"] is True
    assert "reset" not in route["route"]["retry_policy"]["retry_on"].split(",")
    # it stands before all others that would match
    position = routes(folder).index(route)
    assert all("prefix" not in one["match"] or "headers" in one["match"] for one in routes(folder)[:position])


def test_only_paths_of_calls_are_led_there(folder: Path) -> None:
    templates = proxied_templates([LAMBDAS])
    assert templates == ["/6/lambdas/{lambda_id}/proxy/{path=**}"]
    pattern = re.compile(path_pattern(templates[0]))
    for path in (CALL, f"{CALL}main", f"{CALL}a/b/c%2F"):
        assert pattern.fullmatch(path)
        assert PATH.fullmatch(path)
    own = [method.GetOptions().Extensions[annotations_pb2.http] for method in unary(LAMBDAS)]
    paths = [getattr(rule, rule.WhichOneof("pattern")) for rule in own if rule.WhichOneof("pattern")]
    assert len(paths) > 10
    for path in (*paths, "/6/lambdas/a/b/proxy/main", "/6/lambdas/a/proxy", "/internal/check", "/health"):
        assert not pattern.fullmatch(path)
        assert not PATH.fullmatch(path)


def test_rest_and_grpc_have_the_same_verbs() -> None:
    assert set(METHODS) == http_calls.METHODS


def test_servers_have_the_service_of_lambdas() -> None:
    assert LAMBDAS in SERVICES.values()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
