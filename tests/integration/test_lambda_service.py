"""Lambdas as a client keeps them, by REST and by gRPC: versions, names, refusals that change nothing, and walls."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from luna.v6 import lambdas_pb2

from tests.contract.native import Native
from tests.lambda_archives import archive, until
from tests.service import Account, Service
from tests.zip_archives import zipped

MAIN = '''"""Says hello.

To <script>alert(1)</script> everybody.
"""

async def main(request):
    """Greet.

    With a smile.
    """
    print("greeting")
    return {"hello": "world"}
'''
GOOD = archive(MAIN)
BAD = zipped({"folder/lambda_main.py": MAIN.encode(), "../x": b""})
YAML, HTML = "application/x-yaml", "text/html"


@dataclass
class Client:
    """An account that asks by REST; with a token where there is one."""

    service: Service
    account: Account
    token: str = ""

    def ask(self, verb: str, path: str, **options: Any) -> requests.Response:
        headers = {**({"authorization": f"Bearer {self.token}"} if self.token else {}), **options.pop("headers", {})}
        return requests.request(
            verb,
            f"{self.service.rest}/6{path}",
            auth=None if self.token else self.account.auth,
            headers=headers,
            timeout=60,
            **options,
        )

    def send(
        self,
        verb: str,
        path: str,
        name: str = "",
        data: bytes = GOOD,
        kind: str = "application/zip",
        parameters: Mapping[str, object] | None = None,
    ) -> requests.Response:
        parts: dict[str, Any] = {
            "archive": ("lambda.zip", data, kind),
            "parameters": ("parameters", json.dumps(parameters or {}), "application/json"),
        }
        if not path.endswith("/validator"):
            given = json.dumps({"lambda_name": name or str(uuid.uuid4())})
            parts["credentials"] = ("credentials", given, "application/json")
        return self.ask(verb, path, files=parts)

    def made(self, name: str = "", kind: str = "standalone") -> str:
        answer = self.send("POST", "/lambdas", name, parameters={"lambda_type": kind})
        assert answer.status_code == 201, answer.text
        lambda_id = str(answer.json()["lambda_id"])
        assert answer.json() == {"lambda_id": lambda_id}
        assert answer.headers["location"] == f"/6/lambdas/{lambda_id}"
        return lambda_id

    def told(self, path: str, **options: Any) -> Any:
        answer = self.ask("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def names(self) -> list[str]:
        return [one["lambda_name"] for one in self.told("/lambdas")["lambdas"]]

    def with_token(self, **permissions: object) -> Client:
        answer = self.ask("POST", "/tokens", json={"expiration_time": None, "permissions": permissions})
        assert answer.status_code == 201, answer.text
        return Client(self.service, self.account, answer.json()["token"])


def refused(answer: requests.Response, status: int, code: int) -> str:
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service, service.account())


@pytest.fixture
def other(service: Service) -> Client:
    return Client(service, service.account())


def test_a_lambda_is_kept_changed_and_deleted(client: Client) -> None:
    lambda_id = client.made("first")
    path = f"/lambdas/{lambda_id}"
    found = client.told(path)
    assert (found["lambda_name"], found["description"], found["version"]) == ("first", "", 1)
    assert (found["lambda_type"], found["additional_user_docker_commands"]) == ("standalone", [])
    assert (found["account_id"], found["lambda_id"]) == (client.account.account_id, lambda_id)
    assert found["base_image"]["origin"] == "luna"
    parameters = {"lambda_type": "handlers", "additional_user_docker_commands": ["RUN x"]}
    assert client.send("PUT", path, "second", parameters=parameters).json() == {"version": 2}
    assert client.ask("POST", f"{path}/update").json() == {"version": 3}
    assert client.ask("PATCH", path, json={"description": "told"}).status_code == 204
    found = client.told(path)
    assert (found["lambda_name"], found["description"], found["version"]) == ("second", "told", 3)
    assert (found["lambda_type"], found["additional_user_docker_commands"]) == ("handlers", ["RUN x"])
    assert client.ask("HEAD", path).status_code == 200
    assert client.ask("DELETE", path).status_code == 204
    assert refused(client.ask("GET", path), 404, 42001) == f"Lambda with id '{lambda_id}' not found"
    assert client.ask("HEAD", path).status_code == 404
    assert client.names() == []


def test_a_slash_at_the_end_is_taken(client: Client) -> None:
    answer = client.send("POST", "/lambdas/")
    assert answer.status_code == 201, answer.text
    lambda_id = answer.json()["lambda_id"]
    assert client.told("/lambdas/")["lambdas"][0]["lambda_id"] == lambda_id
    assert client.ask("DELETE", f"/lambdas/{lambda_id}/").status_code == 204


def test_lambdas_are_listed_newest_first_and_by_type(client: Client) -> None:
    for name, kind in (("a", "standalone"), ("b", "handlers"), ("c", "standalone")):
        client.made(name, kind)
    assert client.names() == ["c", "b", "a"]
    by_type = client.told("/lambdas", params={"lambda_type": "standalone"})["lambdas"]
    assert [one["lambda_name"] for one in by_type] == ["c", "a"]
    page = client.told("/lambdas", params={"page": 2, "page_size": 2})["lambdas"]
    assert [one["lambda_name"] for one in page] == ["a"]
    assert "lambda_type" in refused(client.ask("GET", "/lambdas", params={"lambda_type": "agent"}), 400, 12012)


def test_a_name_is_taken_once_in_an_account(client: Client, other: Client) -> None:
    client.made("mine")
    second = client.made("second")
    other.made("mine")
    message = "Lambda with name 'mine' already exists"
    assert refused(client.send("POST", "/lambdas", "mine"), 409, 42003) == message
    assert refused(client.send("PUT", f"/lambdas/{second}", "mine"), 409, 42003) == message
    assert refused(client.ask("PATCH", f"/lambdas/{second}", json={"lambda_name": "mine"}), 409, 42003) == message
    assert client.told(f"/lambdas/{second}")["version"] == 1
    assert client.ask("PATCH", f"/lambdas/{second}", json={"lambda_name": "second"}).status_code == 204


@pytest.mark.parametrize(
    ("body", "code", "named"),
    [
        ({}, 12022, "lambda_name, description"),
        ({"lambda_name": ""}, 12022, "lambda_name"),
        ({"lambda_name": "x" * 129}, 12022, "lambda_name"),
        ({"description": "x" * 257}, 12022, "description"),
        ({"version": 7}, 12022, "version"),
        ({"lambda_name": None}, 12022, "lambda_name"),
    ],
)
def test_a_change_that_is_none_is_refused(client: Client, body: Mapping[str, object], code: int, named: str) -> None:
    lambda_id = client.made("one")
    assert named in refused(client.ask("PATCH", f"/lambdas/{lambda_id}", json=body), 400, code)
    found = client.told(f"/lambdas/{lambda_id}")
    assert (found["lambda_name"], found["create_time"]) == ("one", found["last_update_time"])


def test_an_archive_that_is_not_valid_is_refused_and_changes_nothing(client: Client) -> None:
    one = client.made("one")
    for answer in (client.send("POST", "/lambdas", data=BAD), client.send("PUT", f"/lambdas/{one}", data=BAD)):
        assert "'../x': its name leads out of the archive" in refused(answer, 400, 42005)
    for data in (b"", b"no archive"):
        assert "no ZIP archive" in refused(client.send("POST", "/lambdas", data=data), 400, 42005)
    assert "application/zip" in refused(client.send("POST", "/lambdas", kind="application/octet-stream"), 400, 12041)
    assert client.names() == ["one"]
    assert client.told(f"/lambdas/{one}")["version"] == 1
    tokens = client.told("/tokens")["tokens"]
    assert [token["description"] for token in tokens] == ["lambda one"]


def test_the_validator_says_everything_that_is_wrong_to_everybody(service: Service) -> None:
    nobody = Client(service, Account("", "", ""), token="none")
    assert nobody.send("POST", "/lambdas/validator").json() == {"errors": []}
    found = nobody.send("POST", "/lambdas/validator", data=zipped({"folder/lambda_main.py": MAIN.encode()}))
    assert found.status_code == 200
    (error,) = found.json()["errors"]
    assert "belongs at the top of the archive" in error
    code = nobody.send("POST", "/lambdas/validator", data=zipped({"lambda_main.py": b"def main(): pass"}))
    assert code.json()["errors"] == [
        "lambda_main.py, line 1: main must be an asynchronous function: async def main(request)"
    ]
    wrong = nobody.send("POST", "/lambdas/validator", parameters={"lambda_type": "agent"})
    assert "parameters.lambda_type" in refused(wrong, 400, 12022)


def test_what_another_account_has_is_not_there(client: Client, other: Client) -> None:
    path = f"/lambdas/{client.made('mine')}"
    for verb, what in (
        ("GET", ""),
        ("HEAD", ""),
        ("DELETE", ""),
        ("GET", "/status"),
        ("GET", "/logs"),
        ("GET", "/image/status"),
        ("GET", "/image/logs"),
        ("POST", "/update"),
    ):
        answer = other.ask(verb, path + what, params={"account_id": client.account.account_id})
        assert answer.status_code == 404, (verb, what)
    assert refused(other.send("PUT", path), 404, 42001)
    assert refused(other.ask("PATCH", path, json={"description": "x"}), 404, 42001)
    assert other.names() == []
    assert client.told(path)["version"] == 1


def test_an_account_that_reads_all_reads_lambdas_and_changes_none(service: Service, client: Client) -> None:
    reader = Client(service, service.account("advanced_user"))
    path = f"/lambdas/{client.made('mine')}"
    assert reader.told(path)["account_id"] == client.account.account_id
    found = reader.told("/lambdas", params={"account_id": client.account.account_id})["lambdas"]
    assert [one["lambda_name"] for one in found] == ["mine"]
    assert refused(reader.ask("DELETE", path), 404, 42001)


def test_a_lambda_of_a_token_may_do_no_more_than_it_and_the_token_of_a_deleted_one_is_gone(client: Client) -> None:
    maker = client.with_token(**{"lambda": ["creation", "deletion"], "face": ["view"], "token": ["view"]})
    lambda_id = maker.made("narrow")
    (token,) = [one for one in client.told("/tokens")["tokens"] if one["description"] == "lambda narrow"]
    granted = {name: actions for name, actions in token["permissions"].items() if actions and name != "emit_events"}
    assert granted == {"face": ["view"]}
    assert token["visibility_area"] == "account"
    assert client.ask("DELETE", f"/lambdas/{lambda_id}").status_code == 204
    assert refused(client.ask("GET", f"/tokens/{token['token_id']}"), 404, 41005)


def test_new_code_of_a_token_narrows_what_the_lambda_may_do(client: Client) -> None:
    lambda_id = client.made("wide")
    editor = client.with_token(**{"lambda": ["modification"], "list": ["view", "creation"]})
    assert editor.send("PUT", f"/lambdas/{lambda_id}", "wide").status_code == 200
    (token,) = [one for one in client.told("/tokens")["tokens"] if one["description"] == "lambda wide"]
    granted = {name: actions for name, actions in token["permissions"].items() if actions and name != "emit_events"}
    assert granted == {"list": ["creation", "view"]}
    assert token["permissions"]["emit_events"]["allowed"] == 0


def test_status_logs_and_documentation_of_a_lambda(service: Service, client: Client) -> None:
    lambda_id = client.made("told")
    path = f"/lambdas/{lambda_id}"
    assert client.told(f"{path}/status")["status"] in {"waiting", "running"}
    assert client.told(f"{path}/image/status")["status"] in {"in_progress", "completed"}
    until(service, client.account, lambda_id, "running")
    assert client.told(f"{path}/image/status") == {"status": "completed"}
    for what in ("logs", "image/logs"):
        every = client.told(f"{path}/{what}")["logs"]
        assert all(isinstance(line, str) for line in every)
        assert client.told(f"{path}/{what}", params={"tail_lines": 0})["logs"] == []
        assert client.told(f"{path}/{what}", params={"tail_lines": 1})["logs"] == every[-1:]
        assert client.told(f"{path}/{what}", params={"tail_lines": 4294967296})["logs"] == every
        assert "tail_lines" in refused(client.ask("GET", f"{path}/{what}", params={"tail_lines": -1}), 400, 12012)
    described = requests.get(f"{service.rest}/6{path}/docs/spec", headers={"accept": YAML}, timeout=30)
    assert described.status_code == 200, described.text
    assert described.headers["content-type"] == YAML
    assert "Greet." in described.text
    page = requests.get(f"{service.rest}/6{path}/docs/spec", headers={"accept": HTML}, timeout=30)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert" in page.text
    other = requests.get(f"{service.rest}/6{path}/docs/spec", headers={"accept": "application/json"}, timeout=30)
    assert YAML in refused(other, 406, 12023)


def test_a_handler_of_type_2_names_a_lambda_of_its_account(client: Client, other: Client) -> None:
    standalone, handlers = client.made(), client.made(kind="handlers")

    def made(lambda_id: str | None, **more: object) -> requests.Response:
        return client.ask("POST", "/handlers", json={"handler_type": 2, "lambda_id": lambda_id, **more})

    assert "lambda_id" in refused(made(None), 400, 12003)
    assert "not of type 'handlers'" in refused(made(standalone), 400, 12022)
    assert "policies" in refused(made(handlers, policies={}), 400, 12022)
    for unknown in (str(uuid.uuid4()), other.made(kind="handlers")):
        assert unknown in refused(made(unknown), 404, 42001)
    handler_id = made(handlers).json()["handler_id"]
    found = client.told(f"/handlers/{handler_id}")
    assert (found["handler_type"], found["lambda_id"], found["policies"]) == (2, handlers, None)
    content = {
        "source": {"source_type": "zip", "reference": "http://example.com/a.zip"},
        "handler": {"handler_id": handler_id},
    }
    task = client.ask("POST", "/tasks/estimator", json={"content": content})
    assert "content.handler.handler_id" in refused(task, 400, 12022)
    assert client.ask("DELETE", f"/lambdas/{handlers}").status_code == 204
    events = client.ask("POST", f"/handlers/{handler_id}/events", data=b"anything", headers={"content-type": "a/b"})
    assert handlers in refused(events, 404, 42001)


def test_a_request_that_is_wrong_for_an_ordinary_handler_is_refused_as_ever(client: Client) -> None:
    handler_id = client.ask("POST", "/handlers", json={"policies": {}}).json()["handler_id"]
    path = f"/handlers/{handler_id}/events"
    assert refused(client.ask("POST", path, data=b"x", headers={"content-type": "a/b"}), 400, 12024)
    assert refused(client.ask("POST", path, data=b"{", headers={"content-type": "application/json"}), 400, 12002)


def test_the_same_by_grpc(client: Client, service: Service) -> None:
    with service.channel() as channel:
        native = Native(channel)
        credentials = lambdas_pb2.LambdaCredentials(lambda_name="native")
        made = native.call(
            "Lambdas/CreateLambda",
            lambdas_pb2.CreateLambdaRequest(archive=GOOD, credentials=credentials),
            client.account,
        )
        assert isinstance(made, lambdas_pb2.CreateLambdaResponse)
        assert client.told(f"/lambdas/{made.lambda_id}")["lambda_name"] == "native"
        bad = lambdas_pb2.CreateLambdaRequest(archive=BAD, credentials=lambdas_pb2.LambdaCredentials(lambda_name="bad"))
        assert native.refused("Lambdas/CreateLambda", bad, client.account).reason == "BAD_LAMBDA"
        same = lambdas_pb2.CreateLambdaRequest(archive=GOOD, credentials=credentials)
        assert native.refused("Lambdas/CreateLambda", same, client.account).reason == "LAMBDA_NAME_TAKEN"
        empty = lambdas_pb2.PatchLambdaRequest(lambda_id=made.lambda_id)
        assert native.refused("Lambdas/PatchLambda", empty, client.account).reason == "BAD_BODY"
        found = native.call(
            "Lambdas/ValidateLambda",
            lambdas_pb2.ValidateLambdaRequest(archive=BAD, parameters=lambdas_pb2.LambdaParameters()),
            None,
        )
        assert isinstance(found, lambdas_pb2.ValidateLambdaResponse)
        assert found.errors
