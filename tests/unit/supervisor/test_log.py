"""The log file of one program."""

from __future__ import annotations

import os

from server.supervisor.log import TAIL_LINES, Log


def write(log: Log, text: bytes) -> None:
    handle = log.open()
    os.write(handle, text)
    os.close(handle)


def test_the_tail_is_the_last_lines_of_the_last_start(tmp_path):
    log = Log(tmp_path, "x")
    write(log, b"old\n" * 50)
    write(log, b"".join(b"line %d\n" % number for number in range(100)))
    assert log.tail().splitlines() == [f"line {number}" for number in range(100 - TAIL_LINES, 100)]
    write(log, b"new \xff\n")
    assert log.tail() == "new \N{REPLACEMENT CHARACTER}"


def test_a_log_that_is_not_there_has_an_empty_tail(tmp_path):
    assert Log(tmp_path, "x").tail() == ""


def test_what_an_earlier_supervisor_has_left_is_not_the_tail_of_a_program_that_never_began(tmp_path):
    write(Log(tmp_path, "x"), b"yesterday\n")
    assert Log(tmp_path, "x").tail() == ""


def test_a_log_is_continued_until_it_is_too_large(tmp_path, monkeypatch):
    log = Log(tmp_path, "x")
    write(log, b"one\n")
    write(log, b"two\n")
    assert log.path.read_bytes() == b"one\ntwo\n"
    monkeypatch.setattr("server.supervisor.log.LARGEST", 7)
    write(log, b"three\n")
    assert log.path.read_bytes() == b"three\n"
    assert (tmp_path / "x.log.1").read_bytes() == b"one\ntwo\n"


def test_a_log_that_grows_too_large_is_put_aside_under_the_program_that_writes_it(tmp_path, monkeypatch):
    log = Log(tmp_path, "x")
    monkeypatch.setattr("server.supervisor.log.LARGEST", 7)
    handle = log.open()
    os.write(handle, b"one\n")
    log.trim()
    assert log.path.read_bytes() == b"one\n"
    os.write(handle, b"two\nthree\n")
    log.trim()
    os.write(handle, b"four\n")
    os.close(handle)
    assert log.path.read_bytes() == b"four\n"
    assert log.tail() == "four"
    aside = tmp_path / "x.log.1"
    assert aside.read_bytes() == b"one\ntwo\nthree\n"
    assert aside.stat().st_mode & 0o777 == 0o600
    log.path.unlink()
    log.trim()
