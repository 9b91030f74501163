"""What is kept of a build in the cluster, for when its pods and their logs are gone: a ConfigMap of each lambda."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from server.domain.lambdas import ImageStatus

from .programs import Json, Program

MOST_DOCUMENTATION = 256 << 10
MOST_LOG = 256 << 10
"""Bytes; the API takes objects of 1 MiB."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a build says of itself.

    Attributes:
        base: version of the platform that it has.
        python: version of Python.
        documentation: an OpenAPI description in YAML; empty where there is none.
    """

    base: str = ""
    python: str = ""
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """How the build of a version ended."""

    version: int
    status: ImageStatus
    log: tuple[str, ...]
    report: Report

    @classmethod
    def read(cls, live: Json) -> Self | None:
        """From a ConfigMap; None where it is none of a build."""
        data: dict[str, str] = live.get("data") or {}
        try:
            return cls(
                version=int(data["version"]),
                status=ImageStatus(data["status"]),
                log=tuple(data["log"].splitlines()),
                report=Report(data["base"], data["python"], data["documentation"]),
            )
        except (KeyError, ValueError):
            return None

    def manifest(self, program: Program) -> Json:
        """The ConfigMap."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": program.name, "labels": program.labels},
            "data": {
                "version": str(self.version),
                "status": self.status.value,
                "log": "\n".join(self.log),
                "base": self.report.base,
                "python": self.report.python,
                "documentation": self.report.documentation,
            },
        }


def lines_of(data: bytes, most: int) -> tuple[str, ...]:
    """The last lines of a log within so many bytes. Where it was cut, so is the first line."""
    text = data[-most:].decode(errors="replace")
    return tuple(line for line in text.replace("\0", "\N{REPLACEMENT CHARACTER}").split("\n") if line)
