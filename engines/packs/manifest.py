"""What a pack says about itself: `manifest.json` in its folder, and the same document in the catalogue.

Format 2. A document that has other members, or lacks some, is refused with the name of the member.
"""

from __future__ import annotations

import json
import re
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

FORMAT = 2
"""Version of the manifest's own layout."""

NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
"""Names of packs: they are names of folders too."""

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHA256 = r"^[0-9a-f]{64}$"


class Task(Enum):
    """What a model does, by its word in manifests. `engines.vision.tasks` has the protocol of each."""

    FACE_DETECTION = "face_detection"
    FACE_DESCRIPTOR = "face_descriptor"
    FACE_SCORE = "face_score"
    LANDMARKS5 = "landmarks5"
    LANDMARKS68 = "landmarks68"
    EMOTIONS = "emotions"
    MASK = "mask"
    GLASSES = "glasses"
    GAZE = "gaze"
    LIVENESS = "liveness"
    GENDER = "gender"
    AGE = "age"
    ETHNICITY = "ethnicity"
    BODY_DETECTION = "body_detection"
    BODY_DESCRIPTOR = "body_descriptor"

    @property
    def makes_descriptors(self) -> bool:
        """True where a model of this task has a descriptor version."""
        return self in {Task.FACE_DESCRIPTOR, Task.BODY_DESCRIPTOR}


class Document(BaseModel):
    """A part of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(Document):
    """A file of a pip package that a file of the pack was made from."""

    package: str
    version: str
    path: str
    sha256: str = Field(pattern=_SHA256)


class Archive(Document):
    """A zip archive that a file of the pack is taken out of: its address, length, checksum, and the member's name."""

    url: str
    size: int = Field(gt=0)
    sha256: str = Field(pattern=_SHA256)
    member: str


class PackFile(Document):
    """A file of a pack: its name in the folder, its length in bytes, its checksum, and where it comes from.

    `url`, `archive` and `origin` exclude each other. A file without any of them has to be given by the operator.
    """

    name: str
    size: int = Field(gt=0)
    sha256: str = Field(pattern=_SHA256)
    url: str | None = None
    archive: Archive | None = None
    origin: Origin | None = None

    @field_validator("name")
    @classmethod
    def _inside(cls, name: str) -> str:
        if not _FILE.fullmatch(name) or name == "manifest.json":
            message = f"{name!r} is no name of a file in the pack's folder"
            raise ValueError(message)
        return name

    @model_validator(mode="after")
    def _one_source(self) -> PackFile:
        if sum(source is not None for source in (self.url, self.archive, self.origin)) > 1:
            raise ValueError("a file has one source: url, archive or origin")
        return self


class Calibration(Document):
    """The logistic map from distances to similarities (`server.domain.descriptors.Calibration`), and its data."""

    steepness: float = Field(gt=0)
    midpoint: float = Field(gt=0, lt=2)
    data: str


class Accuracy(Document):
    """One figure: on which data, of which metric, and who measured it."""

    data: str
    metric: str
    value: float
    measured_by: str = Field(pattern=r"^(luna|publisher)$")


class Pixels(Document):
    """How pixels become numbers: (pixel - mean) * scale in an order of colours; one number, or one for each colour."""

    colours: str = Field("rgb", pattern=r"^(rgb|bgr)$")
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    @field_validator("mean", "scale")
    @classmethod
    def _one_or_three(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(values) not in {1, 3}:
            raise ValueError("one number or three")
        return values


class Model(Document):
    """One thing that the pack can do.

    Attributes:
        task: what it does.
        adapter: who knows how to run it (`engines.vision.adapters`).
        files: names of the pack's files by their role; an adapter with one file calls it `network`.
        pixels: its input, where it is not the adapter's usual one.
        options: numbers that the adapter takes, such as thresholds.
        version, dimensions, calibration: of its descriptors.
        licence, source: terms of the weights, and who published them.
        condition: what one must know before switching it on.
        accuracy: figures, and whose they are.
    """

    task: Task
    adapter: str
    files: dict[str, str] = Field(min_length=1)
    pixels: Pixels | None = None
    options: dict[str, float] = Field(default_factory=dict)
    version: int | None = Field(None, ge=1001)
    dimensions: int | None = Field(None, ge=1, le=4096)
    calibration: Calibration | None = None
    licence: str
    source: str
    condition: str | None = None
    accuracy: tuple[Accuracy, ...] = ()

    @model_validator(mode="after")
    def _descriptors(self) -> Model:
        if {self.version is not None, self.dimensions is not None} != {self.task.makes_descriptors}:
            raise ValueError("version and dimensions belong to models of descriptors, and to no others")
        return self


class Manifest(Document):
    """What a pack says about itself. `converter` is the version of the code that made its files, if any did."""

    format: int
    name: str = Field(pattern=NAME)
    version: str
    description: str = ""
    converter: str | None = None
    licence: str
    source: str
    accept_license: bool = False
    files: tuple[PackFile, ...] = Field(min_length=1)
    models: tuple[Model, ...] = Field(min_length=1)

    @field_validator("format")
    @classmethod
    def _known(cls, found: int) -> int:
        if found != FORMAT:
            message = f"format {found} is not known, {FORMAT} is"
            raise ValueError(message)
        return found

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        names = [file.name for file in self.files]
        if len(names) != len(set(names)):
            raise ValueError("two files have one name")
        for model in self.models:
            for role, name in model.files.items():
                if name not in names:
                    message = f"the file {name!r} ({role} of {model.task.value}) is not among the files"
                    raise ValueError(message)
        return self

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Its tasks, each once, in their order."""
        return tuple(dict.fromkeys(model.task for model in self.models))

    def only(self, tasks: frozenset[Task]) -> Manifest:
        """The pack with some of its tasks, and the files that these need.

        Raises:
            ValueError: none of its models is for these tasks.
        """
        models = tuple(model for model in self.models if model.task in tasks)
        names = {name for model in models for name in model.files.values()}
        files = tuple(file for file in self.files if file.name in names)
        return Manifest.model_validate({**self.model_dump(), "files": files, "models": models})

    def to_json(self) -> str:
        """The manifest as it is stored: what has its usual value is left out."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError: it is no JSON, has another format, or a member is wrong; the message is one line.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            message = f"{place}: {first['msg']}" if place else first["msg"]
            raise ValueError(message.replace("Value error, ", "")) from None
