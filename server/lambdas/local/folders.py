"""Where the local runner keeps lambdas.

FOLDER/base/...              what all stand upon
FOLDER/LAMBDA_ID/user        number of its user
FOLDER/LAMBDA_ID/log         what it wrote
FOLDER/LAMBDA_ID/VERSION/    a finished build: code/, packages/, build.json
FOLDER/LAMBDA_ID/VERSION.partial/, run-.../   a build and a process in the making; never used after their end
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from server.lambdas.local import base, uids

BASE = "base"
_PARTIAL = ".partial"
_RUN = "run-"
_BUILT = "build.json"


@dataclass(frozen=True, slots=True)
class Build:
    """A finished build.

    Attributes:
        base, interpreter: what it was made upon, and for.
        logs: what the build wrote.
        documentation: an OpenAPI description in YAML.
    """

    version: int
    base: str
    interpreter: str
    logs: tuple[str, ...]
    documentation: str


class LambdaFolder:
    """The files of one lambda."""

    def __init__(self, path: Path, uid: int | None) -> None:
        self.path = path
        self.uid = uid
        self.log = path / "log"

    def code(self, version: int) -> Path:
        """Where a finished build has the archive's files."""
        return self.path / str(version) / "code"

    def packages(self, version: int) -> Path:
        """Where a finished build has what its requirements installed."""
        return self.path / str(version) / "packages"

    def built(self, version: int) -> Build | None:
        """The finished build of a version, if it can be used with this interpreter."""
        try:
            found = json.loads((self.path / str(version) / _BUILT).read_bytes())
            build = Build(**{**found, "logs": tuple(found["logs"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return build if build.interpreter == base.interpreter() and build.version == version else None

    def newest(self) -> Build | None:
        """The newest finished build."""
        versions = sorted((int(one.name) for one in self.path.iterdir() if one.name.isdigit()), reverse=True)
        return next((build for version in versions if (build := self.built(version)) is not None), None)

    def partial(self, version: int) -> Path:
        """A new folder for a build."""
        path = self.path / f"{version}{_PARTIAL}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        return path

    def finish(self, partial: Path, build: Build) -> None:
        """Make a build that can be used of one in the making, at once or not at all."""
        (partial / _BUILT).write_text(json.dumps(asdict(build)))
        final = self.path / str(build.version)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)

    def run(self) -> Path:
        """A new folder for a process."""
        return Path(tempfile.mkdtemp(prefix=_RUN, dir=self.path))

    def keep(self, versions: set[int]) -> None:
        """Remove every build but those, and what was left in the making of others."""
        for path in self.path.iterdir():
            name = path.name.removesuffix(_PARTIAL)
            if name.isdigit() and int(name) not in versions:
                shutil.rmtree(path, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a runner that was ended has left in the making."""
        for path in self.path.iterdir():
            if path.name.startswith(_RUN) or path.name.endswith(_PARTIAL):
                shutil.rmtree(path, ignore_errors=True)

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.path, ignore_errors=True)


class Folders:
    """The files of all lambdas."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> Path:
        """Make the folder, closed to others; that of the base.

        Raises:
            OSError: it cannot be written.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        return base.prepare(self.path / BASE)

    def present(self) -> Iterator[tuple[UUID, LambdaFolder]]:
        """Lambdas that there are files of."""
        if not self.path.exists():
            return
        for path in self.path.iterdir():
            try:
                lambda_id = UUID(path.name)
            except ValueError:
                continue
            yield lambda_id, LambdaFolder(path, _user(path))

    def take(self, lambda_id: UUID) -> LambdaFolder:
        """The files of a lambda, with a user of its own.

        Raises:
            OSError: they cannot be written.
            NoUser: there is no user left.
        """
        path = self.path / str(lambda_id)
        path.mkdir(mode=0o700, exist_ok=True)
        uid = _user(path)
        if uid is None:
            uid = uids.free(self.path, [one.uid for _, one in self.present() if one.uid is not None])
            if uid is not None:
                (path / "user").write_text(str(uid))
        return LambdaFolder(path, uid)


def _user(path: Path) -> int | None:
    """The user that a lambda was given; only one that can be given now counts."""
    try:
        uid = int((path / "user").read_text())
        return uid if os.geteuid() == 0 and uid in uids.available() else None
    except (OSError, ValueError, uids.NoUser):
        return None
