"""Passwords: hashed with argon2id, and verified without letting a clock tell what was wrong."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_CACHE_SIZE = 10_000


class Passwords:
    """Hashes and verifies passwords on threads of its own: argon2 takes tens of milliseconds by intent.

    A verified password is remembered for a while, in memory only, as an HMAC under a key that ends with the process.
    The HMAC covers the stored hash, so that a changed password is forgotten at once. Failures are never remembered.
    """

    def __init__(self, cache_seconds: float) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="argon2")
        self._key = secrets.token_bytes(32)
        self._cache_seconds = cache_seconds
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The argon2id string of a password."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    def remembers(self, password_hash: str, password: str) -> bool:
        """True where the password was verified against this hash a while ago."""
        return self._verified.get(self._proof(password_hash, password), 0.0) > time.monotonic()

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """True where the password is the hashed one. Without a hash the same time is spent, and it is False."""
        if password_hash is None:
            self._decoy = self._decoy or await self.hash(secrets.token_hex())
            await self._check(self._decoy, password)
            return False
        if not await self._check(password_hash, password):
            return False
        proof = self._proof(password_hash, password)
        self._verified[proof] = time.monotonic() + self._cache_seconds
        self._verified.move_to_end(proof)
        while len(self._verified) > _CACHE_SIZE:
            self._verified.popitem(last=False)
        return True

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _proof(self, password_hash: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{password_hash}\n{password}".encode(errors="surrogatepass"), "sha256")

    async def _check(self, password_hash: str, password: str) -> bool:
        def check() -> bool:
            try:
                return self._hasher.verify(password_hash, password)
            except (VerificationError, InvalidHashError):
                return False

        return await asyncio.get_running_loop().run_in_executor(self._threads, check)
