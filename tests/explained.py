"""EXPLAIN of a statement that SQLAlchemy has built, with its parameters."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler


class Explained(Executable, ClauseElement):
    """The plan of a statement, a line in each row; with `analyze` it is run too."""

    inherit_cache = False

    def __init__(self, statement: ClauseElement, *, analyze: bool = False) -> None:
        self.statement = statement
        self.analyze = analyze


@compiles(Explained)
def _explain(element: Explained, compiler: SQLCompiler, **options: Any) -> str:
    words = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " if element.analyze else "EXPLAIN "
    return words + compiler.process(element.statement, **options)
