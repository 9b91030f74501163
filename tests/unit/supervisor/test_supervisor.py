"""The supervisor with small real programs."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import time
from pathlib import Path

import pytest

from server.supervisor import AlreadyRunning, Happening, Program, StartFailed, Supervisor

SLEEP = ("/bin/sleep", "60")


def shell(name: str, script: str, **rest: object) -> Program:
    return Program(name, ("/bin/sh", "-c", script), **rest)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def process_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def account_numbers(name: str) -> tuple[str, str]:
    entry = pwd.getpwnam(name)
    return str(entry.pw_uid), str(entry.pw_gid)


async def test_programs_start_after_those_they_depend_on_and_stop_before_them(running, events):
    opened = asyncio.Event()

    async def gate() -> bool:
        return opened.is_set()

    programs = [
        Program("server", SLEEP, depends_on=("database", "cache")),
        Program("edge", SLEEP, depends_on=("server",)),
        Program("database", SLEEP, ready=gate),
        Program("cache", SLEEP),
    ]
    async with running(programs) as supervisor:
        await events.until(Happening.READY, "cache")
        await events.until(Happening.STARTED, "database")
        assert events.of(Happening.STARTED) == ["database", "cache"]
        assert not supervisor.up.is_set()
        opened.set()
        async with asyncio.timeout(10):
            await supervisor.up.wait()
        assert events.of(Happening.STARTED)[2:] == ["server", "edge"]
    stopped = events.of(Happening.STOPPED)
    assert stopped[:2] == ["edge", "server"]
    assert set(stopped[2:]) == {"database", "cache"}
    order = [(event.what, event.program) for event in events]
    assert order.index((Happening.STOPPED, "server")) < order.index((Happening.STOPPING, "database"))


async def test_the_log_of_a_program_that_writes_without_end_stays_small(running, events, monkeypatch, tmp_path):
    monkeypatch.setattr("server.supervisor.log.LARGEST", 10_000)
    monkeypatch.setattr("server.supervisor.supervisor.TRIM_SECONDS", 0.05)
    async with running([shell("talker", "while :; do echo a line of the log; done")]):
        await events.until(Happening.STARTED, "talker")
        deadline = time.monotonic() + 20
        while not (aside := list(tmp_path.rglob("talker.log.1"))):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    assert aside[0].read_bytes().startswith(b"a line of the log\n")


async def test_a_program_that_ends_is_started_again_with_a_growing_pause(running, events, monkeypatch):
    monkeypatch.setattr("server.supervisor.keeper.SETTLED_SECONDS", 0.0)
    async with running([Program("worker", SLEEP)]):
        for times in (1, 2, 3):
            ready = await events.until(Happening.READY, "worker", times)
            os.kill(ready.pid, signal.SIGKILL)
        await events.until(Happening.READY, "worker", 4)
    assert [event.seconds for event in events if event.what is Happening.RESTARTING] == [0.1, 0.2, 0.4]
    assert [event.detail for event in events if event.what is Happening.ENDED] == ["ended by SIGKILL"] * 3


async def test_a_program_that_was_healthy_is_restarted_at_once_again(running, events, monkeypatch):
    monkeypatch.setattr("server.supervisor.keeper.HEALTHY_SECONDS", 0.0)
    async with running([Program("worker", SLEEP)]):
        for times in (1, 2, 3):
            os.kill((await events.until(Happening.READY, "worker", times)).pid, signal.SIGTERM)
        await events.until(Happening.STARTED, "worker", 4)
    assert [event.seconds for event in events if event.what is Happening.RESTARTING] == [0.1] * 3


async def test_a_program_that_cannot_start_is_reported_with_its_log_and_everything_stops(tmp_path, events):
    programs = [
        Program("good", SLEEP),
        shell("bad", "echo the port is taken; exit 3"),
        Program("never", SLEEP, depends_on=("bad",)),
    ]
    with pytest.raises(StartFailed) as caught:
        await Supervisor(tmp_path, programs, listener=events).run(signals=False)
    assert caught.value.program == "bad"
    assert caught.value.reason == "ended with status 3"
    assert "the port is taken" in caught.value.tail
    assert str(tmp_path / "logs" / "bad.log") in str(caught.value)
    assert events.of(Happening.STARTED).count("bad") == 5
    assert events.of(Happening.STOPPED) == ["good"]
    assert "never" not in events.of(Happening.STARTED)


async def test_a_program_whose_probe_somebody_else_answers_is_still_reported(tmp_path, events):
    async def yes() -> bool:
        return True

    with pytest.raises(StartFailed):
        await Supervisor(tmp_path, [shell("twin", "sleep 0.2; exit 1", ready=yes)], listener=events).run(signals=False)
    assert events.of(Happening.READY) == ["twin"] * 5


async def test_a_program_that_is_never_ready_is_reported_after_its_limit(tmp_path, events):
    async def never() -> bool:
        raise ConnectionRefusedError

    begun = time.monotonic()
    with pytest.raises(StartFailed, match=r"not ready after 0\.5 s"):
        await Supervisor(tmp_path, [Program("mute", SLEEP, ready=never, start_seconds=0.5)]).run(signals=False)
    assert 0.5 <= time.monotonic() - begun < 3


async def test_a_missing_executable_is_named(tmp_path):
    with pytest.raises(StartFailed, match=r"/no/such/program cannot be run: No such file or directory"):
        await Supervisor(tmp_path, [Program("ghost", ("/no/such/program",))]).run(signals=False)


async def test_an_error_of_a_preparation_stops_everything_and_is_raised(tmp_path, events):
    async def broken() -> None:
        await asyncio.sleep(0.3)
        raise ValueError("the cluster is of another version")

    with pytest.raises(ValueError, match="another version"):
        await Supervisor(tmp_path, [Program("good", SLEEP), Program("bad", SLEEP, before=broken)], listener=events).run(
            signals=False
        )
    assert events.of(Happening.STOPPED) == ["good"]


async def test_a_program_that_does_not_stop_is_killed_after_its_limit(running, events):
    async with running([shell("deaf", "trap '' TERM; while :; do sleep 0.05; done", stop_seconds=0.3)]):
        await events.until(Happening.READY, "deaf")
        begun = time.monotonic()
    assert 0.3 <= time.monotonic() - begun < 3
    assert events[-1].detail == "ended by SIGKILL"


async def test_a_second_stop_kills_at_once(running, events):
    async with running([shell("deaf", "trap '' TERM; while :; do sleep 0.05; done", stop_seconds=60)]) as supervisor:
        await events.until(Happening.READY, "deaf")
        begun = time.monotonic()
        supervisor.stop()
        await events.until(Happening.STOPPING, "deaf")
    assert time.monotonic() - begun < 3
    assert events[-1].detail == "ended by SIGKILL"


async def test_what_a_program_started_ends_with_it(tmp_path, running, events):
    async with running([shell("parent", f"sleep 61 & echo $! > {tmp_path}/pid; wait")]):
        await events.until(Happening.READY, "parent")
        first = int((tmp_path / "pid").read_text())
        assert alive(first)
        os.kill((await events.until(Happening.STARTED, "parent")).pid, signal.SIGKILL)
        await events.until(Happening.READY, "parent", 2)
        assert await gone(first)
        second = int((tmp_path / "pid").read_text())
        assert alive(second)
    assert await gone(second)


async def test_nothing_is_started_again_while_stopping(running, events):
    async with running(
        [Program("first", SLEEP), shell("last", "trap 'sleep 0.5; exit' TERM; while :; do sleep 0.05; done")]
    ):
        await events.until(Happening.READY, "first")
        await events.until(Happening.READY, "last")
    assert events.of(Happening.RESTARTING) == []
    assert events.of(Happening.STARTED) == ["first", "last"]


async def test_a_stop_during_a_start_ends_what_was_started(running, events):
    async def never() -> bool:
        return False

    async with running([Program("slow", SLEEP, ready=never)]):
        started = await events.until(Happening.STARTED, "slow")
    assert await gone(started.pid)


async def test_a_cancelled_supervisor_ends_its_programs(tmp_path, events):
    task = asyncio.create_task(Supervisor(tmp_path, [Program("worker", SLEEP)], listener=events).run(signals=False))
    started = await events.until(Happening.READY, "worker")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(started.pid)


async def test_a_program_gets_the_environment_it_was_given_and_no_other(tmp_path, running, events, monkeypatch):
    monkeypatch.setenv("LUNA_SECRET_OF_THE_PARENT", "x")
    script = f"env > {tmp_path}/env; pwd > {tmp_path}/cwd; exec sleep 60"
    async with running([shell("bare", script, env={"GIVEN": "a b\n√"}, cwd=Path("/usr"))]):
        await events.until(Happening.READY, "bare")
    text = (tmp_path / "env").read_text()
    assert "GIVEN=a b\n√" in text
    assert "PARENT" not in text
    assert (tmp_path / "cwd").read_text() == "/usr\n"


async def test_a_program_runs_in_its_own_session_with_default_signals_and_no_other_descriptors(
    tmp_path, running, events
):
    script = f"cat /proc/$$/status > {tmp_path}/status; exec sleep 60"
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        async with running([shell("plain", script)]):
            started = await events.until(Happening.READY, "plain")
            assert os.getsid(started.pid) == started.pid
            assert sorted(os.listdir(f"/proc/{started.pid}/fd")) == ["0", "1", "2"]  # noqa: PTH208
    finally:
        signal.signal(signal.SIGINT, old)
    ignored = next(line for line in (tmp_path / "status").read_text().splitlines() if line.startswith("SigIgn:"))
    assert int(ignored.split()[1], 16) & (1 << signal.SIGINT - 1) == 0


async def test_a_program_waits_for_its_turn_where_that_is_said_and_is_like_others_where_it_is_not(running, events):
    async with running([Program("patient", SLEEP, batch=True), Program("plain", SLEEP)]):
        patient = await events.until(Happening.READY, "patient")
        plain = await events.until(Happening.READY, "plain")
        assert os.sched_getscheduler(patient.pid) == os.SCHED_BATCH
        assert os.sched_getscheduler(plain.pid) == os.SCHED_OTHER


async def test_a_second_supervisor_on_the_folder_is_refused_and_names_the_first(tmp_path, running, events):
    async with running([Program("worker", SLEEP)]):
        await events.until(Happening.STARTED, "worker")
        with pytest.raises(AlreadyRunning, match=rf"already running in {tmp_path} \(process {os.getpid()}\)"):
            await Supervisor(tmp_path, []).run(signals=False)
    await asyncio.wait_for(run_empty(tmp_path), 5)


async def run_empty(folder: Path) -> None:
    supervisor = Supervisor(folder, [])
    supervisor.stop()
    await supervisor.run(signals=False)


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ([Program("a", SLEEP), Program("a", SLEEP)], "one name"),
        ([Program("a", SLEEP, depends_on=("b",))], "not there"),
        ([Program("a", SLEEP, depends_on=("b",)), Program("b", SLEEP, depends_on=("a",))], "depend on each other"),
    ],
)
def test_programs_that_do_not_fit_together_are_refused(tmp_path, programs, message):
    with pytest.raises(ValueError, match=message):
        Supervisor(tmp_path, programs)


@pytest.mark.parametrize("name", ["", "../x", "a b", "A"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValueError, match="no name"):
        Program(name, SLEEP)


async def test_the_output_of_a_program_is_in_its_log_and_a_large_log_is_put_aside(
    tmp_path, running, events, monkeypatch
):
    monkeypatch.setattr("server.supervisor.log.LARGEST", 10)
    log = tmp_path / "logs" / "talker.log"
    for word in ("first", "second"):
        async with running([shell("talker", f"echo {word} out; echo {word} err >&2; exec sleep 60")]):
            await events.until(Happening.READY, "talker")
        assert log.read_text() == f"{word} out\n{word} err\n"
        assert log.stat().st_mode & 0o777 == 0o600
        events.clear()
    assert (tmp_path / "logs" / "talker.log.1").read_text() == "first out\nfirst err\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run programs as somebody else")
async def test_under_root_a_program_runs_as_its_user_without_any_of_root_s_rights(tmp_path, running, events):
    async with running([Program("small", SLEEP, user="nobody", cwd=Path("/"))]):
        started = await events.until(Happening.READY, "small")
        status = process_status(started.pid)
    uid, gid = account_numbers("nobody")
    assert status["Uid"].split() == [uid] * 4
    assert status["Gid"].split() == [gid] * 4
    assert status["Groups"].split() == [gid]
    assert int(status["CapEff"], 16) == 0
