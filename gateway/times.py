"""Points in time as REST writes them: RFC 3339, section 5.6."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d{0,21})?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def parse(text: str) -> Timestamp:
    """The point in time that a text names; digits below a nanosecond are dropped.

    Raises:
        ValueError: the text is no date-time of RFC 3339 with its offset, or names a day that does not exist.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        message = "date and time as in RFC 3339 expected, for example 2018-08-11T09:11:41.674Z"
        raise ValueError(message)
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if offset >= timedelta(days=1) or int(minutes or 0) > 59:
        message = "offset from UTC is out of range"
        raise ValueError(message)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        moment = moment + offset if sign == "-" else moment - offset
    except OverflowError as error:
        message = "date is out of range"
        raise ValueError(message) from error
    return Timestamp(seconds=(moment - _EPOCH) // _SECOND, nanos=int((fraction or "").ljust(9, "0")))


def write(moment: Timestamp) -> str:
    """The time in UTC with microseconds: 2018-08-11T09:11:41.674000Z; digits below them are dropped."""
    when = _EPOCH + timedelta(seconds=moment.seconds, microseconds=moment.nanos // 1000)
    return when.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
