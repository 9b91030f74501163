"""The function `main` of a lambda, found in its source. Nothing of the source is run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Final

MAIN_FILE: Final = "lambda_main.py"
MAIN: Final = "main"
SOURCE_BYTES: Final = 512 << 10
"""Most bytes of the file: a syntax tree has a hundred times as many."""

_BLOCKS: Final = (ast.If, ast.Try, ast.With)
"""Statements whose inner statements are the module's own."""


def problem_of_source(source: bytes) -> str | None:
    """Why a file is no lambda's main file; None where it is one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(source, MAIN_FILE)
    except SyntaxError as error:
        place = f", line {error.lineno}" if error.lineno else ""
        return f"{MAIN_FILE}{place}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{MAIN_FILE} cannot be parsed: {type(error).__name__}"
    found = [one for one in _statements(module.body) if getattr(one, "name", "") == MAIN]
    if not found:
        return f"{MAIN_FILE} has no function main: async def main(request)"
    last = found[-1]
    if not isinstance(last, ast.AsyncFunctionDef):
        return f"{MAIN_FILE}, line {last.lineno}: main must be an asynchronous function: async def main(request)"
    if not _takes_one(last.args):
        return f"{MAIN_FILE}, line {last.lineno}: main must take one parameter: async def main(request)"
    return None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, and those of its conditions, that define something."""
    for one in body:
        if isinstance(one, _BLOCKS):
            yield from _statements(one.body)
            yield from _statements(getattr(one, "orelse", []))
            for handler in getattr(one, "handlers", []):
                yield from _statements(handler.body)
            yield from _statements(getattr(one, "finalbody", []))
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield one


def _takes_one(given: ast.arguments) -> bool:
    """True where a function can be called with one value."""
    positional = len(given.posonlyargs) + len(given.args)
    needed = positional - len(given.defaults)
    taken = positional >= 1 or given.vararg is not None
    return taken and needed <= 1 and None not in given.kw_defaults
