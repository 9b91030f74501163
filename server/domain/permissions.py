"""What a token may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

ACTIONS: Mapping[str, tuple[str, ...]] = {
    "face": ("creation", "view", "modification", "deletion", "matching"),
    "list": ("creation", "view", "modification", "deletion"),
    "event": ("creation", "view", "deletion", "matching"),
    "attribute": ("creation", "view", "deletion", "matching"),
    "handler": ("creation", "view", "modification", "deletion"),
    "verifier": ("creation", "view", "modification", "deletion"),
    "task": ("creation", "view", "modification", "deletion"),
    "face_sample": ("creation", "view", "deletion"),
    "body_sample": ("creation", "view", "deletion"),
    "image": ("creation", "view", "deletion"),
    "object": ("creation", "view", "deletion"),
    "token": ("view", "modification", "deletion"),
    "lambda": ("creation", "view", "modification", "deletion"),
}
"""The actions that there are for each kind of object."""

RESOURCES = ("liveness", "iso", "sdk")
"""Parts of the service that a token must be let into by name."""


@dataclass(frozen=True, slots=True)
class EmitEvents:
    """Which handlers events may be made with: all, those of the white list, or all but those of the black list."""

    allowed: bool = False
    white_list: frozenset[UUID] = frozenset()
    black_list: frozenset[UUID] = frozenset()

    def permits(self, handler_id: UUID) -> bool:
        """True where events may be made with a handler."""
        listed = handler_id in self.white_list if self.white_list else handler_id not in self.black_list
        return self.allowed and listed

    def covers(self, other: EmitEvents) -> bool:
        """True where each handler that the other one lets make events may make them here too."""
        if not other.allowed:
            return True
        if other.white_list:
            within = other.white_list <= self.white_list if self.white_list else not other.white_list & self.black_list
            return self.allowed and within
        return self.allowed and not self.white_list and self.black_list <= other.black_list

    def within(self, other: EmitEvents) -> EmitEvents:
        """What is left of these inside of others: each handler that both permit, and no further one."""
        if not (self.allowed and other.allowed):
            return EmitEvents()
        if not self.white_list and not other.white_list:
            return EmitEvents(allowed=True, black_list=self.black_list | other.black_list)
        both = (
            self.white_list & other.white_list
            if self.white_list and other.white_list
            else self.white_list | other.white_list
        )
        left = both - self.black_list - other.black_list
        return EmitEvents(allowed=bool(left), white_list=left)


@dataclass(frozen=True, slots=True)
class Permissions:
    """What is allowed; everything else is not. `grants` are pairs of kind of object and action."""

    grants: frozenset[tuple[str, str]] = frozenset()
    resources: frozenset[str] = frozenset()
    emit_events: EmitEvents = field(default_factory=EmitEvents)

    def missing_of(self, other: Permissions) -> str | None:
        """Something that the other permissions allow and these do not; None where they are no more than these."""
        grants = sorted(other.grants - self.grants)
        if grants:
            return f"{grants[0][0]}: {grants[0][1]}"
        resources = sorted(other.resources - self.resources)
        if resources:
            return f"resources: {resources[0]}"
        if not self.emit_events.covers(other.emit_events):
            return "emit_events"
        return None

    def within(self, other: Permissions) -> Permissions:
        """What is left of these inside of others."""
        return Permissions(
            self.grants & other.grants, self.resources & other.resources, self.emit_events.within(other.emit_events)
        )
