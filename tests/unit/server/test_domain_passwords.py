"""Passwords: hashes, the cache of what was verified, and what it must never remember."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from server.domain.passwords import Passwords


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    one = Passwords(60)
    yield one
    one.close()


class Counting(PasswordHasher):
    """Counts how often a hash is really computed."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=1024, parallelism=1)
        self.verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - argon2's name
        self.verified += 1
        return super().verify(hash, password)


def counted(passwords: Passwords) -> Counting:
    hasher = Counting()
    passwords._hasher = hasher
    return hasher


async def test_a_hash_is_salted_argon2id_that_another_verifier_accepts(passwords: Passwords) -> None:
    one, other = [await passwords.hash("päss\U0001f600") for _ in range(2)]
    assert one != other
    assert PasswordHasher().verify(one, "päss\U0001f600")
    parameters = extract_parameters(one)
    assert parameters.type is Type.ID
    # OWASP's floor for argon2id: 19 MiB and two passes, or 46 MiB and one
    assert parameters.memory_cost >= 19 * 1024
    assert parameters.time_cost >= 2


async def test_a_verified_password_is_remembered_with_its_hash_alone(passwords: Passwords) -> None:
    stored, other = await passwords.hash("right"), await passwords.hash("right")
    assert not passwords.remembers(stored, "right")
    assert await passwords.verify(stored, "right")
    assert passwords.remembers(stored, "right")
    assert not passwords.remembers(stored, "wrong")
    assert not passwords.remembers(other, "right")


async def test_a_failure_is_never_remembered(passwords: Passwords) -> None:
    hasher = counted(passwords)
    stored = await passwords.hash("right")
    assert [await passwords.verify(stored, "wrong") for _ in range(3)] == [False] * 3
    assert hasher.verified == 3
    assert await passwords.verify(stored, "right")
    assert not await passwords.verify(stored, "wrong")


async def test_a_changed_password_is_refused_at_once(passwords: Passwords) -> None:
    counted(passwords)
    before = await passwords.hash("before")
    assert await passwords.verify(before, "before")
    after = await passwords.hash("after")
    assert not await passwords.verify(after, "before")
    assert await passwords.verify(after, "after")


async def test_the_cache_forgets_after_its_time(monkeypatch: pytest.MonkeyPatch, passwords: Passwords) -> None:
    hasher = counted(passwords)
    stored = await passwords.hash("right")
    await passwords.verify(stored, "right")
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert await passwords.verify(stored, "right")
    assert hasher.verified == 2


async def test_a_cache_of_zero_seconds_remembers_nothing() -> None:
    passwords = Passwords(0)
    hasher = counted(passwords)
    stored = await passwords.hash("right")
    assert await passwords.verify(stored, "right")
    assert await passwords.verify(stored, "right")
    assert hasher.verified == 2
    passwords.close()


async def test_without_an_account_the_same_work_is_done(passwords: Passwords) -> None:
    hasher = counted(passwords)
    assert not await passwords.verify(None, "anything")
    assert not await passwords.verify(None, "anything")
    assert hasher.verified == 2


@pytest.mark.parametrize("stored", ["", "plain", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"])
async def test_a_damaged_hash_fits_no_password(passwords: Passwords, stored: str) -> None:
    assert not await passwords.verify(stored, stored)


async def test_the_cache_holds_no_password_and_stays_bounded(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.domain.passwords._CACHE_SIZE", 3)
    counted(passwords)
    for number in range(5):
        stored = await passwords.hash(f"secret-{number}")
        assert await passwords.verify(stored, f"secret-{number}")
    assert len(passwords._verified) == 3
    assert all(b"secret" not in proof and len(proof) == 32 for proof in passwords._verified)
