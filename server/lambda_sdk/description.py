"""The OpenAPI description of a lambda, without running any of its code."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import yaml

from .routes import VARIABLE, VERBS

FILE = "openapi.yaml"
MAIN_FILE = "lambda_main.py"
MAIN_FUNCTION = "main"
VERSION = "3.1.0"


class NotDescribed(Exception):
    """A folder has no description that can be shown; the text says why."""


def describe(folder: Path) -> str:
    """A description in YAML: the folder's own file openapi.yaml, or one made from the docstrings of lambda_main.py.

    Raises:
        NotDescribed: openapi.yaml is not YAML of an OpenAPI description, or lambda_main.py is not there or not Python.
    """
    own = folder / FILE
    if own.is_file():
        return _checked(own)
    try:
        module = ast.parse((folder / MAIN_FILE).read_bytes(), MAIN_FILE)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        message = f"{MAIN_FILE} can not be read: {error}"
        raise NotDescribed(message) from error
    return yaml.safe_dump(_made(module), sort_keys=False, allow_unicode=True, width=120)


def _checked(file: Path) -> str:
    try:
        text = file.read_text("utf-8")
        document = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        message = f"{FILE} is not YAML: {error}"
        raise NotDescribed(message) from error
    if not isinstance(document, dict) or "openapi" not in document:
        message = f"{FILE} is no OpenAPI description: it has no member openapi"
        raise NotDescribed(message)
    return text


def _made(module: ast.Module) -> dict[str, Any]:
    title, about = _split(ast.get_docstring(module))
    paths: dict[str, dict[str, Any]] = {}
    for function in module.body:
        if isinstance(function, ast.AsyncFunctionDef):
            for verb, path in _places(function):
                paths.setdefault(path, {})[verb] = _operation(function, path)
    return {
        "openapi": VERSION,
        "info": {"title": title or "Lambda", "description": about, "version": "1"},
        "paths": paths,
    }


def _places(function: ast.AsyncFunctionDef) -> list[tuple[str, str]]:
    """Verbs and paths that a function answers: of `main` its own, of others those of its routes."""
    found = [("post", f"/{MAIN_FUNCTION}")] if function.name == MAIN_FUNCTION else []
    for decorator in function.decorator_list:
        match decorator:
            case ast.Call(
                func=ast.Attribute(attr="route"), args=[ast.Constant(str() as verb), ast.Constant(str() as path)]
            ):
                found.append((verb.lower(), path))
            case ast.Call(func=ast.Attribute(attr=verb), args=[ast.Constant(str() as path)]) if verb in VERBS:
                found.append((verb, path))
    return [(verb, "/" + path.strip("/")) for verb, path in found]


def _operation(function: ast.AsyncFunctionDef, path: str) -> dict[str, Any]:
    summary, description = _split(ast.get_docstring(function))
    operation: dict[str, Any] = {"operationId": function.name, "summary": summary, "description": description}
    names = re.findall(VARIABLE, path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    return operation | {"responses": {"200": {"description": "What it answers."}}}


def _split(docstring: str | None) -> tuple[str, str]:
    first, _, rest = inspect.cleandoc(docstring or "").partition("\n")
    return first.strip(), rest.strip()
