"""Entries of the audit trail, from what a call is about."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from server.domain.access import Principal
from server.domain.audit import MOST, AuditEntry, Change
from server.rpc.methods import Method
from server.rpc.validation import UUID as UUID_PATTERN

_FOREIGN = frozenset({"external_id", "external_ids"})
"""Ids of people in the caller's own system: part of what is changed, and none of Luna's objects."""
_FOUND = frozenset({"luna.v6.EventMatch"})
"""Messages of what a comparison found: it was looked at, and not changed."""


def change_of(method: Method, request: Message, caller: Principal | None, address: str, request_id: str) -> Change:
    """The change that a call is about to make."""
    return Change(
        AuditEntry(
            time=datetime.now(UTC),
            account_id=None if caller is None else caller.account_id,
            token_id=None if caller is None or caller.token is None else caller.token.token_id,
            method=method.name,
            objects=objects_of(request)[:MOST],
            address=address,
            request_id=request_id,
        )
    )


def made_by(change: Change, response: Message) -> tuple[UUID, ...]:
    """The ids of a response that the entry of its change lacks.

    The account whose change it is has its own place there.
    """
    return change.missing(one for one in objects_of(response) if one != change.entry.account_id)


def objects_of(message: Message) -> tuple[UUID, ...]:
    """The ids of Luna's objects that a request or a response names, each once, in their order."""
    return tuple(dict.fromkeys(_ids(message)))


def _ids(message: Message) -> Iterator[UUID]:
    """The UUIDs in fields that are called ..._id, ..._ids, lists or samples, nested ones too. Nothing else is taken.

    An external id is none of them, whatever it looks like.
    """
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.message_type is not None:
            if _may_name_objects(field.message_type.full_name) and not _is_map(field):
                for item in values:
                    yield from _ids(item)
        elif _names_objects(field):
            yield from (UUID(text) for text in values if isinstance(text, str) and UUID_PATTERN.fullmatch(text))


def _names_objects(field: FieldDescriptor) -> bool:
    named = field.name.endswith(("_id", "_ids")) or field.name in {"lists", "samples"}
    return named and field.name not in _FOREIGN


def _may_name_objects(message: str) -> bool:
    return not message.startswith("google.protobuf.") and message not in _FOUND


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
