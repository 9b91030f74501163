"""A position is PostgreSQL's own text of a snapshot."""

from __future__ import annotations

from uuid import UUID

import pytest

from storage.feed import Position

EPOCH = UUID(int=7)


@pytest.mark.parametrize(
    ("snapshot", "position"),
    [
        ("10:20:10,14,15", Position(EPOCH, 10, 20, (10, 14, 15))),
        ("795:795:", Position(EPOCH, 795, 795, ())),
        ("18446744073709551000:18446744073709551001:18446744073709551000",
         Position(EPOCH, 2**64 - 616, 2**64 - 615, (2**64 - 616,))),
    ],
)  # fmt: skip
def test_a_snapshot_is_read_with_all_that_runs(snapshot: str, position: Position) -> None:
    assert Position.parse(EPOCH, snapshot) == position
