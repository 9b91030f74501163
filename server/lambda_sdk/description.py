"""The OpenAPI description of a lambda, without running any of its code."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import yaml

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
    main = next(
        (node for node in module.body if isinstance(node, ast.AsyncFunctionDef) and node.name == MAIN_FUNCTION), None
    )
    summary, description = _split(ast.get_docstring(main) if main is not None else None)
    operation = {
        "summary": summary,
        "description": description,
        "responses": {"200": {"description": "What it answers."}},
    }
    return {
        "openapi": VERSION,
        "info": {"title": title or "Lambda", "description": about, "version": "1"},
        "paths": {"/main": {"post": operation}},
    }


def _split(docstring: str | None) -> tuple[str, str]:
    first, _, rest = inspect.cleandoc(docstring or "").partition("\n")
    return first.strip(), rest.strip()
