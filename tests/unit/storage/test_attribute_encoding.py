"""The bytes of a temporary attribute: whatever goes in comes out, and the first byte tells the layout."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from server.domain.attributes import AttributeContent, BasicAttributes, Ethnicity, Gender, TemporaryAttribute
from server.domain.descriptors import Descriptor
from storage.attributes import decode, encode

times = st.datetimes(
    min_value=datetime(1900, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
basics = st.builds(
    BasicAttributes,
    age=st.none() | st.integers(0, 100),
    gender=st.none() | st.sampled_from(Gender),
    ethnicity=st.none() | st.sampled_from(Ethnicity),
)
contents = st.builds(
    AttributeContent,
    descriptors=st.lists(st.builds(Descriptor, st.integers(1, 2000), st.binary(max_size=600)), max_size=3).map(tuple),
    descriptor_samples=st.lists(st.uuids(), max_size=3).map(tuple),
    basic_attributes=st.none() | basics,
    basic_attributes_samples=st.lists(st.uuids(), max_size=3).map(tuple),
)


@given(st.builds(TemporaryAttribute, st.uuids(), st.uuids(), times, contents))
def test_whatever_goes_in_comes_out(attribute: TemporaryAttribute) -> None:
    assert decode(attribute.attribute_id, encode(attribute)) == attribute


def test_the_layout_is_what_the_documentation_says() -> None:
    content = AttributeContent((Descriptor(1001, b"ab"),), (UUID(int=3),), BasicAttributes(age=7, gender=Gender.FEMALE))
    made = TemporaryAttribute(UUID(int=1), UUID(int=2), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), content)
    value = encode(made)
    assert value[0] == 1
    assert msgpack.unpackb(value[1:]) == [
        UUID(int=2).bytes, 1_000_000, [[1001, b"ab"]], [UUID(int=3).bytes], [7, 0, None], [],
    ]  # fmt: skip


def test_an_unknown_layout_is_no_attribute() -> None:
    assert decode(UUID(int=1), b"\x02" + b"anything") is None
    assert decode(UUID(int=1), b"") is None
