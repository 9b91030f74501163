"""Events."""

from __future__ import annotations

from server.errors.families import Conflict, InvalidInput, NotFound


class EventNotFound(NotFound):
    """Event with id '{event_id}' not found"""

    code = 23001


class EventsNotFound(NotFound):
    """One or more events not found, including event with id '{event_id}'"""

    code = 23002


class EventExternalIdNotFound(NotFound):
    """Event with external id '{external_id}' not found"""

    code = 11057


class EventTrackIdNotFound(NotFound):
    """Event with track id '{track_id}' not found"""

    code = 11058


class EventIdTaken(Conflict):
    """One or more event ids exist already, including '{event_id}'"""

    code = 23003


class UnknownDeletionTarget(InvalidInput):
    """Unknown target '{target}' of the deletion of events, allowed are: {allowed}"""

    code = 23011
    desc = "Bad input data"
