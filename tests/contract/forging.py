"""JWTs as others would make them. Written without a library: what a library refuses to sign must be tried too."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from pydantic import SecretStr

from server.settings import Database as Options
from storage.database import Database
from storage.embedded import EmbeddedPostgres
from storage.tokens import PostgresTokenStore
from tests.service import Service


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts of a JWT, decoded."""

    header: Mapping[str, object]
    claims: Mapping[str, object]
    signature: bytes = field(default=b"")

    @classmethod
    def of(cls, token: str) -> Parts:
        """Take a JWT apart."""
        header, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
        return cls(json.loads(header), json.loads(claims), signature)

    @property
    def signed(self) -> bytes:
        """What the signature is made of."""
        return b".".join(_part(json.dumps(one, separators=(",", ":")).encode()) for one in (self.header, self.claims))

    def by(self, key: bytes, digest: str = "sha256") -> str:
        """The JWT with a signature by a key."""
        return (self.signed + b"." + _part(hmac.digest(key, self.signed, digest))).decode()

    @property
    def unsigned(self) -> str:
        """The JWT with an empty signature."""
        return (self.signed + b".").decode()

    def changed(self, header: Mapping[str, object] | None = None, claims: Mapping[str, object] | None = None) -> Parts:
        """Other members of the header or other claims."""
        return Parts({**self.header, **(header or {})}, {**self.claims, **(claims or {})})


async def secret_of(service: Service, token: str) -> bytes:
    """The key that a service has signed a JWT with, out of its database."""
    database = Database(SecretStr(EmbeddedPostgres(service.data).url), Options(), application_name="luna-test")
    try:
        key = await PostgresTokenStore(database).key(UUID(str(Parts.of(token).header["kid"])))
    finally:
        await database.close()
    assert key is not None
    return key.secret


def _part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
