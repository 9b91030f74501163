"""The domain's ports kept in memory, as simple as they can be, for tests of the rules above them."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from server.domain.access import Scope
from server.domain.accounts import Account, AccountChanges, AccountType
from server.domain.attributes import AttributeContent, FaceAttribute, TemporaryAttribute
from server.domain.audit import AuditEntry, Change, in_progress
from server.domain.descriptors import LAYOUTS, Descriptor
from server.domain.faces import Face, FaceChanges, FaceFilter, NewFace, Page
from server.domain.samples import Sample, SampleType
from server.domain.search import Hit, Query
from server.domain.tokens import SigningKey, Token
from server.errors import AccountIdTaken, AccountNotFound, Busy, LoginTaken

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VERSION = 1001


def descriptor(*head: float, version: int = VERSION) -> Descriptor:
    """A float16 descriptor that begins with some numbers and goes on with zeros."""
    count = LAYOUTS[version].dimensions
    return Descriptor.raw(version, struct.pack(f"<{count}e", *head, *[0.0] * (count - len(head))), LAYOUTS)


def cosine(one: Descriptor, other: Descriptor) -> float:
    """The cosine of two float16 descriptors; 0 where one of them is zero."""
    a, b = (struct.unpack(f"<{len(each.data) // 2}e", each.data) for each in (one, other))
    norms = sum(x * x for x in a) * sum(x * x for x in b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / norms**0.5 if norms else 0.0


class MemoryAccounts:
    """Accounts by id."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Account] = {}

    async def add(self, account: Account) -> None:
        if any(row.login == account.login for row in self.rows.values()):
            raise LoginTaken(login=account.login)
        if account.account_id in self.rows:
            raise AccountIdTaken(account_id=account.account_id)
        self.rows[account.account_id] = account

    async def by_id(self, account_id: UUID) -> Account | None:
        return self.rows.get(account_id)

    async def by_login(self, login: str) -> Account | None:
        return next((row for row in self.rows.values() if row.login == login), None)

    async def change(self, account_id: UUID, changes: AccountChanges, now: datetime) -> None:
        row = self.rows.get(account_id)
        if row is None:
            raise AccountNotFound(account_id=account_id)
        self.rows[account_id] = Account(
            account_id,
            row.login if changes.login is None else changes.login,
            row.password_hash if changes.password_hash is None else changes.password_hash,
            row.account_type if changes.account_type is None else changes.account_type,
            row.description if changes.description is None else changes.description,
            row.create_time,
            now,
        )

    async def any_admin(self) -> bool:
        return any(row.account_type is AccountType.ADMIN for row in self.rows.values())


class MemorySamples:
    """Samples by id."""

    def __init__(self) -> None:
        self.rows: dict[UUID, tuple[Sample, bytes]] = {}

    async def add(self, sample: Sample, data: bytes) -> None:
        self.rows[sample.sample_id] = (sample, data)

    async def add_all(self, kept: Sequence[tuple[Sample, bytes]]) -> None:
        for sample, data in kept:
            await self.add(sample, data)

    async def get(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> Sample | None:
        row = self.rows.get(sample_id)
        if row is None or row[0].sample_type is not sample_type or not scope.includes(row[0].account_id):
            return None
        return row[0]

    async def read(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> bytes | None:
        found = await self.get(scope, sample_type, sample_id)
        return None if found is None else self.rows[sample_id][1]

    async def missing(self, scope: Scope, sample_type: SampleType, sample_ids: Collection[UUID]) -> set[UUID]:
        return {one for one in sample_ids if await self.get(scope, sample_type, one) is None}

    async def remove(self, scope: Scope, sample_type: SampleType, sample_id: UUID) -> bool:
        if await self.get(scope, sample_type, sample_id) is None:
            return False
        del self.rows[sample_id]
        return True


class MemoryAttributes:
    """Temporary attributes that never end."""

    def __init__(self) -> None:
        self.rows: dict[UUID, TemporaryAttribute] = {}

    async def add(self, attribute: TemporaryAttribute, ttl_seconds: int) -> None:
        self.rows[attribute.attribute_id] = attribute

    async def get(self, scope: Scope, attribute_ids: Sequence[UUID]) -> list[TemporaryAttribute]:
        found = [self.rows[one] for one in attribute_ids if one in self.rows]
        return [one for one in found if scope.includes(one.account_id)]

    async def remove(self, scope: Scope, attribute_id: UUID) -> bool:
        return self.rows.pop(attribute_id, None) is not None


class MemoryFaces:
    """Faces by id; of the filter, `face_ids` and `list_id` are known."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Face] = {}
        self.attributes: dict[UUID, FaceAttribute] = {}

    def put(
        self, number: int, account_id: UUID, *descriptors: Descriptor, external_id: str = "", bare: bool = False
    ) -> UUID:
        """A face with descriptors; a bare one has not even an attribute."""
        face_id = UUID(int=number)
        self.rows[face_id] = Face(face_id, account_id, NOW, external_id=external_id)
        if not bare:
            self.attributes[face_id] = FaceAttribute(NOW, AttributeContent(descriptors))
        return face_id

    async def create(self, new: NewFace) -> None:
        self.rows[new.face.face_id] = new.face
        if new.attribute is not None:
            self.attributes[new.face.face_id] = new.attribute

    async def get(self, scope: Scope, face_id: UUID) -> Face | None:
        face = self.rows.get(face_id)
        return face if face is not None and scope.includes(face.account_id) else None

    async def find(self, scope: Scope, where: FaceFilter, page: Page) -> list[Face]:
        found = [
            face
            for face in self.rows.values()
            if scope.includes(face.account_id)
            and (where.face_ids is None or face.face_id in where.face_ids)
            and (where.list_id is None or where.list_id in face.lists)
        ]
        return found[page.offset : page.offset + page.size]

    async def count(self, scope: Scope, where: FaceFilter) -> int:
        return len(await self.find(scope, where, Page(1, len(self.rows) + 1)))

    async def count_with_attributes(self, scope: Scope) -> int:
        return sum(scope.includes(self.rows[face_id].account_id) for face_id in self.attributes)

    async def change(self, scope: Scope, face_id: UUID, changes: FaceChanges) -> bool:
        face = await self.get(scope, face_id)
        if face is None:
            return False
        self.rows[face_id] = replace(
            face,
            external_id=face.external_id if changes.external_id is None else changes.external_id,
            user_data=face.user_data if changes.user_data is None else changes.user_data,
        )
        return True

    async def remove(self, scope: Scope, face_ids: Collection[UUID], *, ignore_missing: bool) -> None:
        for face_id in face_ids:
            self.rows.pop(face_id, None)
            self.attributes.pop(face_id, None)

    async def attribute(self, scope: Scope, face_id: UUID) -> FaceAttribute | None:
        return None if await self.get(scope, face_id) is None else self.attributes.get(face_id)

    async def set_attribute(self, scope: Scope, face_id: UUID, attribute: FaceAttribute) -> bool:
        if await self.get(scope, face_id) is None:
            return False
        self.attributes[face_id] = attribute
        return True

    async def clear_attribute(self, scope: Scope, face_id: UUID) -> bool:
        self.attributes.pop(face_id, None)
        return await self.get(scope, face_id) is not None

    async def by_external_id(self, scope: Scope, external_id: str) -> list[UUID]:
        return [
            face.face_id
            for face in self.rows.values()
            if face.external_id == external_id and scope.includes(face.account_id)
        ]


class SlowIndex:
    """Every face compared with every query, one by one."""

    def __init__(self, faces: MemoryFaces) -> None:
        self._faces = faces
        self.asked: list[Query[FaceFilter]] = []

    async def search(self, queries: Sequence[Query[FaceFilter]]) -> list[list[Hit]]:
        self.asked += queries
        return [self._one(query) for query in queries]

    def _one(self, query: Query[FaceFilter]) -> list[Hit]:
        hits = []
        for face_id, attribute in self._faces.attributes.items():
            known = attribute.content.descriptor(query.descriptor.version)
            if known is None or not query.scope.includes(self._faces.rows[face_id].account_id):
                continue
            hit = Hit(face_id, cosine(query.descriptor, known))
            if hit.cosine >= query.min_cosine and (query.where.ids is None or face_id in query.where.ids):
                hits.append(hit)
        return sorted(hits, key=lambda hit: (-hit.cosine, hit.object_id))[: query.limit]


class SlowComparer:
    """Every pair, one by one."""

    async def cosines(self, references: Sequence[Descriptor], candidates: Sequence[Descriptor]) -> list[list[float]]:
        return [[cosine(one, other) for other in candidates] for one in references]


class MemoryFailures:
    """Failed logins, and how many are too many."""

    def __init__(self, most: int = 10**6) -> None:
        self.most = most
        self.counted: list[tuple[str, str]] = []

    async def begin(self, login: str, address: str) -> None:
        if sum(one == login for one, _ in self.counted) >= self.most:
            raise Busy(message="too many failed logins", retry_after=1)
        self.counted.append((login, address))

    async def succeeded(self, login: str, address: str) -> None:
        self.counted.remove((login, address))


class MemoryTokens:
    """Tokens and keys by id."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Token] = {}
        self.keys: dict[UUID, SigningKey] = {}

    async def add(self, token: Token) -> None:
        self.rows[token.token_id] = token

    async def get(self, scope: Scope, token_id: UUID) -> Token | None:
        row = self.rows.get(token_id)
        return row if row is not None and scope.includes(row.account_id) else None

    async def find(
        self, scope: Scope, create_time_gte: datetime | None, create_time_lt: datetime | None, page: Page
    ) -> list[Token]:
        rows = [row for row in self.rows.values() if scope.includes(row.account_id)]
        return sorted(rows, key=lambda row: row.create_time, reverse=True)[page.offset : page.offset + page.size]

    async def replace(self, scope: Scope, token: Token) -> bool:
        if await self.get(scope, token.token_id) is None:
            return False
        self.rows[token.token_id] = token
        return True

    async def remove(self, scope: Scope, token_id: UUID) -> bool:
        return await self.get(scope, token_id) is not None and bool(self.rows.pop(token_id))

    async def key(self, key_id: UUID) -> SigningKey | None:
        return self.keys.get(key_id)

    async def newest_key(self) -> SigningKey | None:
        return max(self.keys.values(), key=lambda key: key.create_time, default=None)

    async def add_key(self, key: SigningKey) -> None:
        self.keys[key.key_id] = key

    async def remove_unused_keys(self) -> int:
        newest, used = await self.newest_key(), {row.key_id for row in self.rows.values()}
        unused = [one for one, key in self.keys.items() if key is not newest and one not in used]
        for one in unused:
            del self.keys[one]
        return len(unused)


class MemoryTrail:
    """The audit trail as a list."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    async def begin(self, objects: Iterable[UUID] = ()) -> None:
        change = in_progress()
        if change is not None:
            change.ahead = True
            self._write(change, change.missing(objects), done=False)

    async def complete(self, change: Change, objects: Iterable[UUID] = ()) -> None:
        self._write(change, change.missing(objects), done=True)
        change.ahead = False

    def _write(self, change: Change, objects: tuple[UUID, ...], *, done: bool) -> None:
        if change.row is None:
            change.row = len(self.entries)
            self.entries.append(replace(change.entry, done=done))
        before = self.entries[change.row]
        self.entries[change.row] = replace(before, objects=before.objects + objects, done=done)
        change.keep(objects)

    async def newest(self, account_id: UUID | None, limit: int) -> list[AuditEntry]:
        return [one for one in reversed(self.entries) if account_id in {None, one.account_id}][:limit]
