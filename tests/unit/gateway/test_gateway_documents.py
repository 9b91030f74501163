"""JSON and msgpack documents, against the standard library's reader."""

from __future__ import annotations

import json
import math
import time

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.documents import MAX_CONTAINERS, MAX_DEPTH, read_json, read_msgpack
from server.errors import NotJson

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('a":{}\\,é\n'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab":\\'), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(value: object, ascii_only: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@settings(deadline=None)
@given(st.lists(st.tuples(st.text('a":\\'), VALUES), min_size=2, max_size=5))
def test_a_member_is_read_once_or_refused(pairs: list[tuple[str, object]]) -> None:
    text = "{" + ", ".join(f"{json.dumps(name)} : {json.dumps(value)}" for name, value in pairs) + "}"
    if len({name for name, _ in pairs}) == len(pairs):
        assert read_json(text.encode()) == dict(pairs)
    else:
        with pytest.raises(NotJson, match="twice"):
            read_json(text.encode())


@pytest.mark.parametrize("text", [
    b"", b"{", b"{'a':1}", b"{a:1}", b'{"a":1,}', b"NaN", b"-Infinity", b"1e999", b'"\xff"', b'"\\ud800"', b"{} x",
    b"\xef\xbb\xbf{}", b"01", b"[1,]", b'"\n"', b"[" * 3000, b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), b'[{"a":1,"\\u0061":2}]',
])  # fmt: skip
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(NotJson):
        read_json(text)


@pytest.mark.parametrize(("item", "value"), [(b"[]", []), (b"1", 1), (b'""', ""), (b'{"":1}', {"": 1})])
def test_a_document_of_too_many_values_is_refused_soon(item: bytes, value: object) -> None:
    text, data = b"[" + (item + b",") * 3_000_000 + item + b"]", msgpack.packb([[value] * 90_000] * 30)
    began = time.process_time()
    with pytest.raises(NotJson, match="more than"):
        read_json(text)
    with pytest.raises(NotJson, match="more than"):
        read_msgpack(data)
    assert time.process_time() - began < 3


def test_arrays_and_objects_are_bounded_closer_than_other_values() -> None:
    for item, value in ((b"[]", []), (b"{}", {})):
        many = MAX_CONTAINERS - 1
        packed = [[value] * (many // 2 - 2), [value] * (many // 2 - 2)]
        assert len(read_json(b"[" + (item + b",") * (many - 1) + item + b"]")) == many  # type: ignore[arg-type]
        assert read_msgpack(msgpack.packb(packed)) == packed
        with pytest.raises(NotJson, match="arrays and objects"):
            read_json(b"[" + (item + b",") * many + item + b"]")
        with pytest.raises(NotJson, match="arrays and objects"):
            read_msgpack(msgpack.packb([*packed, [value] * 9]))


def test_as_many_ids_as_a_body_has_room_for_are_read() -> None:
    ids = ["00000000-0000-4000-8000-000000000000"] * 90_000
    found = read_json(json.dumps([ids] * 9, separators=(",", ":")).encode())
    assert found == [ids] * 9 == read_msgpack(msgpack.packb([ids] * 9))


def test_the_deepest_document_is_read() -> None:
    assert read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def test_integers_beyond_64_bits_are_no_integers() -> None:
    assert read_json(b"[18446744073709551615]") == [2**64 - 1]
    value = read_json(b"[18446744073709551616]")
    assert isinstance(value, list)
    assert isinstance(value[0], float)


@settings(deadline=None)
@given(VALUES)
def test_msgpack_is_read_as_it_was_packed(value: object) -> None:
    assert read_msgpack(msgpack.packb(value)) == value


@pytest.mark.parametrize("data", [
    b"", b"\xc1", b"\x81\xa1a", b"\x01\x02", b"\x82\xa1a\x01\xa1a\x02", b"\x81\x01\x02", b"\x81\xc4\x01a\x02",
    b"\xa1\xff", b"\xd6\xff\0\0\0\0", b"\xdd\x7f\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xc6\x7f\xff\xff\xff",
    b"\x91" * MAX_DEPTH + b"\x90", b"\x91" * 100_000 + b"\x90",
])  # fmt: skip
def test_what_is_no_strict_msgpack_is_refused(data: bytes) -> None:
    with pytest.raises(NotJson):
        read_msgpack(data)


def test_msgpack_keeps_nan_for_the_fields_to_refuse() -> None:
    value = read_msgpack(msgpack.packb(math.nan))
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    "data", [b'"' + b"\\\\" * 2_000_000 + b'"', b'["' + b'","' * 700_000 + b'"]', b'{"a":"' + b"{:" * 2_000_000 + b'"}']
)
def test_large_documents_take_time_in_proportion_to_their_length(data: bytes) -> None:
    started = time.perf_counter()
    read_json(data)
    assert time.perf_counter() - started < 3
