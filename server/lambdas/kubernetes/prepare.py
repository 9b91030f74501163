"""The build of a lambda, inside of its pod: `python -m server.lambdas.kubernetes.prepare FOLDER`, before it starts.

    FOLDER/code      the archive, unpacked
    FOLDER/packages  what its requirements installed
    FOLDER/base      what the platform gives to every lambda

Nothing of the lambda's own code is run. What is written is the log of the build; the exit status is one of `outcomes`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from server.lambda_archives.checking import problems_of
from server.lambda_archives.reading import ArchiveRules, BadArchive, LambdaArchive
from server.lambda_archives.requirements import REQUIREMENTS_FILE
from server.lambdas.local import base, requirements
from server.settings import Lambdas, Settings

from .layout import BASE, CODE, PACKAGES, SCRATCH
from .outcomes import BAD, FAILED, REFUSED
from .records import MOST_DOCUMENTATION

FETCH_SECONDS = 20.0
"""How long a host that does not answer is asked again: it may just be starting."""
AGAIN_SECONDS = 0.5
LOOK_SECONDS = 0.5
"""How often it is looked how much a build has written."""
DESCRIBE_SECONDS = 30.0
PIP = (
    *("-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-color", "--progress-bar=off"),
    *("--only-binary=:all:", "--no-cache-dir", "--root-user-action=ignore", "--retries=2"),
)
"""Wheels alone, of which pip runs nothing."""


class BuildFailed(Exception):
    """There is no build; the text says why, and `outcome` whether another try may help."""

    def __init__(self, message: str, outcome: int) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built, as the variables LUNA_LAMBDA_... tell it."""

    lambda_id: str
    version: str
    digest: str
    ticket: str = field(repr=False)

    @classmethod
    def read(cls) -> Order:
        """From the environment.

        Raises:
            KeyError: a variable is missing.
        """
        names = ("ID", "VERSION", "DIGEST", "TICKET")
        return cls(*(os.environ[f"LUNA_LAMBDA_{name}"] for name in names))


class Build:
    """One build in a folder.

    Args:
        order: what is built.
        settings: its limits, and where packages come from.
        folder: where it is built; what an earlier try left there is removed.
    """

    def __init__(self, order: Order, settings: Lambdas, folder: Path) -> None:
        self._order = order
        self._settings = settings
        self._folder = folder
        self._ends = time.monotonic() + settings.build_seconds
        self._rules = ArchiveRules(
            bytes=settings.archive_max_bytes,
            unpacked_bytes=settings.archive_max_unpacked_bytes,
            files=settings.archive_max_files,
            ratio=settings.archive_max_ratio,
            requirements=settings.requirements,
        )

    def run(self) -> None:
        """Build.

        Raises:
            BuildFailed: there is no build.
            OSError: the folder cannot be written.
        """
        for name in (CODE, PACKAGES, BASE, SCRATCH):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        (self._folder / SCRATCH).mkdir()
        headers = {"Authorization": f"Bearer {self._order.ticket}"}
        host = self._settings.kubernetes.archives.rstrip("/")
        address = f"{host}/archives/{self._order.lambda_id}/{self._order.version}"
        with httpx.Client(headers=headers, timeout=FETCH_SECONDS, trust_env=False) as client:
            say(f"building version {self._order.version}")
            archive = self._fetched(client, address)
            self._unpack(archive)
            self._install()
            self._check_size()
            made = base.prepare(self._folder / SCRATCH / BASE)
            made.rename(self._folder / BASE)
            documentation = self._described()
            shutil.rmtree(self._folder / SCRATCH)
            self._report(client, address, documentation)
        say("done")

    def _fetched(self, client: httpx.Client, address: str) -> bytes:
        """The archive, of which the digest is as it should be."""
        gives_up = time.monotonic() + FETCH_SECONDS
        while True:
            try:
                data = self._asked(client, address)
                break
            except httpx.HTTPError as error:
                if time.monotonic() > gives_up:
                    message = f"the archive cannot be fetched: {type(error).__name__}"
                    raise BuildFailed(message, FAILED) from error
                time.sleep(AGAIN_SECONDS)
        if hashlib.sha256(data).hexdigest() != self._order.digest:
            raise BuildFailed("the archive that came is not the one that was taken", FAILED)
        say(f"fetched the archive, {len(data)} bytes")
        return data

    def _asked(self, client: httpx.Client, address: str) -> bytes:
        data = bytearray()
        with client.stream("GET", address) as answer:
            if answer.status_code in (401, 403):
                raise BuildFailed("the host does not take the ticket of this pod", REFUSED)
            if answer.status_code == 404:
                raise BuildFailed("the lambda is gone, or has a newer version", BAD)
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                data += piece
                if len(data) > self._rules.bytes:
                    raise BuildFailed(f"the archive has more than {self._rules.bytes} bytes", BAD)
        return bytes(data)

    def _unpack(self, data: bytes) -> None:
        problems = problems_of(data, self._rules)
        if problems:
            raise BuildFailed("\n".join(problems), BAD)
        try:
            archive = LambdaArchive.open(data, self._rules)
            archive.unpack(self._folder / CODE)
        except BadArchive as error:
            raise BuildFailed(str(error), BAD) from error
        say(f"unpacked {len(archive.names)} files")

    def _install(self) -> None:
        """Install what is asked for: first pip says what that is, then exactly that is installed, if it is allowed."""
        packages, scratch = self._folder / PACKAGES, self._folder / SCRATCH
        packages.mkdir()
        asked = self._folder / CODE / REQUIREMENTS_FILE
        if not asked.exists():
            return
        own = self._folder / CODE / "wheels"
        source = [f"--find-links={folder}" for folder in (own, self._settings.wheels) if folder and folder.is_dir()]
        if not self._settings.requirements:
            source.append("--no-index")
        report, pinned = scratch / "report.json", scratch / "pinned.txt"
        self._python(
            (*PIP, *source, "--dry-run", f"--report={report}", "-r", str(asked)), "the requirements cannot be met"
        )
        try:
            plan = requirements.planned(report.read_bytes(), str(own))
            requirements.judge(plan, self._settings.requirements)
        except requirements.Refused as error:
            raise BuildFailed(str(error), BAD) from error
        if plan:
            pinned.write_text(requirements.pinned(plan))
            self._python(
                (*PIP, *source, "--no-deps", "--no-compile", f"--target={packages}", "-r", str(pinned)),
                "the requirements cannot be installed",
            )

    def _described(self) -> str:
        """The lambda's OpenAPI description, read without running its code."""
        arguments = ("-m", "luna_lambda", "describe", str(self._folder / CODE))
        out = self._folder / SCRATCH / "description.yaml"
        with out.open("wb") as file:
            self._python(arguments, "the lambda cannot be described", DESCRIBE_SECONDS, file.fileno())
        text = out.read_bytes()
        if len(text) > MOST_DOCUMENTATION:
            say(f"the description has more than {MOST_DOCUMENTATION} bytes, and is left out")
            return ""
        return text.decode(errors="replace")

    def _python(
        self, arguments: Sequence[str], wrong: str, seconds: float | None = None, out: int | None = None
    ) -> None:
        """Run Python until it ends well.

        Raises:
            BuildFailed: it does not, or takes too long, or too much is written.
        """
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder / SCRATCH),
            "TMPDIR": str(self._folder / SCRATCH),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(self._folder / BASE),
        }
        if self._settings.index_url:
            # no argument, which others can read, and pip would write into the log
            environment["PIP_INDEX_URL"] = self._settings.index_url
        ends = self._ends if seconds is None else min(self._ends, time.monotonic() + seconds)
        sys.stdout.flush()
        with subprocess.Popen(  # noqa: S603 - arguments are made here
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if out is None else None,
            env=environment,
        ) as process:
            try:
                while process.poll() is None:
                    try:
                        process.wait(LOOK_SECONDS)
                    except subprocess.TimeoutExpired:
                        self._check_size()
                    if process.poll() is None and time.monotonic() > ends:
                        raise BuildFailed(f"{wrong}: it takes too long", FAILED)
            finally:
                process.kill()
        if process.returncode != 0:
            # an index that does not answer and a package that does not exist end pip alike
            raise BuildFailed(wrong, FAILED)

    def _check_size(self) -> None:
        size = 0
        for root, _, files in os.walk(self._folder):
            for name in files:
                try:
                    size += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118 - many, and quickly
                except OSError:
                    continue
        if size > self._settings.build_max_bytes:
            raise BuildFailed(f"the build has more than {self._settings.build_max_bytes} bytes", BAD)

    def _report(self, client: httpx.Client, address: str, documentation: str) -> None:
        """Tell the host what was built. A lambda runs without that, too."""
        said = {"base": base.version(), "python": platform.python_version(), "documentation": documentation}
        try:
            client.put(address, content=json.dumps(said, ensure_ascii=False).encode()).raise_for_status()
        except httpx.HTTPError as error:
            say(f"the host could not be told what was built: {type(error).__name__}")


def say(line: str) -> None:
    """Write a line of the build's log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Build; the exit status."""
    (folder,) = arguments
    try:
        Build(Order.read(), Settings().lambdas, Path(folder)).run()
    except BuildFailed as error:
        say(str(error))
        return error.outcome
    except OSError as error:
        say(f"the build cannot be written: {error.strerror}")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
