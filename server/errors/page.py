"""The page of all codes, as the links in errors find it."""

from __future__ import annotations

from itertools import groupby

from server.errors.tree import GRPC_OF_HTTP, LunaError, catalogue


def reference() -> str:
    """Two tables in Markdown: the gRPC code of each HTTP status, and all errors by code.

    A code has the anchor of its number, at the first error that carries it.
    """
    rule = [
        "| HTTP | gRPC |",
        "|---|---|",
        *(f"| {status} | {grpc.name} |" for status, grpc in GRPC_OF_HTTP.items()),
    ]
    rows = ["| code | HTTP | gRPC | reason | desc | detail |", "|---|---|---|---|---|---|"]
    known = sorted((error for error in catalogue() if error is not LunaError), key=lambda error: error.code)
    for code, errors in groupby(known, key=lambda error: error.code):
        anchor = f'<a id="{code}"></a>'
        for error in errors:
            rows.append(f"| {anchor}{code} | {_cells(error)} |")
            anchor = ""
    return "\n".join([*rule, "", *rows]) + "\n"


def _cells(error: type[LunaError]) -> str:
    detail = error.template.replace("|", "\\|")
    return f"{error.status} | {error.grpc.name} | `{error.reason}` | {error.desc} | {detail}"
