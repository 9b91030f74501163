"""The program that lambdas' code runs in: what requests are read as, what answers become, and its life."""

from __future__ import annotations

import gzip
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from tests.lambda_process import Running, described, error_of, lambda_process

MANY = '''
"""Answers in every way there is."""

import asyncio
import numpy as np
from luna_lambda import BadRequest, Refused, Response, Routes
from luna.v6 import images_pb2

routes = Routes()


class UserCtx:
    async def onStart(self):
        self.calls = 0
        print("started")

    async def onShutdown(self):
        print("shut down after", self.calls)


@routes.get("people/{name}")
async def person(request):
    return request.variables


@routes.post("people/{name}/photos/{number}")
async def photo(request):
    return [request.variables["name"], request.variables["number"]]


@routes.get("pieces")
async def pieces(request):
    async def made():
        yield b"one "
        if "fail" in request.query:
            raise ValueError("in the middle")
        yield b"two"

    return Response(made(), status=207, headers=[("X-Two", "a"), ("X-Two", "b")])


@routes.get("early")
async def early(request):
    async def made():
        raise KeyError("at once")
        yield b""

    return Response(made())


async def main(request):
    request.userCtx.calls += 1
    match request.path.removeprefix("/main/"):
        case "request":
            return {
                "method": request.method, "path": request.path, "query": list(request.query.items()),
                "type": request.type, "version": request.version, "lambda": request.lambda_id,
                "account": request.account_id, "id": request.request_id, "header": request.headers.get("x-some"),
                "same": request.userCtx is request.user_ctx, "body": (await request.body()).decode("latin-1"),
            }
        case "json":
            return await request.json()
        case "text":
            return await request.text()
        case "size":
            return sum([len(piece) async for piece in request.stream()])
        case "form":
            return [[part.name, part.filename, part.content_type, part.body.decode()] for part in await request.form()]
        case "message":
            return Response(images_pb2.Rect(x=1, y=2, width=3, height=4), status=201)
        case "array":
            return {"array": np.arange(3), "number": np.float32(0.5)}
        case "nothing":
            return None
        case "bytes":
            return Response(b"\\x00\\x01", content_type="image/png")
        case "refused":
            raise Refused(409, "such a thing is there", error_code=99001, desc="Conflict")
        case "fail":
            print("about to fail")
            raise LookupError("a secret of the lambda")
        case "set":
            return {1, 2}
        case "infinite":
            return float("inf")
        case "split":
            return Response(b"", headers={"X-Bad": "a\\r\\nSet-Cookie: b"})
        case "unheard":
            return Response(b"", status=42)
        case "none":
            return Response({"a": 1}, status=204)
        case "logged":
            request.log.info("told by the log")
        case "slow":
            await asyncio.sleep(0.3)
            return "slow"
'''


@pytest.fixture(scope="module")
def many() -> Iterator[Running]:
    with lambda_process({"lambda_main.py": MANY}) as one:
        yield one


def ask(one: Running, path: str, method: str = "POST", **options: object) -> httpx.Response:
    return one.client.request(method, f"/main/{path}", timeout=20, **options)  # type: ignore[arg-type]


def test_the_request_says_what_was_asked_and_who_the_lambda_is(many: Running) -> None:
    answer = ask(
        many,
        "request?a=1&a=2&b=%C3%BC",
        "PUT",
        content=b"\xff\x00",
        headers={"X-Some": "thing", "Luna-Request-Id": "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a"},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "method": "PUT",
        "path": "/main/request",
        "query": [["a", "1"], ["a", "2"], ["b", "ü"]],
        "type": "standalone",
        "version": 3,
        "lambda": many.lambda_id,
        "account": many.account_id,
        "id": "1536751345,8b8b5937-2e9c-4e8b-a7a7-5caf86621b5a",
        "header": "thing",
        "same": True,
        "body": "\xff\x00",
    }


def test_json_is_read_and_written(many: Running) -> None:
    value = {"a": [1, None, "ü", {"b": 1.5}]}
    assert ask(many, "json", json=value).json() == value
    assert ask(many, "text", content="ü".encode()).json() == "ü"
    assert ask(many, "nothing").content == b"null"


@pytest.mark.parametrize(
    ("path", "body"), [("json", b"{"), ("json", b"\xff"), ("json", b"[" * 100_000), ("text", b"\xff")]
)
def test_a_body_that_is_not_what_is_read_is_the_callers_error(many: Running, path: str, body: bytes) -> None:
    answer = ask(many, path, content=body)
    assert answer.status_code == 400
    assert error_of(answer)[0] == 12022
    assert "luna-lambda-error" not in answer.headers


def test_forms_of_both_kinds_are_read(many: Running) -> None:
    assert ask(many, "form", data={"a": "ü", "b": ""}).json() == [
        ["a", "", "text/plain", "ü"],
        ["b", "", "text/plain", ""],
    ]
    files = {"f": ("ü.txt", b"x\r\n--y", "Text/HTML; charset=utf-8")}
    assert ask(many, "form", files=files).json() == [["f", "ü.txt", "text/html", "x\r\n--y"]]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\ncut"),
        ("multipart/form-data", b"--x"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: attachment\r\n\r\na\r\n--x--\r\n"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 1001)),
        ("text/plain", b"a=1"),
    ],
)
def test_a_broken_form_is_the_callers_error(many: Running, kind: str, body: bytes) -> None:
    answer = ask(many, "form", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert error_of(answer)[0] == 12022


@pytest.mark.parametrize("path", ["size", "request", "json"])
def test_a_body_that_is_too_large_is_refused_while_it_is_read(many: Running, path: str) -> None:
    assert ask(many, "size", content=b"x" * (1 << 20)).json() == 1 << 20
    answer = ask(many, path, content=b"x" * ((1 << 20) + 1))
    assert (answer.status_code, error_of(answer)[0]) == (413, 12046)


def test_a_compressed_body_passes_as_it_is(many: Running) -> None:
    packed = gzip.compress(b"x" * 1000)
    answer = ask(many, "size", content=packed, headers={"Content-Encoding": "gzip"})
    assert answer.json() == len(packed)


def test_answers_have_the_status_type_and_headers_that_they_are_given(many: Running) -> None:
    message = ask(many, "message")
    assert (message.status_code, message.json()) == (201, {"x": 1, "y": 2, "width": 3, "height": 4})
    assert ask(many, "array").json() == {"array": [0, 1, 2], "number": 0.5}
    assert (ask(many, "none").status_code, ask(many, "none").content) == (204, b"")
    image = ask(many, "bytes")
    assert (image.headers["content-type"], image.content) == ("image/png", b"\x00\x01")


def test_an_answer_in_pieces_is_sent_as_it_is_made(many: Running) -> None:
    answer = many.client.get("/pieces")
    assert (answer.status_code, answer.content) == (207, b"one two")
    assert answer.headers.get_list("x-two") == ["a", "b"]


def test_an_answer_that_fails_in_the_middle_is_cut_off(many: Running) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        many.client.get("/pieces?fail=1")
    assert "in the middle" in many.log


def test_an_answer_that_fails_at_once_is_a_failure(many: Running) -> None:
    answer = many.client.get("/early")
    assert (answer.status_code, answer.headers["luna-lambda-error"]) == (500, "KeyError")


def test_a_refusal_has_lunas_form(many: Running) -> None:
    answer = ask(many, "refused")
    assert answer.status_code == 409
    assert answer.json() == {"error_code": 99001, "desc": "Conflict", "detail": "such a thing is there", "link": ""}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("fail", "LookupError"),
        ("set", "TypeError"),
        ("infinite", "ValueError"),
        ("split", "ValueError"),
        ("unheard", "ValueError"),
    ],
)
def test_a_failure_tells_its_name_and_nothing_else(many: Running, path: str, name: str) -> None:
    answer = ask(many, path)
    assert (answer.status_code, answer.headers["luna-lambda-error"], answer.content) == (500, name, b"")
    assert ask(many, "nothing").status_code == 200


def test_the_log_has_what_was_printed_logged_and_raised(many: Running) -> None:
    ask(many, "fail")
    ask(many, "logged")
    assert "about to fail" in many.log
    assert "LookupError: a secret of the lambda" in many.log
    assert "told by the log" in many.log


def test_routes_come_before_main_and_know_their_verbs(many: Running) -> None:
    assert many.client.get("/people/J%C3%B6rg").json() == {"name": "Jörg"}
    assert many.client.head("/people/a").status_code == 200
    assert many.client.post("/people/a/photos/2/").json() == ["a", "2"]
    wrong = many.client.delete("/people/a")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert many.client.get("/people/a/b").content == b"null"


def test_calls_are_answered_side_by_side(many: Running) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(many, "slow").json(), range(8)))
    assert answers == ["slow"] * 8
    assert time.monotonic() - started < 8 * 0.3


def test_a_lambda_that_is_told_to_stop_finishes_its_calls_and_shuts_down() -> None:
    with lambda_process({"lambda_main.py": MANY}) as one, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, one, "slow")
        time.sleep(0.1)
        assert one.stop() == 0
        assert slow.result(5).json() == "slow"
        assert "started\n" in one.log
        assert one.log.endswith("shut down after 1\n")


SLOW_START = """
import asyncio

class UserCtx:
    async def onStart(self):
        await asyncio.sleep({seconds})
        {then}

    async def onShutdown(self):
        print("shut down")

async def main(request):
    return 1
"""


def test_a_lambda_takes_no_calls_before_it_has_started() -> None:
    with lambda_process({"lambda_main.py": SLOW_START.format(seconds=1, then="print(1)")}, wait=False) as one:
        assert one.client.get("/.luna/health", timeout=10).status_code == 503
        assert one.client.post("/main").status_code == 503


def test_a_lambda_can_be_stopped_while_it_starts() -> None:
    with lambda_process({"lambda_main.py": SLOW_START.format(seconds=60, then="pass")}, wait=False) as one:
        assert one.client.get("/.luna/health", timeout=10).status_code == 503
        assert one.stop() == 0
        assert "shut down" not in one.log


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("def main(request): pass", "no asynchronous function main(request)"),
        ("x = 1", "no asynchronous function main(request)"),
        (SLOW_START.format(seconds=0, then="raise OSError('no start')"), "OSError: no start"),
        ("async def main(request) pass", "SyntaxError"),
    ],
)
def test_a_lambda_that_can_not_start_says_why_and_ends(code: str, said: str) -> None:
    with lambda_process({"lambda_main.py": code}, wait=False) as one:
        assert one.process.wait(20) == 1
        assert said in one.log
        assert "shut down" not in one.log


def test_ctrl_c_stops_a_lambda_too() -> None:
    with lambda_process({"lambda_main.py": "async def main(request): pass"}) as one:
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(10) == 0


def test_a_description_is_made_of_docstrings_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "lambda_main.py").write_text(MANY.lstrip() + "\nraise SystemExit('run')\n")
    done = described(tmp_path)
    assert done.returncode == 0, done.stderr
    document = yaml.safe_load(done.stdout)
    assert document["info"]["title"] == "Answers in every way there is."
    assert set(document["paths"]) == {
        "/main",
        "/early",
        "/pieces",
        "/people/{name}",
        "/people/{name}/photos/{number}",
    }
    assert [one["name"] for one in document["paths"]["/people/{name}/photos/{number}"]["post"]["parameters"]] == [
        "name",
        "number",
    ]


def test_a_description_of_its_own_is_shown_as_it_is(tmp_path: Path) -> None:
    text = "openapi: 3.1.0\ninfo: {title: Ü, version: '1'}  # mine\npaths: {}\n"
    (tmp_path / "openapi.yaml").write_text(text)
    assert described(tmp_path).stdout == text


@pytest.mark.parametrize("text", ["[", "title: none", "- openapi", "\x00", "!!python/object:os.system {}"])
def test_a_description_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "openapi.yaml").write_text(text)
    done = described(tmp_path)
    assert done.returncode == 1
    assert "openapi.yaml" in done.stderr
    assert "Traceback" not in done.stderr
