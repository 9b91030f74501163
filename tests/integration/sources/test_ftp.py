"""FTP servers as sources, by pyftpdlib on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.domain.task_contents import FtpSource
from server.errors import InvalidInput, Unavailable
from tests.integration.sources.conftest import MakeLooking

with warnings.catch_warnings():
    # it imports asyncore, which Python 3.11 warns of
    warnings.simplefilter("ignore", DeprecationWarning)
    pytest.importorskip("pyftpdlib.handlers")
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

Serve = Callable[..., FtpSource]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves tmp_path/ftp, where files are, and gives the source that it is."""
    root = tmp_path / "ftp"
    (root / "in" / "deep").mkdir(parents=True)
    for name in ("in/b.jpg", "in/a.jpg", "in/лицо 1.png", "in/deep/c.jpg", "top.jpg"):
        (root / name).write_bytes(name.encode())
    (root / "in" / "empty.jpg").write_bytes(b"")
    (root / "in" / "large.jpg").write_bytes(bytes(3 << 20))
    (root / "in" / "out.jpg").symlink_to("/etc/passwd")
    stops: list[Callable[[], None]] = []

    def start(*, anonymous: bool = False, handler: dict[str, Any] | None = None, **source: Any) -> FtpSource:
        authorizer = DummyAuthorizer()
        if anonymous:
            authorizer.add_anonymous(str(root))
        else:
            authorizer.add_user("reader", "pass word", str(root), perm="elr")
        kind = type("Handler", (FTPHandler,), {"authorizer": authorizer, **(handler or {})})
        loop = IOLoop()
        server = FTPServer(("127.0.0.1", 0), kind, ioloop=loop)
        server.max_cons = 20
        ended = threading.Event()

        def forever() -> None:
            while not ended.is_set():
                server.serve_forever(timeout=0.05, blocking=False, handle_exit=False)
            server.close_all()

        thread = threading.Thread(target=forever)
        thread.start()

        def stop() -> None:
            ended.set()
            thread.join()

        stops.append(stop)
        login = {} if anonymous else {"user": "reader", "password": "pass word"}
        return FtpSource("127.0.0.1", server.address[1], **{"path": "in", **login, **source})

    yield start
    for stop in stops:
        stop()


@pytest.mark.parametrize(
    "handler", [{}, {"proto_cmds": {k: v for k, v in FTPHandler.proto_cmds.items() if k != "MLSD"}}]
)
async def test_files_come_by_their_names_from_new_and_old_servers(
    looking: MakeLooking, serve: Serve, handler: dict[str, Any]
) -> None:
    source = serve(handler=handler, recursive=True)
    look = looking()
    found = await look.all(source)
    assert not isinstance(found.pop("out.jpg", ""), bytes), "a link out of the server's folder"
    assert list(found) == ["a.jpg", "b.jpg", "deep/c.jpg", "empty.jpg", "large.jpg", "лицо 1.png"]
    assert "larger than" in str(found.pop("large.jpg"))
    assert found.pop("empty.jpg") == b""
    assert found == {name: f"in/{name}".encode() for name in found}


async def test_only_the_folder_itself_is_looked_into_unless_more_is_asked_for(
    looking: MakeLooking, serve: Serve
) -> None:
    look = looking()
    assert await look.names(serve(prefix="a")) == ["a.jpg"]
    assert await look.names(serve(postfix=".png")) == ["лицо 1.png"]
    assert await look.names(serve(path="", anonymous=True)) == ["top.jpg"]


async def test_no_more_sessions_are_open_than_are_allowed(looking: MakeLooking, serve: Serve) -> None:
    counts = {"now": 0, "most": 0}

    def connected(self: Any) -> None:
        counts["now"] += 1
        counts["most"] = max(counts["most"], counts["now"])

    def gone(self: Any) -> None:
        counts["now"] -= 1

    source = serve(handler={"on_connect": connected, "on_disconnect": gone}, sessions=3)
    async with looking().open(source) as files:
        found = await asyncio.gather(*(files.read(name) for name in ("a.jpg", "b.jpg") * 10))
    assert found == [b"in/a.jpg", b"in/b.jpg"] * 10
    assert counts["most"] == 3


async def test_a_wrong_password_is_an_error_of_the_task_that_does_not_tell_it(
    looking: MakeLooking, serve: Serve
) -> None:
    source = serve(password="geheim")
    with pytest.raises(InvalidInput, match="refuses the login") as caught:
        await looking().names(source)
    assert "geheim" not in caught.value.detail + repr(source)


async def test_a_folder_that_is_not_there_is_an_error_of_the_task(looking: MakeLooking, serve: Serve) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        await looking().names(serve(path="nowhere"))


async def test_a_file_that_is_gone_is_an_error_of_that_file(looking: MakeLooking, serve: Serve) -> None:
    async with looking().open(serve()) as files:
        for name in ("gone.jpg", "../../etc/passwd", "a.jpg\r\nDELE a.jpg"):
            with pytest.raises(Exception, match="cannot be accessed"):
                await files.read(name)
        assert await files.read("a.jpg") == b"in/a.jpg"


async def test_a_private_host_is_refused_unless_the_operator_allows_it(looking: MakeLooking, serve: Serve) -> None:
    with pytest.raises(InvalidInput, match="not a public one"):
        await looking(allow_private=False).names(serve())


async def test_a_server_that_is_not_there_may_come_back(looking: MakeLooking) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="FTP server"):
            await looking().names(FtpSource("127.0.0.1", probe.getsockname()[1]))


async def test_data_connections_go_to_the_server_whatever_it_says(looking: MakeLooking, serve: Serve) -> None:
    # without EPSV the server names an address: here one that nothing answers at
    commands = {k: v for k, v in FTPHandler.proto_cmds.items() if k != "EPSV"}
    source = serve(handler={"masquerade_address": "192.0.2.1", "proto_cmds": commands})
    assert "a.jpg" in await looking().names(source)


async def test_a_silent_server_is_given_up_in_time(looking: MakeLooking) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(
                looking(source_timeout_seconds=0.3).names(FtpSource("127.0.0.1", server.sockets[0].getsockname()[1])), 5
            )
    finally:
        server.close()
