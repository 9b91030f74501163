"""Buckets as sources, by moto's server on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from aiobotocore.session import AioSession

from server.domain.task_contents import S3Source
from server.errors import BadBody, InvalidInput, Unavailable
from tests.integration.sources.conftest import MakeLooking

moto_server = pytest.importorskip("moto.server")

FILES = {
    "in/b.jpg": b"b",
    "in/a.jpg": b"a",
    "in/лицо 1.png": b"c",
    "in/deep/d.jpg": b"d",
    "in/empty.jpg": b"",
    "in/": b"",
    "top.jpg": b"t",
    "in/large.jpg": bytes(2 << 20),
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
async def source(endpoint: str) -> S3Source:
    known = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    async with AioSession().create_client("s3", **known, **keys) as client:
        await client.create_bucket(Bucket="images")
        for key, data in FILES.items():
            await client.put_object(Bucket="images", Key=key, Body=data)
    return S3Source("images", endpoint, "us-east-1", "in/", access_key="key", secret_key="secret")


def changed(source: S3Source, **changes: object) -> S3Source:
    return S3Source(**{**{name: getattr(source, name) for name in S3Source.__slots__}, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("signature", ["s3v4", "s3v2"])
async def test_files_come_by_their_keys(looking: MakeLooking, source: S3Source, signature: str) -> None:
    look = looking()
    found = await look.all(changed(source, recursive=True, signature=signature))
    assert "larger than" in str(found.pop("in/large.jpg"))
    assert found == {
        key: data for key, data in FILES.items() if key.startswith("in/") and len(data) < 9 and key != "in/"
    }
    assert list(found) == sorted(found)


async def test_only_the_folder_of_the_prefix_is_looked_into_unless_more_is_asked_for(
    looking: MakeLooking, source: S3Source
) -> None:
    look = looking()
    assert "in/deep/d.jpg" not in await look.names(source)
    assert await look.names(changed(source, prefix="in/a")) == ["in/a.jpg"]
    assert await look.names(changed(source, prefix="")) == ["top.jpg"]


async def test_a_listing_has_more_than_one_page(looking: MakeLooking, source: S3Source, endpoint: str) -> None:
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    async with AioSession().create_client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys) as client:
        for number in range(1001):
            await client.put_object(Bucket="images", Key=f"many/{number:04}.jpg", Body=b"x")
    look = looking()
    names = await look.names(changed(source, prefix="many/"))
    assert names == [f"many/{number:04}.jpg" for number in range(1001)]
    assert await look.names(changed(source, prefix="many/"), names[998]) == names[999:]
    with pytest.raises(InvalidInput, match="more than 1000 files"):
        await looking(max_files=1000).names(changed(source, prefix="many/"))


async def test_a_bucket_that_is_not_there_is_an_error_of_the_task_that_tells_no_key(
    looking: MakeLooking, source: S3Source
) -> None:
    missing = changed(source, bucket="nowhere", secret_key="geheim", access_key="schluessel")
    with pytest.raises(InvalidInput, match="NoSuchBucket") as caught:
        await looking().names(missing)
    told = caught.value.detail + repr(missing)
    assert "geheim" not in told
    assert "schluessel" not in told


async def test_a_file_that_is_gone_is_an_error_of_that_file(looking: MakeLooking, source: S3Source) -> None:
    async with looking().open(source) as files:
        with pytest.raises(Exception, match="NoSuchKey"):
            await files.read("in/gone.jpg")


async def test_the_keys_of_the_machine_are_never_used(
    looking: MakeLooking, source: S3Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    async def judge(self: object, *arguments: object, **named: object) -> object:
        request = arguments[0]
        sent.append(str(request.headers.get("Authorization", "")))  # type: ignore[attr-defined]
        return await original(self, *arguments, **named)  # type: ignore[arg-type]

    from aiobotocore.httpsession import AIOHTTPSession

    original = AIOHTTPSession.send
    monkeypatch.setattr(AIOHTTPSession, "send", judge)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "machine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "machine")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert "in/a.jpg" in await looking().names(changed(source, access_key="", secret_key=""))
    await looking().names(source)
    assert sent[0] == ""
    assert "key/" in sent[1]
    assert not any("machine" in one for one in sent)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "169.254.169.254", "10.0.0.1"])
async def test_a_private_host_is_refused_unless_the_operator_allows_it(
    looking: MakeLooking, source: S3Source, host: str
) -> None:
    with pytest.raises(InvalidInput, match="not a public one"):
        await looking(allow_private=False).names(changed(source, endpoint=f"http://{host}:9000"))


async def test_a_name_that_is_private_only_when_it_is_connected_to_is_not_connected_to(
    looking: MakeLooking, source: S3Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.sources import s3

    async def fine(endpoint: str, *, allow_private: bool) -> None:
        """What a name answers that changes afterwards."""

    monkeypatch.setattr(s3, "_judge", fine)
    port = source.endpoint.rpartition(":")[2]
    with pytest.raises(Unavailable):
        await looking(allow_private=False).names(changed(source, endpoint=f"http://localhost:{port}"))
    assert await looking().names(changed(source, endpoint=f"http://localhost:{port}"))


async def test_a_server_that_is_not_there_may_come_back(looking: MakeLooking, source: S3Source) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="S3 server"):
            await looking().names(changed(source, endpoint=f"http://127.0.0.1:{probe.getsockname()[1]}"))


@pytest.mark.parametrize(
    "changes",
    [{"bucket": "a b"}, {"region": "us/../east"}, {"endpoint": "ftp://host"}, {"endpoint": "http://a:b@host"}],
)
async def test_what_cannot_be_is_refused_by_its_field(
    looking: MakeLooking, source: S3Source, changes: dict[str, str]
) -> None:
    with pytest.raises(BadBody):
        await looking().names(changed(source, **changes))


async def test_an_arn_that_is_none_is_an_error_of_the_task(looking: MakeLooking, source: S3Source) -> None:
    with pytest.raises(InvalidInput):
        await looking().names(changed(source, bucket="arn:aws:nothing", endpoint=""))
