"""`python -m luna_lambda` serves a lambda's code; with `describe FOLDER` it prints the code's OpenAPI description."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

USAGE = "usage: python -m luna_lambda [describe FOLDER]"


def main(arguments: list[str]) -> int:
    """Do what is asked; the exit status."""
    match arguments:
        case []:
            return _serve()
        case ["describe", folder]:
            return _describe(Path(folder))
        case _:
            sys.stderr.write(USAGE + "\n")
            return 2


def _serve() -> int:
    from .environment import Environment
    from .program import NoProgram, Program
    from .serving import Server

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    environment = Environment.read()
    try:
        program = Program.load(environment.code)
    except NoProgram as error:
        sys.stderr.write(f"{error}\n")
        return 1
    asyncio.run(Server(program, environment).run())
    return 0


def _describe(folder: Path) -> int:
    from .description import NotDescribed, describe

    try:
        sys.stdout.write(describe(folder))
    except NotDescribed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
