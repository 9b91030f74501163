"""Lambdas that attack the machine that they run on. Each is contained, told of rightly, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from server.domain.lambdas import LambdaStatus
from server.errors import DeadlineExceeded, LambdaFailed, LambdaNotRunning
from server.lambdas.local.process import descendants
from tests.local_lambdas import WAYS, Local, local, need
from tests.robustness.lambda_programs import OBEDIENT
from tests.robustness.lambda_traces import Traces, disk, of_users

MEMORY = 192 << 20
TEMPORARY = 16 << 20
LIMITS: dict[str, Any] = {
    "memory_bytes": MEMORY,
    "temporary_bytes": TEMPORARY,
    "processes": 24,
    "files": 64,
    "call_seconds": 10,
    "log_bytes": 64 << 10,
    "response_max_bytes": 8 << 20,
}
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(params=WAYS, scope="module")
async def way(request: pytest.FixtureRequest) -> str:
    await need(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
async def shelter(way: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Local]:
    """A runner whose lambdas outlive a test that does no harm to them."""
    async with local(tmp_path_factory.mktemp(way), way, **{**LIMITS, "call_seconds": 40}) as one:
        yield one


@pytest.fixture(scope="module")
async def obedient(shelter: Local) -> UUID:
    return await shelter.started(OBEDIENT)


@pytest.fixture
async def alone(way: str, tmp_path: Path) -> AsyncIterator[Local]:
    """A runner of one test alone. Nothing is left of it, whatever its lambdas did."""
    before = Traces.now()
    async with local(tmp_path / "lambdas", way, **LIMITS) as one:
        yield one
        users = {int(path.read_text()) for path in (tmp_path / "lambdas").glob("*/user")}
    # nothing has to be waited for: whoever closes a runner waits until all is gone
    assert Traces.now().none_since(before), (Traces.now(), before)
    assert of_users(users) == []
    assert not list((tmp_path / "lambdas").glob("*/run-*"))


async def does(shelter: Local, lambda_id: UUID, code: str) -> Any:
    """What a piece of Python results in, inside."""
    answer = await shelter.call(lambda_id, method="POST", body=code.encode())
    assert answer.status == 200, (answer, await shelter.logs(lambda_id))
    return answer.json()


async def ended(shelter: Local, lambda_id: UUID, reason: str) -> None:
    """Wait until the service has told that a lambda ended, and why; then until it runs again."""
    state = await shelter.reaches(lambda_id, lambda state: reason in state.info.get("last_end", ""))
    assert state.status in (LambdaStatus.TERMINATED, LambdaStatus.WAITING, LambdaStatus.RUNNING)
    assert reason in await shelter.logs(lambda_id)
    state = await shelter.reaches(lambda_id, lambda state: state.status is LambdaStatus.RUNNING)
    assert state.info["restarts"] == "1"
    assert await does(shelter, lambda_id, "result = 1 + 1") == 2


# what it sees


async def test_it_sees_no_process_but_its_own(shelter: Local, obedient: UUID) -> None:
    seen = await does(
        shelter,
        obedient,
        """
import os
result = {name: open(f"/proc/{name}/comm").read() for name in os.listdir("/proc") if name.isdigit()}
""",
    )
    assert len(seen) <= 3
    assert set(seen) <= {"1", "2", "3"}


async def test_it_has_an_environment_of_its_own(shelter: Local, obedient: UUID) -> None:
    os.environ["LUNA_SECRET_OF_THE_HOST"] = "host-secret"
    seen = await does(
        shelter,
        obedient,
        """
import getpass, glob, os
found = []
for name in glob.glob("/proc/*/environ"):
    try:
        found.append(open(name, "rb").read().decode())
    except OSError as error:
        found.append(type(error).__name__)
result = {"all": found, "own": dict(os.environ), "user": getpass.getuser(), "parent": os.getppid()}
""",
    )
    assert "host-secret" not in str(seen)
    assert (seen["parent"], seen["user"]) == (1, "lambda")
    assert set(seen["own"]) - {"LC_CTYPE"} == {
        *("LUNA_LAMBDA_FD", "LUNA_LAMBDA_CODE", "LUNA_LAMBDA_TYPE", "LUNA_LAMBDA_ID", "LUNA_LAMBDA_VERSION"),
        *("LUNA_LAMBDA_ACCOUNT", "LUNA_LAMBDA_PLATFORM", "LUNA_LAMBDA_TOKEN", "LUNA_LAMBDA_REQUEST_BYTES"),
        *("PATH", "HOME", "TMPDIR", "LANG", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"),
    }


async def test_it_reads_no_file_of_the_machine_or_of_another_lambda(
    shelter: Local, obedient: UUID, tmp_path: Path
) -> None:
    other = await shelter.started(OBEDIENT)
    await does(shelter, other, "open('/tmp/secret', 'w').write('of the other')")
    secret = tmp_path / "key"
    secret.write_text("secret")
    secret.chmod(0o644)
    names = [
        str(secret),
        str(shelter.folder),
        str(shelter.folder / str(other)),
        "/etc/shadow",
        "/etc/hostname",
        "/root/.ssh",
    ]
    names += [
        str(Path(__file__)),
        "/proc/1/root/etc/shadow",
        "/proc/kcore",
        "/proc/self/fd/4",
        "/tmp/secret",
    ]
    names += ["/sys", "/home", "/var", "/boot", "/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg", "/dev/fuse"]
    opened = await does(
        shelter,
        obedient,
        f"""
import os
result = []
for name in {names!r}:
    try:
        os.close(os.open(name, os.O_RDONLY))
        result.append(name)
    except OSError:
        pass
""",
    )
    assert opened == []


async def test_its_files_are_its_users_and_no_other_lambdas_user_is_the_same(
    shelter: Local, obedient: UUID, way: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has users for lambdas")
    other = await shelter.started(OBEDIENT)
    asked = "import os; result = [os.getresuid(), os.getresgid(), os.getgroups()]"
    first, second = await does(shelter, obedient, asked), await does(shelter, other, asked)
    assert len({*first[0], *first[1]}) == len({*second[0], *second[1]}) == 1
    assert first[0] != second[0]
    assert first[0][0] >= 1 << 30
    assert first[2] == second[2] == []


async def test_it_has_no_rights_and_cannot_get_any(shelter: Local, obedient: UUID) -> None:
    seen = await does(
        shelter,
        obedient,
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
tried = {}
def attempt(name, call, *arguments):
    done = getattr(libc, call)(*arguments)
    tried[name] = "done" if done == 0 else os.strerror(ctypes.get_errno())
for name, flag in (("user", 0x10000000), ("mounts", 0x20000), ("pid", 0x20000000), ("net", 0x40000000)):
    attempt(name, "unshare", flag)
attempt("setuid", "setuid", 0)
attempt("chroot", "chroot", b"/tmp")
attempt("mount", "mount", b"none", b"/tmp", b"tmpfs", 0, None)
attempt("umount", "umount2", b"/tmp", 2)
attempt("remount", "mount", b"none", b"/", None, 32 | 4096, None)
attempt("ptrace", "ptrace", 16, 1, 0, 0)
attempt("setsid", "setsid")
attempt("hostname", "sethostname", b"x", 1)
attempt("schedule", "sched_setscheduler", 0, 1, ctypes.byref(ctypes.c_int(1)))
attempt("nice", "setpriority", 0, 0, -5)
for name, kind in (("netlink raw", (17, 3)), ("vsock", (40, 1)), ("bluetooth", (31, 3)), ("alg", (38, 5))):
    attempt(name, "socket", *kind, 0)
result = {"tried": tried, "caps": [status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh")],
          "new": status["NoNewPrivs"].strip(), "filter": status["Seccomp"].strip()}
""",
    )
    assert "done" not in seen["tried"].values(), seen["tried"]
    assert set(seen["caps"]) == {"0" * 16}
    assert seen["new"] == "1"
    assert seen["filter"] == "2"


async def test_it_writes_nowhere_but_in_its_temporary_folders(shelter: Local, obedient: UUID) -> None:
    before = disk(shelter.folder)
    written = await does(
        shelter,
        obedient,
        """
import os
result = []
places = [line.split()[1] for line in open("/proc/mounts")]
for folder, folders, files in os.walk("/"):
    places.append(folder)
    if folder.count("/") > 3 or folder.startswith(("/proc/", "/usr/")):
        folders.clear()
for folder in places:
    if folder.startswith(("/tmp", "/dev/shm")):
        continue
    try:
        name = os.path.join(folder, "written")
        open(name, "w").close()
        result.append(name)
    except OSError:
        pass
""",
    )
    assert written == []
    assert disk(shelter.folder) - before < 1 << 20


async def test_what_it_loads_is_not_changed_through_open_descriptors(shelter: Local, obedient: UUID) -> None:
    tried = await does(
        shelter,
        obedient,
        """
import os
result = []
for name in ("/lambda/code/lambda_main.py", "/lambda/base/luna_lambda/__init__.py", "/etc/passwd", "/proc/self/exe"):
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_APPEND):
        try:
            os.open(name, flags)
            result.append(name)
        except OSError:
            pass
    try:
        os.chmod(name, 0o777)
        result.append(name)
    except OSError:
        pass
""",
    )
    assert tried == []


# whom it reaches


@pytest.fixture
def ears(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Sockets as the database and Redis have them, and one without a place in the file system."""
    heard: list[Any] = []
    sockets: list[socket.socket] = []
    path, abstract = str(tmp_path / ".s.PGSQL.5432"), f"\0luna-test-{os.getpid()}"
    for address in (path, abstract):
        one = socket.socket(socket.AF_UNIX)
        one.bind(address)
        sockets.append(one)
    Path(path).chmod(0o777)
    ports = {}
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "0.0.0.0")):
        one = socket.socket(family)
        try:
            one.bind((address, 0))
        except OSError:
            one.close()
            continue
        ports[address] = one.getsockname()[1]
        sockets.append(one)
    for one in sockets:
        one.listen()
        threading.Thread(target=_listen, args=(one, heard), daemon=True).start()
    with socket.create_connection(("127.0.0.1", ports["127.0.0.1"])):
        pass
    yield {"path": path, "abstract": abstract, "ports": ports, "heard": heard}
    for one in sockets:
        one.shutdown(socket.SHUT_RDWR)
        one.close()


def _listen(one: socket.socket, heard: list[Any]) -> None:
    while True:
        try:
            connection, _ = one.accept()
        except OSError:
            return
        heard.append(one.getsockname())
        connection.close()


async def test_it_reaches_no_socket_and_no_network(shelter: Local, obedient: UUID, ears: dict[str, Any]) -> None:
    addresses = [str(socket.gethostbyname(socket.gethostname())), "169.254.169.254", "10.0.0.1", "1.1.1.1"]
    targets: list[tuple[str, int]] = [*ears["ports"].items(), *((one, 80) for one in addresses), ("fe80::1%lo", 80)]
    targets += [("127.0.0.1", port) for port in (22, 53, 5432, 6379, 50051)]
    tried = await does(
        shelter,
        obedient,
        f"""
import socket
result = []
def attempt(name, work):
    try:
        work()
        result.append(name)
    except OSError:
        pass
def unix(address):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(1)
    one.connect(address)
attempt("path", lambda: unix({ears["path"]!r}))
attempt("abstract", lambda: unix({ears["abstract"]!r}))
attempt("docker", lambda: unix("/var/run/docker.sock"))
attempt("calls", lambda: unix("/run/luna/calls.sock"))
for target in {targets!r}:
    attempt(target, lambda: socket.create_connection(target, 1).close())
def dns():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.sendto(b"x" * 30, ("8.8.8.8", 53))
attempt("datagram", dns)
attempt("name", lambda: socket.getaddrinfo("example.com", 80))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW))
interfaces = [name for _, name in socket.if_nameindex()]
""",
    )
    assert tried == []
    assert len(ears["heard"]) == 1, "nothing but this test itself came through"


async def test_it_signals_nobody(shelter: Local, obedient: UUID) -> None:
    other = await shelter.started(OBEDIENT)
    everybody = [os.getpid(), os.getppid(), *descendants(os.getpid())]
    hit = await does(
        shelter,
        obedient,
        f"""
import os, signal
result = []
for pid in {everybody!r}:
    if pid not in (1, 2, os.getpid()):
        try:
            os.kill(pid, 0)
            result.append(pid)
        except OSError:
            pass
try:
    os.kill(1, signal.SIGKILL)
except OSError:
    pass
""",
    )
    assert hit == []
    assert await does(shelter, obedient, "result = 'alive'") == "alive"
    assert await does(shelter, other, "result = 'alive'") == "alive"


async def test_killing_everything_ends_itself_alone(alone: Local) -> None:
    attacker, other = await alone.started(OBEDIENT), await alone.started(OBEDIENT)
    with pytest.raises(LambdaFailed):
        await does(alone, attacker, "import os\ntry: os.kill(-1, 9)\nexcept OSError: pass\nos.kill(os.getpid(), 9)")
    await ended(alone, attacker, "it was ended by SIGKILL")
    assert alone.state(other).info["restarts"] == "0"


# what it uses up


async def test_a_fork_bomb_is_held_to_its_processes_and_ended(alone: Local) -> None:
    bomb = await alone.started(OBEDIENT)
    others = len(descendants(os.getpid()))
    call = asyncio.create_task(does(alone, bomb, "import os\nwhile True:\n try: os.fork()\n except OSError: pass"))
    most = 0
    while not call.done():
        most = max(most, len(descendants(os.getpid())) - others)
        await asyncio.sleep(0.02)
    with pytest.raises(DeadlineExceeded):
        call.result()
    assert 10 < most <= 24
    await ended(alone, bomb, "it did not answer")


async def test_threads_are_counted_as_processes(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    begun = await does(
        alone,
        lambda_id,
        """
import threading, time
result = 0
try:
    while True:
        threading.Thread(target=time.sleep, args=(2,), daemon=True).start()
        result += 1
except RuntimeError:
    pass
""",
    )
    assert 10 < begun <= 24
    await asyncio.sleep(3)
    assert await does(alone, lambda_id, "result = 'alive'") == "alive"


async def test_memory_of_one_process_ends_in_its_own_error(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    answer = await alone.call(lambda_id, method="POST", body=b"held = []\nwhile True: held.append(bytearray(1 << 20))")
    assert answer.status == 500
    assert dict(answer.headers)["luna-lambda-error"] == "MemoryError"
    assert "MemoryError" in await alone.logs(lambda_id)
    assert await does(alone, lambda_id, "result = 'alive'") == "alive"


async def test_memory_of_many_processes_together_ends_them(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    with pytest.raises(LambdaFailed, match="bytes of memory"):
        await does(
            alone,
            lambda_id,
            """
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 20)) * 60
        time.sleep(60)
time.sleep(60)
""",
        )
    await ended(alone, lambda_id, "bytes of memory")


async def test_memory_that_no_process_shows_cannot_be_had(shelter: Local, obedient: UUID) -> None:
    got = await does(
        shelter,
        obedient,
        """
import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
result = []
try:
    os.memfd_create("x")
    result.append("memfd")
except OSError:
    pass
if libc.shmget(0, 1 << 20, 0o1600) >= 0:
    result.append("System V")
try:
    mmap.mmap(-1, 1 << 20, flags=mmap.MAP_SHARED)
    result.append("shared")
except OSError:
    pass
try:
    zero = os.open("/dev/zero", os.O_RDWR)
    mmap.mmap(zero, 1 << 20, flags=mmap.MAP_SHARED)
    result.append("zero")
except OSError:
    pass
""",
    )
    assert got == []


async def test_its_temporary_folders_have_an_end(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    filled = await does(
        alone,
        lambda_id,
        """
import os
result = {}
for folder in ("/tmp", "/dev/shm"):
    size, number = 0, 0
    try:
        while True:
            with open(f"{folder}/{number}", "wb") as file:
                number += 1
                while True:
                    size += file.write(bytes(1 << 16))
                    file.flush()
                    if size % (4 << 20) == 0:
                        break
    except OSError as error:
        result[folder] = [size, error.strerror]
""",
    )
    assert filled["/tmp"][0] <= TEMPORARY
    assert filled["/dev/shm"][0] <= TEMPORARY
    assert {told for _, told in filled.values()} == {"No space left on device"}
    assert await does(alone, lambda_id, "result = 'alive'") == "alive"


async def test_a_million_files_are_too_many(alone: Local, way: str) -> None:
    lambda_id = await alone.started(OBEDIENT)
    code = """
result = 0
try:
    while True:
        open(f"/tmp/{result}", "w").close()
        result += 1
except OSError:
    pass
"""
    if way == "user":
        assert 10_000 < await does(alone, lambda_id, code) <= 1 << 14
    else:
        with pytest.raises(LambdaFailed, match="files in its temporary folders"):
            await does(alone, lambda_id, code)
        await ended(alone, lambda_id, "files in its temporary folders")


async def test_descriptors_have_an_end(shelter: Local, obedient: UUID) -> None:
    code = """
import os
held = []
try:
    while True:
        held.append(os.open("/dev/null", 0))
except OSError as error:
    result = [len(held), error.strerror]
for one in held:
    os.close(one)
"""
    count, told = await does(shelter, obedient, code)
    assert count < 64
    assert told == "Too many open files"


async def test_a_loop_that_never_yields_is_ended_after_its_call(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    with pytest.raises(DeadlineExceeded):
        await does(alone, lambda_id, "while True: pass")
    await ended(alone, lambda_id, "it did not answer within 2 s")


async def test_a_call_that_waits_for_ever_is_given_up_and_the_program_goes_on(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    with pytest.raises(DeadlineExceeded):
        await does(alone, lambda_id, "import asyncio\nasync def run(): await asyncio.sleep(3600)")
    await asyncio.sleep(2.5)
    assert alone.state(lambda_id).info["restarts"] == "0"
    assert await does(alone, lambda_id, "result = 'alive'") == "alive"


async def test_a_loop_that_prints_fills_no_disk_and_keeps_the_newest_lines(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    with pytest.raises(DeadlineExceeded):
        await does(alone, lambda_id, "n = 0\nwhile True: n += 1; print('line', n, 'x' * 50)")
    await ended(alone, lambda_id, "it did not answer")
    told = await alone.runner.logs(lambda_id, None)
    assert len("\n".join(told)) <= 64 << 10
    assert "line 1 x" not in "\n".join(told)
    await asyncio.sleep(1.5)
    assert (alone.folder / str(lambda_id) / "log").stat().st_size <= 65 << 10


async def test_a_line_without_an_end_is_cut(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    await does(
        alone, lambda_id, "import sys; sys.stdout.write('y' * (1 << 20) + '\\x00\\x1b[2J\\n'); sys.stdout.flush()"
    )
    await asyncio.sleep(1)
    lines = await alone.runner.logs(lambda_id, None)
    assert max(len(line) for line in lines) <= 4096
    assert "\x00" not in "".join(lines)
    assert "\x1b" not in "".join(lines)


async def test_an_answer_of_a_gigabyte_is_broken_off_and_never_held(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    code = """
from luna_lambda import Response
async def run():
    async def pieces():
        for _ in range(1024):
            yield bytes(1 << 20)
    return Response(pieces())
"""
    with pytest.raises(LambdaFailed, match="larger than"):
        await does(alone, lambda_id, code)
    assert await does(alone, lambda_id, "result = 'alive'") == "alive"


# how it ends


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no start')", "it ended with status 1"),
        ("import os; os._exit(5)", "it ended with status 5"),
        ("import ctypes; ctypes.string_at(0)", "it was ended by SIGSEGV"),
        ("async def other(request): pass", "it ended with status 1"),
        ("import time; time.sleep(3600)", "it did not take calls within 6 s"),
        ("import os; os.close(3)", "it ended with status 1"),
    ],
)
async def test_a_program_that_dies_at_its_start_is_terminated_and_told_of(
    way: str, tmp_path: Path, code: str, reason: str
) -> None:
    async with local(tmp_path, way, **{**LIMITS, "start_seconds": 6}) as one:
        lambda_id = one.deploy(
            f"{code}\nasync def main(request): pass" if "main" not in code and "other" not in code else code
        )
        state = await one.reaches(lambda_id, lambda state: state.status is LambdaStatus.TERMINATED)
        assert state.info["last_end"] == reason
        assert f"-- {reason}; it is started again in 1 s" in await one.runner.logs(lambda_id, None)
        with pytest.raises(LambdaNotRunning):
            await one.call(lambda_id)


@pytest.mark.parametrize(
    ("code", "reason"),
    [("import os; os._exit(3)", "it ended with status 3"), ("import ctypes; ctypes.string_at(0)", "SIGSEGV")],
)
async def test_a_program_that_dies_in_a_call_fails_it_and_is_started_again(
    alone: Local, code: str, reason: str
) -> None:
    lambda_id = await alone.started(OBEDIENT)
    with pytest.raises(LambdaFailed, match=reason):
        await does(alone, lambda_id, code)
    await ended(alone, lambda_id, reason)


async def test_a_program_that_closes_its_socket_is_started_again(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    await does(
        alone,
        lambda_id,
        """
import os, socket
for number in range(3, 64):
    try:
        if socket.socket(fileno=os.dup(number)).getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            os.close(number)
    except OSError:
        pass
""",
    )
    with pytest.raises(LambdaFailed, match="take calls"):
        await does(alone, lambda_id, "result = 1")
    await ended(alone, lambda_id, "it did not answer")


async def test_daemons_that_it_leaves_end_with_it(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    code = """
import os, signal, time
for _ in range(5):
    if os.fork() == 0:
        if os.fork() == 0:
            for number in (1, 2, 15):
                signal.signal(number, signal.SIG_IGN)
            os.setpgid(0, 0)
            time.sleep(3600)
        os._exit(0)
time.sleep(0.5)
os._exit(0)
"""
    with pytest.raises(LambdaFailed, match="it ended with status 0"):
        await does(alone, lambda_id, code)
    await ended(alone, lambda_id, "it ended with status 0")
    inside = await does(alone, lambda_id, "import os; result = [n for n in os.listdir('/proc') if n.isdigit()]")
    assert len(inside) <= 3


async def test_a_program_that_ignores_sigterm_is_removed_all_the_same(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    await does(
        alone,
        lambda_id,
        """
import os, signal
if os.fork() == 0:
    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    while True:
        pass
""",
    )
    await alone.runner.remove(lambda_id)
    assert lambda_id not in alone.runner.states()
    assert not (alone.folder / str(lambda_id)).exists()


async def test_zombies_are_its_own_and_go_with_it(alone: Local) -> None:
    lambda_id = await alone.started(OBEDIENT)
    made = await does(
        alone,
        lambda_id,
        """
import os
result = 0
try:
    while True:
        if os.fork() == 0:
            os._exit(0)
        result += 1
except OSError:
    pass
""",
    )
    assert 5 < made <= 24


async def test_connections_to_the_platform_are_few_and_end_with_it(way: str, tmp_path: Path) -> None:
    taken: list[Any] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)
        while piece := await reader.read(100):
            writer.write(piece.upper())
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    before = Traces.now()
    async with local(tmp_path, way, ("127.0.0.1", server.sockets[0].getsockname()[1]), **LIMITS) as one:
        lambda_id = await one.started(OBEDIENT)
        echoed, refused = await does(
            one,
            lambda_id,
            """
import socket, time
held, refused = [], 0
for _ in range(40):
    one = socket.socket(socket.AF_UNIX)
    one.connect("/run/luna/platform.sock")
    one.settimeout(5)
    try:
        one.send(b"hello")
        assert one.recv(5) == b"HELLO"
        held.append(one)
    except OSError:
        refused += 1
    except AssertionError:
        refused += 1
globals()["__builtins__"]["held"] = held
result = [len(held), refused]
""",
        )
        assert (echoed, refused) == (16, 24)
        assert len(taken) == 16
        assert await does(one, lambda_id, "result = 'alive'") == "alive"
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.2)
    assert Traces.now().none_since(before), (Traces.now(), before)
