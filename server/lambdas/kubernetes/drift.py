"""Whether an object of the cluster is as it is wanted."""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eE][+-]?[0-9]+|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_TENS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_TWOS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(text: str) -> Decimal | None:
    """The number that a quantity of Kubernetes means: 500m is a half. None where the text is no quantity.

    Source: the grammar of `resource.Quantity` in the API's reference.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None or found[1].count(".") > 1 or not any(map(str.isdigit, found[1])):
        return None
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix in _TENS:
        return number.scaleb(_TENS[suffix])
    if suffix in _TWOS:
        return number * (1 << _TWOS[suffix])
    return number.scaleb(int(suffix[1:])) if suffix else number


def drifted(wanted: object, live: object) -> bool:
    """Whether an object lacks something of what is wanted, or has it otherwise.

    What a server adds by itself is no difference, nor is how it writes a quantity. A list is a whole.
    """
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return bool(wanted)  # servers leave empty objects out
        return any(drifted(value, live.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        found = live or []
        if not isinstance(found, list) or len(found) != len(wanted):
            return True
        return any(drifted(one, other) for one, other in zip(wanted, found, strict=True))
    if isinstance(wanted, str) and isinstance(live, str) and wanted != live:
        amount = quantity(wanted)
        return amount is None or amount != quantity(live)
    # and values that say nothing
    return (wanted or None) != (live or None)
