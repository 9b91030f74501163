"""`luna up` with certificates: what Envoy is told, what is refused at the start, and what is printed."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from server.certificates import CertificateUnusable
from server.commands import greeting, up, up_certificates
from server.commands.up import plan_of
from server.commands.up_certificates import check
from server.settings import Engine, Grpc, Lambdas, Rest, Settings, Tls
from server.supervisor import Backing, Program
from tests.certificates import authority, certificate, moved, placed

BEHIND = Backing((), "postgresql://somewhere/luna", "redis://somewhere")


def planned(settings: Settings) -> dict[str, Program]:
    return {program.name: program for program in plan_of(settings, BEHIND).programs}


def edge(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "envoy" / "envoy.yaml").read_text())
    return found


def secured(folder: Path, *names: str, **more: Any) -> Tls:
    chain, key = placed(certificate(*(names or ("faces.example.com",))), folder)
    return Tls(certificate=chain, key=key, **more)


def test_without_certificates_nothing_of_tls_is_rendered(tmp_path: Path) -> None:
    planned(Settings(data=tmp_path))
    assert "transport_socket" not in (tmp_path / "envoy" / "envoy.yaml").read_text()
    assert not list((tmp_path / "envoy").glob("*.json"))


def test_both_ports_have_tls_from_files_that_envoy_watches(tmp_path: Path) -> None:
    tls = secured(tmp_path)
    planned(Settings(data=tmp_path, tls=tls))
    protocols = {}
    for listener in edge(tmp_path)["static_resources"]["listeners"]:
        (chain,) = listener["filter_chains"]
        told = chain["transport_socket"]["typed_config"]
        assert told["require_client_certificate"] is False
        common = told["common_tls_context"]
        protocols[listener["name"]] = common["alpn_protocols"]
        assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
        assert all(one.startswith("ECDHE-") for one in common["tls_params"]["cipher_suites"])
        (source,) = common["tls_certificate_sds_secret_configs"]
        path = source["sds_config"]["path_config_source"]["path"]
        (secret,) = json.loads(Path(path).read_text())["resources"]
        assert secret["tls_certificate"]["private_key"] == {"filename": str(tls.key)}
        assert secret["tls_certificate"]["watched_directory"] == {"path": str(tmp_path)}
    assert protocols == {"rest": ["h2", "http/1.1"], "grpc": ["h2"]}


def test_certificates_of_clients_are_wanted_by_both_ports(tmp_path: Path) -> None:
    moved(tmp_path / "ca.pem", authority().pem)
    planned(Settings(data=tmp_path, tls=secured(tmp_path, client_ca=tmp_path / "ca.pem")))
    for listener in edge(tmp_path)["static_resources"]["listeners"]:
        told = listener["filter_chains"][0]["transport_socket"]["typed_config"]
        assert told["require_client_certificate"] is True
        assert told["common_tls_context"]["validation_context_sds_secret_config"]["name"] == "client_ca"


def test_lambdas_need_a_certificate_where_clients_do(tmp_path: Path) -> None:
    signs = authority()
    moved(tmp_path / "ca.pem", signs.pem)
    own = placed(certificate("own", by=signs), tmp_path, "own")
    tls = secured(tmp_path, client_ca=tmp_path / "ca.pem")
    with pytest.raises(CertificateUnusable, match="LUNA_TLS__CLIENT_CERTIFICATE is empty"):
        check(Settings(tls=tls))
    check(Settings(tls=tls, lambdas=Lambdas(enabled=False)))
    shown = {"client_certificate": own[0], "client_key": own[1]}
    check(Settings(tls=tls.model_copy(update=shown)))


def test_a_start_with_files_that_are_no_good_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tls = secured(tmp_path)
    moved(tmp_path / "server.key", certificate("other").key)
    assert up.run(Settings(data=tmp_path / "data", tls=tls)) == 1
    assert "LUNA_TLS__KEY: " in capsys.readouterr().out
    moved(tmp_path / "ca.pem", b"nothing")
    with pytest.raises(CertificateUnusable, match="LUNA_TLS__CLIENT_CA: "):
        check(Settings(tls=secured(tmp_path, client_ca=tmp_path / "ca.pem")))


def test_a_shared_engine_of_this_machine_is_known_by_who_signed_its_certificate_or_by_itself(tmp_path: Path) -> None:
    chain, key = placed(certificate("engine.example.com"), tmp_path)
    moved(tmp_path / "ca.pem", authority().pem)
    engine = Engine(shared=True, certificate=chain, key=key)
    environment = planned(Settings(data=tmp_path, engine=engine))["server-1"].env or {}
    assert environment["LUNA_ENGINE__CA"] == str(chain)
    assert environment["LUNA_ENGINE__NAME"] == "engine.example.com"
    signed = engine.model_copy(update={"ca": tmp_path / "ca.pem", "name": "other.example.com"})
    environment = planned(Settings(data=tmp_path, engine=signed))["server-1"].env or {}
    assert environment["LUNA_ENGINE__CA"] == str(tmp_path / "ca.pem")
    assert environment["LUNA_ENGINE__NAME"] == "other.example.com"
    plain = planned(Settings(data=tmp_path, engine=Engine(shared=True, ca=tmp_path / "ca.pem")))["server-1"].env or {}
    assert plain["LUNA_ENGINE__CA"] == plain["LUNA_ENGINE__NAME"] == ""


def test_a_lambda_host_with_a_certificate_is_known_by_who_signed_it(tmp_path: Path) -> None:
    signs = authority()
    moved(tmp_path / "ca.pem", signs.pem)
    chain, key = placed(certificate("lambdas.example.com", by=signs), tmp_path)
    lambdas = Lambdas(certificate=chain, key=key)
    with pytest.raises(CertificateUnusable, match="LUNA_LAMBDAS__CA is empty"):
        check(Settings(lambdas=lambdas))
    lambdas = lambdas.model_copy(update={"ca": tmp_path / "ca.pem"})
    check(Settings(lambdas=lambdas))
    for name, kind, expected in (("", "IP_ADDRESS", "127.0.0.1"), ("a.example.com", "DNS", "a.example.com")):
        planned(Settings(data=tmp_path, lambdas=lambdas.model_copy(update={"name": name})))
        (cluster,) = (one for one in edge(tmp_path)["static_resources"]["clusters"] if one["name"] == "lambdas")
        believed = cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
        assert believed["trusted_ca"] == {"filename": str(tmp_path / "ca.pem")}
        assert believed["match_typed_subject_alt_names"] == [{"san_type": kind, "matcher": {"exact": expected}}]


def printed(settings: Settings) -> str:
    return "\n".join(greeting.lines(settings, "root", "secret"))


def test_what_is_printed_can_be_typed(tmp_path: Path) -> None:
    plain = printed(Settings())
    assert "REST   http://127.0.0.1:5000/6" in plain
    assert "grpcurl -plaintext" in plain
    tls = secured(tmp_path, "localhost", "127.0.0.1")
    named = printed(Settings(tls=tls))
    assert "REST   https://127.0.0.1:5000/6" in named
    assert f"curl --cacert '{tls.certificate}' -u 'root:secret' https://127.0.0.1:5000/6/account" in named
    assert f"grpcurl -cacert '{tls.certificate}' -H" in named
    assert "TLS    localhost, 127.0.0.1, valid until 20" in named


def test_where_the_certificate_has_another_name_that_is_what_is_asked_for(tmp_path: Path) -> None:
    moved(tmp_path / "ca.pem", authority().pem)
    tls = secured(tmp_path, "*.example.com", client_ca=tmp_path / "ca.pem")
    said = printed(Settings(tls=tls, rest=Rest(host="0.0.0.0"), grpc=Grpc(host="a.example.com")))
    assert "--connect-to ::0.0.0.0: -u 'root:secret' https://any.example.com:5000/6/account" in said
    assert "--cert 'CERTIFICATE' --key 'KEY' " in said
    assert "-authority" not in said
    assert "-authority any.example.com" in printed(Settings(tls=tls))


async def test_replaced_certificates_are_named_to_envoy_once_they_are_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up_certificates, "LOOK_SECONDS", 0.02)
    settings = Settings(data=tmp_path, tls=secured(tmp_path))
    planned(settings)
    named = tmp_path / "envoy" / "certificate.json"
    before = named.read_text()
    told = io.StringIO()
    first = check(settings)
    assert first is not None
    following = asyncio.create_task(up_certificates.follow(settings, first, Console(file=told)))
    await asyncio.sleep(0.1)
    newer = certificate("newer.example.com")

    async def until(text: str) -> None:
        async with asyncio.timeout(10):
            while text not in told.getvalue():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)

    try:
        (tmp_path / "server.pem").write_bytes(newer.pem)
        await until("the certificates before stay: LUNA_TLS__KEY: ")
        assert named.read_text() == before
        (tmp_path / "server.key").write_bytes(newer.key)
        await until("certificates were replaced: newer.example.com, valid until")
        assert named.read_text() != before
        assert "is to be replaced" not in told.getvalue()
        placed(certificate("short.example.com", days=6), tmp_path)
        await until("is to be replaced: short.example.com, valid until")
        await asyncio.sleep(0.1)
        assert told.getvalue().count("is to be replaced") == 1
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
