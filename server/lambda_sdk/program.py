"""The code of a lambda, loaded: `main`, its routes and its context."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .routes import Handler, Routes

MAIN_MODULE = "lambda_main"
MAIN_FUNCTION = "main"
CONTEXT_CLASS = "UserCtx"


class NoProgram(Exception):
    """The archive has not what a lambda needs; the text says what."""


class Program:
    """A lambda's code. It has a life: `start`, any number of calls, `shutdown`.

    Attributes:
        context: the instance of `UserCtx`, from `start` on; None where the code has no such class.
    """

    def __init__(self, main: Handler, routes: list[Routes], context_class: type | None) -> None:
        self.context: Any = None
        self._started = False
        self._main = main
        self._routes = routes
        self._context_class = context_class

    @classmethod
    def load(cls, folder: Path) -> Program:
        """Import lambda_main.py of a folder.

        Raises:
            NoProgram: there is no asynchronous function main.
            Exception: whatever the code raises while it is imported.
        """
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        module = importlib.import_module(MAIN_MODULE)
        main = getattr(module, MAIN_FUNCTION, None)
        if not inspect.iscoroutinefunction(main):
            message = f"{MAIN_MODULE}.py has no asynchronous function {MAIN_FUNCTION}(request)"
            raise NoProgram(message)
        routes = list({id(value): value for value in vars(module).values() if isinstance(value, Routes)}.values())
        context_class = getattr(module, CONTEXT_CLASS, None)
        return cls(main, routes, context_class if isinstance(context_class, type) else None)

    async def start(self, platform: Callable[[], Any]) -> None:
        """Make the context and let it start. Its onStart is given the platform where it takes an argument.

        Raises:
            Exception: whatever its code raises.
        """
        if self._context_class is not None:
            self.context = self._context_class()
            await _call(self.context, "onStart", platform)
        self._started = True

    async def shutdown(self, platform: Callable[[], Any]) -> None:
        """Let the context shut down, likewise, where it has started.

        Raises:
            Exception: whatever its code raises.
        """
        if self._started and self.context is not None:
            await _call(self.context, "onShutdown", platform)

    def handler(self, method: str, path: str) -> tuple[Handler, Mapping[str, str]]:
        """What answers a verb on a path, and the path's variables.

        Raises:
            WrongVerb: there are routes with the path, and none of them has the verb.
        """
        for routes in self._routes:
            found = routes.find(method, path)
            if found is not None:
                return found
        return self._main, {}


async def _call(context: Any, name: str, platform: Callable[[], Any]) -> None:
    method = getattr(context, name, None)
    if method is not None:
        await (method(platform()) if inspect.signature(method).parameters else method())
