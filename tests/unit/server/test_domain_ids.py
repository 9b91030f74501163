"""Ids: UUID version 7, held to RFC 9562."""

from __future__ import annotations

import time
from uuid import RFC_4122

from server.domain.ids import uuid7


def test_version_and_variant_are_those_of_the_rfc() -> None:
    for _ in range(1000):
        one = uuid7()
        assert one.version == 7
        assert one.variant == RFC_4122


def test_the_first_48_bits_are_the_milliseconds_of_unix_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7().int >> 80
    assert before <= made <= time.time_ns() // 1_000_000


def test_a_later_id_sorts_behind_an_earlier_one_as_number_and_as_text() -> None:
    made = []
    for _ in range(20):
        made.append(uuid7())
        time.sleep(0.002)
    assert made == sorted(made)
    assert [str(one) for one in made] == sorted(str(one) for one in made)


def test_ids_of_one_moment_differ_in_all_their_random_bits() -> None:
    made = [uuid7() for _ in range(5000)]
    assert len(set(made)) == 5000
    always_set = always_clear = (1 << 128) - 1
    for one in made:
        always_set &= one.int
        always_clear &= ~one.int
    random_bits = (1 << 62) - 1 | ((1 << 12) - 1) << 64
    assert always_set & random_bits == 0
    assert always_clear & random_bits == 0
