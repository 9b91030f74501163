"""Commands of pip that plan and install the packages of a lambda, and what they see of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from server.lambdas.local import view
from server.settings import Lambdas

WORK = "/lambda/work"
"""Folder of a build's own files, inside."""
_SCRATCH = f"{WORK}/tmp"  # noqa: S108 - on the disk, and counted
ASKED, PLANNED, REPORT = "asked.txt", "planned.txt", "report.json"
OWN_WHEELS = f"{view.CODE}/wheels"
_OPERATORS_WHEELS = "/lambda/wheels"
_CONFIGURATION = "/lambda/pip.conf"
_CONFIGURATIONS = ("~/.config/pip/pip.conf", "~/.pip/pip.conf")
_OF_MACHINE = "/etc/pip.conf"
_PLACES = ("PIP_CERT", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PASSED_ON = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "NO_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
)
_ALWAYS = (
    *("-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-color", "--progress-bar", "off"),
    *("--only-binary", ":all:", "--no-cache-dir"),
)


def plan(settings: Lambdas, *, own_wheels: bool) -> tuple[str, ...]:
    """Find out what would be installed, with all that it needs and the service does not have."""
    return (
        *_ALWAYS,
        *_sources(settings, own_wheels=own_wheels),
        "--dry-run",
        "--report",
        f"{WORK}/{REPORT}",
        "-r",
        f"{WORK}/{ASKED}",
    )


def install(settings: Lambdas, *, own_wheels: bool) -> tuple[str, ...]:
    """Install exactly what was planned."""
    target = ("--no-deps", "--target", view.PACKAGES)
    return (*_ALWAYS, *_sources(settings, own_wheels=own_wheels), *target, "-r", f"{WORK}/{PLANNED}")


def online(settings: Lambdas) -> bool:
    """Whether packages may come from an index: where none is allowed, they come from the archive alone."""
    return bool(settings.requirements)


def environment(settings: Lambdas) -> dict[str, str]:
    """What pip is told of this machine's settings. It runs none of a lambda's code, nor of what it installs.

    Passwords of an index are told here: an argument can be read by every user of the machine.
    """
    told = {"TMPDIR": _SCRATCH, "HOME": _SCRATCH, "PIP_CONFIG_FILE": os.devnull}
    if not online(settings):
        return told
    told |= {name: value for name, value in os.environ.items() if name.upper() in _PASSED_ON}
    if settings.index_url:
        return {**told, "PIP_INDEX_URL": settings.index_url}
    told |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {**told, "PIP_CONFIG_FILE": _CONFIGURATION if _configuration() is not None else "/nowhere"}


def sees(settings: Lambdas) -> tuple[view.Mount, ...]:
    """What of this machine pip sees besides Python: where wheels are, its settings, and certificates."""
    found: dict[str, str] = {}
    if settings.wheels is not None and settings.wheels.is_dir():
        found[_OPERATORS_WHEELS] = str(settings.wheels.resolve())
    if online(settings):
        told = environment(settings)
        named = [told.get(name, "") for name in _PLACES]
        if not settings.index_url:
            texts = [told.get("PIP_FIND_LINKS", ""), told.get("PIP_EXTRA_INDEX_URL", "")]
            for path, place in ((_configuration(), _CONFIGURATION), (Path(_OF_MACHINE), _OF_MACHINE)):
                if path is not None and path.is_file():
                    found[place] = str(path)
                    texts.append(path.read_text(errors="replace"))
            named += [word.removeprefix("file://") for text in texts for word in re.split(r"[\s=,]+", text)]
        covered = [mount.target for mount in view.network()]
        for name in named:
            path = Path(name)
            if path.is_absolute() and path.exists() and not any(path.is_relative_to(one) for one in covered):
                found[name.rstrip("/") or "/"] = str(path.resolve())
    return tuple(view.Bind(source, target) for target, source in found.items() if target != "/")


def _sources(settings: Lambdas, *, own_wheels: bool) -> tuple[str, ...]:
    found: list[str] = []
    if own_wheels:
        found += ["--find-links", OWN_WHEELS]
    if settings.wheels is not None and settings.wheels.is_dir():
        found += ["--find-links", _OPERATORS_WHEELS]
    if not online(settings):
        found += ["--no-index"]
    return tuple(found)


def _configuration() -> Path | None:
    """The operator's own settings of pip."""
    candidates = [os.environ.get("PIP_CONFIG_FILE", ""), *_CONFIGURATIONS]
    paths = [Path(name).expanduser() for name in candidates if name]
    return next((path.resolve() for path in paths if path.is_file()), None)
