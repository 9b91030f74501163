"""Settings: names, nesting, limits, secrets, and the rule of registration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from server import settings
from server.commands.configuration import reference, values
from server.settings import Access, Engine, Grpc, Registration, Rest, Settings, Tls

LUNA = str(Path(sys.executable).with_name("luna"))


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the surroundings."""
    for name in [name for name in os.environ if name.upper().startswith(settings.PREFIX)]:
        monkeypatch.delenv(name)


def luna(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The command, as a person runs it."""
    return subprocess.run(
        [LUNA, *arguments],
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_names_nest_by_two_underscores_and_know_no_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNA_REST__PORT", "5001")
    monkeypatch.setenv("luna_engine__max_queue", "7")
    monkeypatch.setenv("LUNA_BLOBS__OPTIONS__REGION", "somewhere")
    monkeypatch.setenv("LUNA_LOG_LEVEL", "DEBUG")
    loaded = settings.load()
    assert (loaded.rest.port, loaded.engine.max_queue, loaded.log_level) == (5001, 7, "DEBUG")
    assert [secret.get_secret_value() for secret in loaded.blobs.options.values()] == ["somewhere"]


@pytest.mark.parametrize("text", ["default,liveness", " default, liveness ,", '["default", "liveness"]'])
def test_packs_are_named_by_commas_or_as_json(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert Settings().engine.packs == ("default",)
    monkeypatch.setenv("LUNA_ENGINE__PACKS", text)
    assert settings.load().engine.packs == ("default", "liveness")


@pytest.mark.parametrize("text", ["", " , ", "[", "[1]", "[]"])
def test_packs_that_are_no_names_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LUNA_ENGINE__PACKS", text)
    with pytest.raises(ValidationError, match=r"engine\.packs"):
        settings.load()


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        ({"LUNA_TLS__CERTIFICATE": "a.pem"}, "LUNA_TLS__KEY is empty"),
        ({"LUNA_TLS__KEY": "a.key", "LUNA_TLS__CERTIFICATE": " "}, "LUNA_TLS__CERTIFICATE is empty"),
        ({"LUNA_TLS__CLIENT_KEY": "a.key"}, "LUNA_TLS__CLIENT_CERTIFICATE is empty"),
        ({"LUNA_TLS__CLIENT_CA": "a.pem"}, "LUNA_TLS__CLIENT_CA needs LUNA_TLS__CERTIFICATE"),
        ({"LUNA_ENGINE__CERTIFICATE": "a.pem"}, "LUNA_ENGINE__KEY is empty"),
    ],
)
def test_half_a_certificate_is_refused(given: Mapping[str, str], lacking: str) -> None:
    ended = luna("config", "show", environment=given)
    assert ended.returncode == 2
    assert lacking in ended.stderr


def test_files_of_certificates_are_the_same_whatever_folder_a_process_is_started_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("LUNA_TLS__CERTIFICATE", "a.pem")
    monkeypatch.setenv("LUNA_TLS__KEY", "~/a.key")
    monkeypatch.setenv("LUNA_ENGINE__CA", "")
    loaded = settings.load()
    assert (loaded.tls.certificate, loaded.tls.key) == (tmp_path / "a.pem", Path("/home/ann/a.key"))
    assert loaded.engine.ca is None


def test_nobody_is_told_where_certificates_are(tmp_path: Path) -> None:
    tls = Tls(certificate=tmp_path / "a.pem", key=tmp_path / "a.key")
    assert str(tmp_path) not in repr(settings.shown(Settings(tls=tls)))


def test_a_gpu_is_given_more_images_at_a_time_than_there_are_cores() -> None:
    assert [Engine(device=one).at_once(8) for one in ("cpu", "cuda:0", "tensorrt:1")] == [8, 32, 32]
    assert Engine(device="cuda:0", workers=5).at_once(8) == 5


def test_as_many_images_wait_as_one_request_has_and_32_turns_of_all_that_are_worked_on() -> None:
    assert [Engine().waiting(at_once) for at_once in (1, 3, 4, 16)] == [100, 100, 128, 512]
    assert Engine(max_queue=7).waiting(16) == 7


def test_the_password_of_the_client_commands_is_no_unknown_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    # they read it from the environment, and some of them read the settings as well
    monkeypatch.setenv("LUNA_PASSWORD", "open sesame")
    assert "open sesame" not in repr(settings.load())


@pytest.mark.parametrize("name", ["LUNA_PORT", "LUNA_REST__PROT", "LUNA_NOPE__X", "LUNA_REST_PORT", "LUNA_"])
def test_a_name_that_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValueError, match=r"(?i)setting|extra"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [("LUNA_REST__PORT", "0"), ("LUNA_REST__PORT", "65536"), ("LUNA_REST__PORT", "x"), ("LUNA_GRPC__SERVERS", "0"),
     ("LUNA_ACCESS__REGISTRATION", "maybe"), ("LUNA_ENGINE__MAX_PIXELS", "1"), ("LUNA_REDIS__TIMEOUT_SECONDS", "0")],
)  # fmt: skip
def test_a_value_outside_its_limits_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        settings.load()


def test_the_tree_is_frozen() -> None:
    loaded = settings.load()
    for group, name in ((loaded, "log_level"), (loaded.rest, "port")):
        with pytest.raises(ValidationError):
            setattr(group, name, 1)


@pytest.mark.parametrize(
    ("rest", "grpc", "registration", "is_open"),
    [
        ("127.0.0.1", "127.0.0.1", Registration.AUTO, True),
        ("::1", "localhost", Registration.AUTO, True),
        ("0.0.0.0", "127.0.0.1", Registration.AUTO, False),
        ("127.0.0.1", "0.0.0.0", Registration.AUTO, False),
        ("127.0.0.1", "::", Registration.AUTO, False),
        ("192.168.1.2", "192.168.1.2", Registration.AUTO, False),
        ("0.0.0.0", "0.0.0.0", Registration.OPEN, True),
        ("127.0.0.1", "127.0.0.1", Registration.ADMIN, False),
    ],
)
def test_registration_is_open_by_itself_only_where_every_listener_is_on_loopback(
    rest: str, grpc: str, registration: Registration, is_open: bool
) -> None:
    one = Settings(rest=Rest(host=rest), grpc=Grpc(host=grpc), access=Access(registration=registration))
    assert one.registration_open is is_open


def test_every_setting_has_a_description_and_a_row_in_the_reference() -> None:
    def described(group: type[BaseModel]) -> None:
        for name, field in group.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                described(inner)
            else:
                assert field.description, name

    described(Settings)
    table = reference()
    for name, _ in values(settings.load()):
        assert f"| `{name}` |" in table


def test_secrets_are_hidden_wherever_settings_are_shown(tmp_path: Path) -> None:
    secret = "hunter2-hunter2"
    environment = {
        "LUNA_DATA": str(tmp_path),
        "LUNA_ACCESS__ADMIN_PASSWORD": secret,
        "LUNA_DATABASE__URL": f"postgresql://luna:{secret}@host/luna",
        "LUNA_REDIS__URL": f"redis://:{secret}@host",
        "LUNA_BLOBS__OPTIONS": f'{{"secret_access_key": "{secret}"}}',
    }
    shown = luna("config", "show", environment=environment)
    assert shown.returncode == 0, shown.stderr
    assert "LUNA_ACCESS__ADMIN_PASSWORD" in shown.stdout
    assert "**********" in shown.stdout
    assert secret not in shown.stdout + shown.stderr


def test_what_anyone_may_see_of_the_settings_leads_to_no_engine() -> None:
    engine = Engine.model_validate({"address": "10.0.0.5:50041", "host": "10.0.0.5", "secret": "hunter2"})
    seen = repr(settings.shown(Settings(engine=engine)))
    assert "max_queue" in seen
    assert "10.0.0.5" not in seen
    assert "hunter2" not in seen


@pytest.mark.parametrize(
    ("environment", "told"),
    [({"LUNA_RST__PORT": "1"}, "LUNA_RST__PORT"),
     ({"LUNA_REST__PORT": "hunter2"}, "LUNA_REST__PORT"),
     ({"LUNA_REST__NOPE": "1"}, "LUNA_REST__NOPE"),
     ({"LUNA_REST__PROT": "1"}, "LUNA_REST__PROT names no setting: is LUNA_REST__PORT meant?"),
     ({"LUNA_REST_PORT": "1"}, "LUNA_REST_PORT names no setting: is LUNA_REST__PORT meant?"),
     ({"LUNA_QUUX": "1"}, "LUNA_QUUX names no setting: `luna config reference` prints all there are"),
     ({"LUNA_REST__PORT": "70000"}, "LUNA_REST__PORT is '70000': Input should be less than or equal to 65535"),
     ({"LUNA_ENGINE__DEVICE": "gpu"}, "What runs the networks: cpu; cuda:N is ONNX Runtime"),
     ({"LUNA_LOG_LEVEL": "loud"}, "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
     ({"LUNA_BLOBS__OPTIONS": "region=x"}, "LUNA_BLOBS__OPTIONS: is no JSON"),
     ({"LUNA_BLOBS__URL": "/tmp/x"}, "LUNA_BLOBS__URL is '/tmp/x': begins with none of file://, s3://"),
     ({"LUNA_REDIS__URL": "host:6379"}, "LUNA_REDIS__URL: begins with none of redis://, rediss://, unix://")],
)  # fmt: skip
def test_a_wrong_setting_ends_the_command_with_what_was_found_and_what_is_allowed_and_no_traceback(
    environment: dict[str, str], told: str
) -> None:
    ended = luna("config", "show", environment=environment)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_that_is_wrong_is_not_printed_with_its_password() -> None:
    ended = luna("config", "show", environment={"LUNA_DATABASE__URL": "mysql://luna:hunter2@host/luna"})
    assert "LUNA_DATABASE__URL: begins with none of postgresql://" in ended.stderr
    assert "hunter2" not in ended.stdout + ended.stderr


def test_every_wrong_setting_is_told_at_once() -> None:
    ended = luna("config", "show", environment={"LUNA_REST__PORT": "x", "LUNA_GRPC__PORT": "y"})
    assert {line.split()[0] for line in ended.stderr.splitlines()} == {"LUNA_REST__PORT", "LUNA_GRPC__PORT"}


def test_an_empty_text_is_as_good_as_no_setting_where_there_may_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE__URL", "REDIS__URL", "BLOBS__URL", "MODELS", "ACCESS__ADMIN_PASSWORD", "ENGINE__SECRET"):
        monkeypatch.setenv(f"LUNA_{name}", "")
    loaded = settings.load()
    assert (loaded.database.url, loaded.redis.url, loaded.blobs.url, loaded.models) == (None, None, None, None)
    assert (loaded.access.admin_password, loaded.engine.secret) == (None, None)
    assert loaded.models_folder == loaded.data / "models"


def test_the_level_of_the_log_knows_no_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNA_LOG_LEVEL", "warning")
    assert settings.load().log_level == "WARNING"


@pytest.mark.parametrize(
    ("host", "reached"),
    [("127.0.0.1", "127.0.0.1:7"), ("0.0.0.0", "127.0.0.1:7"), ("::", "[::1]:7"), ("faces.org", "faces.org:7")],
)
def test_programs_of_the_machine_reach_grpc_where_it_is_served(host: str, reached: str) -> None:
    assert Grpc(host=host, port=7).reached == reached


def test_a_server_process_has_the_public_address_unless_it_stands_behind_envoy() -> None:
    assert Grpc(host="0.0.0.0", port=50051).listen == "0.0.0.0:50051"
    behind = Grpc(host="0.0.0.0", port=50051, server_port=50052)
    assert behind.listen == "127.0.0.1:50052"
    # what anyone may do still depends on where the service is reached
    assert not Settings(grpc=behind).registration_open
