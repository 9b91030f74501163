"""Tables as CSV (RFC 4180, UTF-8), safe to be opened in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

from server.domain.task_columns import EVENT_COLUMNS, EVENT_EXPORT_COLUMNS, FACE_COLUMNS, FACE_EXPORT_COLUMNS
from server.errors import BadBody

_FORMULA: Final = re.compile(r"\s*[=@\uFF1D\uFF20]|[\t\r\n]|\s*[+\-\uFF0B\uFF0D](?![\d\s().,+-]*$)")
"""What a spreadsheet may take for a formula. A sign before digits is a number or a telephone, and stays."""


class Table:
    """Writes rows. `header` are the names of all columns.

    A cell that a spreadsheet would take for a formula gets an apostrophe before it: texts come from whoever sends
    events, and a report is opened by somebody else.

    Raises:
        BadBody: the delimiter cannot be told from what quotes cells or ends rows.
    """

    def __init__(self, header: Sequence[str], delimiter: str) -> None:
        if len(delimiter) != 1 or delimiter in '"\r\n\0':
            raise BadBody(
                field="content.csv_delimiter", message="one character is needed that is no quote and ends no row"
            )
        self._header = list(header)
        self._delimiter = delimiter

    def head(self) -> bytes:
        """The first line."""
        return self.rows([self._header])

    def rows(self, rows: Iterable[Sequence[str]]) -> bytes:
        """Lines of rows."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\r\n")
        writer.writerows([defused(cell) for cell in row] for row in rows)
        return text.getvalue().encode("utf-8", "replace")


def defused(cell: str) -> str:
    """A cell that is no formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def report_columns(wanted: Sequence[str], *, of_events: bool) -> tuple[str, ...]:
    """The columns of a report behind the cluster and the object; all where none is named.

    Raises:
        BadBody: one of them is none.
    """
    return _known(wanted, EVENT_COLUMNS if of_events else FACE_COLUMNS)


def export_columns(wanted: Sequence[str], *, of_events: bool) -> tuple[str, ...]:
    """The columns of an export: the id of the object, then those that are named, or all.

    Raises:
        BadBody: one of them is none.
    """
    known = EVENT_EXPORT_COLUMNS if of_events else FACE_EXPORT_COLUMNS
    return (known[0], *(name for name in _known(wanted, known) if name != known[0]))


def _known(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    for position, name in enumerate(wanted):
        if name not in known:
            raise BadBody(field=f"content.columns.{position}", message=f"'{name[:64]}' is none of {', '.join(known)}")
    return tuple(wanted or known)
