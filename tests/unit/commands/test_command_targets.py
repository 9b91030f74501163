"""Where commands go, and what they believe of what answers there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import typer
from google.protobuf.message import Message
from luna.v6 import platform_pb2, platform_pb2_grpc

from server.commands.application import reached
from server.commands.client import Client, Unreachable
from server.edge_client import Trust
from tests.certificates import Made, authority, certificate, moved, placed

LOGIN = ("ann@luna.org", "password")


class Greets(platform_pb2_grpc.PlatformServicer):
    def GetVersion(self, request: Message, context: grpc.ServicerContext) -> platform_pb2.GetVersionResponse:  # noqa: N802
        return platform_pb2.GetVersionResponse()


@contextmanager
def serving(made: Made) -> Iterator[str]:
    """A server with a certificate."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    platform_pb2_grpc.add_PlatformServicer_to_server(Greets(), server)  # type: ignore[abstract]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(made.key, made.pem)]))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CERTIFICATE", "KEY", "CA", "CLIENT_CERTIFICATE", "CLIENT_KEY", "CLIENT_CA"):
        monkeypatch.delenv(f"LUNA_TLS__{name}", raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the certificate of a service of this machine, which the settings name."""
    chain, key = placed(certificate("faces.example.com"), tmp_path)
    monkeypatch.setenv("LUNA_TLS__CERTIFICATE", str(chain))
    monkeypatch.setenv("LUNA_TLS__KEY", str(key))
    return tmp_path


def test_without_a_word_it_is_plain_text() -> None:
    assert reached("127.0.0.1:50051", None) == ("127.0.0.1:50051", None)
    assert reached("http://a:1", None) == ("a:1", None)


def test_a_target_that_is_not_given_is_the_service_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNA_GRPC__HOST", "0.0.0.0")
    monkeypatch.setenv("LUNA_GRPC__PORT", "50999")
    assert reached("", None) == ("127.0.0.1:50999", None)


def test_a_target_of_https_is_believed_as_everybody_believes_it() -> None:
    assert reached("https://a:1", None) == ("a:1", Trust())


def test_plain_text_that_is_asked_for_is_had_whatever_the_settings_say(folder: Path) -> None:
    assert reached("http://a:1", None) == ("a:1", None)


def test_other_targets_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        reached("ftp://a:1", None)
    assert "ftp://a:1" in capsys.readouterr().err


def test_a_file_that_holds_no_authorities_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        reached("a:1", tmp_path / "none.pem")
    assert "--ca: " in capsys.readouterr().err


def test_a_service_of_this_machine_is_found_by_its_own_certificate(folder: Path) -> None:
    made = certificate("other.example.com")
    placed(made, folder)
    with serving(made) as target:
        address, trust = reached(target, None)
        with Client(address, LOGIN, trust):
            pass


def test_another_service_is_found_by_its_authority_and_its_name(tmp_path: Path) -> None:
    signs = authority()
    moved(tmp_path / "ca.pem", signs.pem)
    with serving(certificate("127.0.0.1", by=signs)) as target:
        address, trust = reached(f"https://{target}", tmp_path / "ca.pem")
        with Client(address, LOGIN, trust):
            pass
    with serving(certificate("faces.example.com", by=signs)) as target:
        address, trust = reached(target, tmp_path / "ca.pem")
        with pytest.raises(Unreachable, match="has not the name that is expected"), Client(address, LOGIN, trust):
            pass


def test_what_is_wrong_is_said(folder: Path) -> None:
    with serving(certificate("faces.example.com")) as target:
        address, trust = reached(target, None)
        with pytest.raises(Unreachable, match="signed by nobody who is believed here"), Client(address, LOGIN, trust):
            pass
        with pytest.raises(Unreachable, match="https://HOST:PORT"), Client(target, LOGIN):
            pass
