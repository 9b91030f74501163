"""The client against a real gRPC server whose answers are decided here."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.message import Message
from luna.v6 import lists_pb2, lists_pb2_grpc, platform_pb2, platform_pb2_grpc, samples_pb2, samples_pb2_grpc

from server.commands.client import Belongings, CallFailed, Client, Unreachable
from server.errors import BadBody, Busy, LunaError, SampleNotFound, Violation
from server.rpc.status import status_of


class Answers(samples_pb2_grpc.SamplesServicer, lists_pb2_grpc.ListsServicer, platform_pb2_grpc.PlatformServicer):
    """Greets; deletes samples unless told otherwise; remembers what it was asked."""

    def __init__(self) -> None:
        self.deleted: list[str] = []
        self.metadata: dict[str, str | bytes] = {}
        self.failures: list[LunaError] = []

    def GetVersion(self, request: Message, context: grpc.ServicerContext) -> platform_pb2.GetVersionResponse:  # noqa: N802
        return platform_pb2.GetVersionResponse()

    def DeleteSample(  # noqa: N802
        self, request: samples_pb2.DeleteSampleRequest, context: grpc.ServicerContext
    ) -> samples_pb2.DeleteSampleResponse:
        self.metadata = dict(context.invocation_metadata())
        if self.failures:
            context.abort_with_status(status_of(self.failures.pop(0), "1,request"))
        self.deleted.append(request.sample_id)
        return samples_pb2.DeleteSampleResponse()

    def CreateList(  # noqa: N802
        self, request: lists_pb2.CreateListRequest, context: grpc.ServicerContext
    ) -> lists_pb2.CreateListResponse:
        context.abort(grpc.StatusCode.INTERNAL, "no Luna")
        raise AssertionError


@contextmanager
def serving(*adders: Callable[[grpc.Server], None]) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    for add in adders:
        add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.fixture
def answers() -> Answers:
    return Answers()  # type: ignore[abstract]  # what is not asked for answers UNIMPLEMENTED


@pytest.fixture
def target(answers: Answers) -> Iterator[str]:
    with serving(
        lambda server: samples_pb2_grpc.add_SamplesServicer_to_server(answers, server),
        lambda server: lists_pb2_grpc.add_ListsServicer_to_server(answers, server),
        lambda server: platform_pb2_grpc.add_PlatformServicer_to_server(answers, server),
    ) as address:
        yield address


@pytest.fixture
def client(target: str) -> Iterator[Client]:
    with Client(target, ("ann@luna.org", "pass:word")) as connected:
        yield connected


def delete(client: Client, sample_id: str = "1") -> None:
    client.call(client.samples.DeleteSample, samples_pb2.DeleteSampleRequest(sample_id=sample_id))


def test_calls_carry_login_and_password(client: Client, answers: Answers) -> None:
    delete(client)

    scheme, _, value = str(answers.metadata["authorization"]).partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(value) == b"ann@luna.org:pass:word"


def test_an_error_tells_its_reason_its_detail_and_the_wrong_fields(client: Client, answers: Answers) -> None:
    answers.failures.append(
        BadBody(field="sample_id", message="too short", violations=(Violation("sample_id", "a uuid is needed"),))
    )

    with pytest.raises(CallFailed) as caught:
        delete(client)

    assert caught.value.reason == "BAD_BODY"
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    text = str(caught.value)
    assert text.startswith("DeleteSample failed with BAD_BODY: ")
    assert "too short" in text
    assert "sample_id: a uuid is needed" in text


def test_an_error_that_is_not_lunas_tells_its_code(client: Client) -> None:
    with pytest.raises(CallFailed, match="CreateList failed with INTERNAL: no Luna"):
        client.call(client.lists.CreateList, lists_pb2.CreateListRequest())


def test_a_busy_server_is_asked_again(client: Client, answers: Answers) -> None:
    answers.failures += [Busy(message="full", retry_after=0.05)] * 2

    delete(client, "later")

    assert answers.deleted == ["later"]


def test_a_server_that_stays_busy_is_given_up_at_the_deadline(client: Client, answers: Answers) -> None:
    answers.failures += [Busy(message="full", retry_after=30)]

    with pytest.raises(CallFailed) as caught:
        client.call(client.samples.DeleteSample, samples_pb2.DeleteSampleRequest(sample_id="1"), seconds=0.5)

    assert caught.value.reason == "BUSY"
    assert not answers.deleted


def test_a_port_where_nothing_listens_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(Unreachable, match=f"no service answers at {address}"), Client(address, ("a", "b")):
            pass


def test_another_grpc_service_is_not_taken_for_luna() -> None:
    with serving() as address, pytest.raises(Unreachable, match="not Luna's"), Client(address, ("a", "b")):
        pass


def test_a_server_that_fails_without_lunas_details_is_not_taken_for_luna() -> None:
    # Envoy's REST port answers to gRPC with a plain HTTP status, which the client sees as INTERNAL or UNKNOWN
    class Broken(platform_pb2_grpc.PlatformServicer):
        def GetVersion(  # noqa: N802
            self, request: Message, context: grpc.ServicerContext
        ) -> platform_pb2.GetVersionResponse:
            context.abort(grpc.StatusCode.INTERNAL, "Received http2 header with status: 400")
            raise AssertionError

        def CheckHealth(self, request: Message, context: object) -> platform_pb2.CheckHealthResponse:  # noqa: N802
            return platform_pb2.CheckHealthResponse()

    broken = Broken()
    with (
        serving(lambda server: platform_pb2_grpc.add_PlatformServicer_to_server(broken, server)) as address,
        pytest.raises(Unreachable, match="not Luna's"),
        Client(address, ("a", "b")),
    ):
        pass


def test_belongings_are_deleted_last_first(client: Client, answers: Answers) -> None:
    with Belongings(client) as made:
        for sample_id in "abc":
            made.sample(sample_id)

    assert answers.deleted == ["c", "b", "a"]


def test_belongings_are_deleted_when_the_block_fails(client: Client, answers: Answers) -> None:
    with pytest.raises(RuntimeError, match="own"), Belongings(client) as made:
        made.sample("a")
        raise RuntimeError("own")

    assert answers.deleted == ["a"]


def test_what_is_gone_already_counts_as_deleted(client: Client, answers: Answers) -> None:
    answers.failures.append(SampleNotFound(sample_id="b"))

    with Belongings(client) as made:
        made.sample("a")
        made.sample("b")

    assert answers.deleted == ["a"]


def test_a_failed_deletion_is_raised_after_the_others_were_tried(client: Client, answers: Answers) -> None:
    answers.failures.append(BadBody(field="sample_id", message="no"))

    with pytest.raises(CallFailed, match="BAD_BODY"), Belongings(client) as made:
        made.sample("a")
        made.sample("b")

    assert answers.deleted == ["a"]


def test_a_failed_deletion_does_not_hide_the_error_of_the_block(client: Client, answers: Answers) -> None:
    answers.failures.append(BadBody(field="sample_id", message="no"))

    with pytest.raises(RuntimeError, match="own") as caught, Belongings(client) as made:
        made.sample("a")
        raise RuntimeError("own")

    assert "BAD_BODY" in caught.value.__notes__[0]
