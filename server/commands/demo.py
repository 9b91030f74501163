"""`luna demo`: two people are enrolled from one photograph each and recognised in changed copies of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from luna.v6 import attributes_pb2, faces_pb2, images_pb2, lists_pb2, matcher_pb2, samples_pb2
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.commands import demo_pictures as pictures
from server.commands.client import Belongings, Client, ClientError, complain
from server.commands.demo_pictures import Box, Cell, PicturesMissing, Portrait
from server.edge_client import Trust

THRESHOLD = 0.73
"""Similarity from which two faces are taken for one person's: FAR 1e-3 on LFW with the default pack's descriptors."""

MAX_SAMPLES = 8
"""Samples that one call of the extractor takes."""


class NoFace(Exception):
    """The service finds no face in a picture that has one."""


@dataclass(frozen=True, slots=True)
class Known:
    """An enrolled person: the photograph, the face that was made, and what was detected."""

    portrait: Portrait
    face_id: str
    detection: images_pb2.FaceDetection
    warp: bytes


@dataclass(frozen=True, slots=True)
class Trial:
    """One search: what was done to whose photograph, and the similarities that were found."""

    variant: str
    person: str
    picture: bytes
    best: str
    same: float
    other: float

    @property
    def holds(self) -> bool:
        """True where the right person is found, and only the right one."""
        return self.best == self.person and self.same >= THRESHOLD > self.other


def run(target: str, credentials: tuple[str, str], out: Path, trust: Trust | None = None) -> int:
    """Show detection, enrolment and search against a running service.

    Args:
        target: host and port of its gRPC server.
        credentials: login and password.
        out: folder for the pictures; made where it is not there.
        trust: what is believed of the server; None is plain text.

    Returns:
        The exit status: 0 where everybody is recognised in every variant and nobody is taken for somebody else.
    """
    console = Console()
    try:
        both = pictures.portraits()
        with Client(target, credentials, trust) as client, Belongings(client) as made:
            out.mkdir(parents=True, exist_ok=True)
            demonstration = Demonstration(client, made)
            known = demonstration.enrol(both)
            trials = demonstration.recognise(known)
    except (ClientError, PicturesMissing, NoFace, OSError) as error:
        complain(error)
        return 1
    drawn = _draw(known, trials, out)
    console.print(_table(trials))
    passed = sum(trial.holds for trial in trials)
    console.print(f"{passed} of {len(trials)} as expected. Everything that was made in the service is deleted again.")
    console.print("Pictures:")
    for path in drawn:
        console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)
    return 0 if passed == len(trials) else 1


class Demonstration:
    """The steps, each against the service.

    Args:
        client: the connection.
        made: takes in whatever is made.
    """

    def __init__(self, client: Client, made: Belongings) -> None:
        self._client = client
        self._made = made
        self._list_id = ""

    def enrol(self, portraits: Sequence[Portrait]) -> list[Known]:
        """Make a list, and a face in it for each portrait.

        Raises:
            NoFace: the service finds none in a portrait.
            CallFailed: a call failed.
        """
        client = self._client
        self._list_id = client.call(client.lists.CreateList, lists_pb2.CreateListRequest(user_data="luna demo")).list_id
        self._made.face_list(self._list_id)
        detected = self._detect({one.name: pictures.png(one.picture) for one in portraits})
        attributes = self._extract([face.sample_id for face in detected])
        return [
            self._known(portrait, face, attributes[face.sample_id])
            for portrait, face in zip(portraits, detected, strict=True)
        ]

    def recognise(self, known: Sequence[Known]) -> list[Trial]:
        """Search the list for every variant of every photograph.

        Raises:
            NoFace: the service finds none in a variant.
            CallFailed: a call failed.
        """
        images: dict[str, bytes] = {}
        subjects: dict[str, tuple[str, Known]] = {}
        for person in known:
            rect = person.detection.rect
            box = Box(rect.x, rect.y, rect.width, rect.height)
            for variant, image in pictures.variants(person.portrait.picture, box).items():
                name = f"{person.portrait.name}, {variant}"
                images[name], subjects[name] = image, (variant, person)
        detected = self._detect(images)
        attributes = self._extract([face.sample_id for face in detected])
        found = self._search([attributes[face.sample_id] for face in detected])
        names = {person.face_id: person.portrait.name for person in known}
        trials = []
        for (name, (variant, person)), matches in zip(subjects.items(), found, strict=True):
            similarities = {match.face.face_id: match.similarity for match in matches}
            trials.append(
                Trial(
                    variant=variant,
                    person=person.portrait.name,
                    picture=images[name],
                    best=names[matches[0].face.face_id] if matches else "nobody",
                    same=similarities.pop(person.face_id, 0.0),
                    other=max(similarities.values(), default=0.0),
                )
            )
        return trials

    def _known(self, portrait: Portrait, face: samples_pb2.DetectedFaceSample, attribute_id: str) -> Known:
        client = self._client
        request = faces_pb2.CreateFaceRequest(
            attribute=faces_pb2.FaceAttributeInput(attribute_id=attribute_id),
            user_data=portrait.name,
            lists=[self._list_id],
        )
        face_id = client.call(client.faces.CreateFace, request).face_id
        self._made.face(face_id)
        warp = client.call(client.samples.GetSample, samples_pb2.GetSampleRequest(sample_id=face.sample_id)).data
        return Known(portrait, face_id, face.detection, warp)

    def _detect(self, images: Mapping[str, bytes]) -> list[samples_pb2.DetectedFaceSample]:
        """The best face of each image."""
        request = samples_pb2.DetectFacesRequest(
            images=[images_pb2.ImageInput(filename=name, data=data) for name, data in images.items()],
            multiface_policy=samples_pb2.MULTIFACE_POLICY_BEST,
            estimate_head_pose=True,
            estimate_quality=True,
        )
        answers = self._client.call(self._client.samples.DetectFaces, request).images
        faces = [sample.face for image in answers for sample in image.detections.samples]
        for face in faces:
            self._made.sample(face.sample_id)
        for image in answers:
            if not image.detections.samples:
                why = "no face is found" if image.status else image.error.detail
                message = f"{image.filename}: {why}"
                raise NoFace(message)
        return faces

    def _extract(self, sample_ids: Sequence[str]) -> dict[str, str]:
        """Temporary attributes of samples: the attribute's id by the sample's."""
        client = self._client
        attributes: dict[str, str] = {}
        for begin in range(0, len(sample_ids), MAX_SAMPLES):
            request = attributes_pb2.ExtractAttributesRequest(sample_ids=sample_ids[begin : begin + MAX_SAMPLES])
            for one in client.call(client.attributes.ExtractAttributes, request).attributes:
                self._made.attribute(one.attribute_id)
                attributes[one.samples[0]] = one.attribute_id
        return attributes

    def _search(self, attribute_ids: Sequence[str]) -> list[Sequence[matcher_pb2.Match]]:
        """Everybody in the list for each attribute, the most similar first."""
        request = matcher_pb2.MatchFacesRequest(
            references=[
                matcher_pb2.Reference(id=one, type=matcher_pb2.REFERENCE_TYPE_ATTRIBUTE) for one in attribute_ids
            ],
            candidates=[matcher_pb2.Candidates(faces=matcher_pb2.FaceCandidates(list_id=self._list_id), limit=2)],
        )
        answer = self._client.call(self._client.matcher.MatchFaces, request)
        return [one.matches[0].result for one in answer.matches]


def _draw(known: Sequence[Known], trials: Sequence[Trial], out: Path) -> list[Path]:
    """Write the pictures; their paths."""
    drawn = []
    rows = []
    for person in known:
        path = out / f"{person.portrait.slug}.png"
        path.write_bytes(pictures.png(pictures.card(person.portrait, person.detection, person.warp)))
        drawn.append(path)
        cells = [
            Cell(trial.variant, pictures.decoded(trial.picture), trial.same, trial.other, trial.holds)
            for trial in trials
            if trial.person == person.portrait.name
        ]
        rows.append((person.portrait, cells))
    path = out / "contact-sheet.png"
    path.write_bytes(pictures.png(pictures.contact_sheet(rows, THRESHOLD)))
    return [path.resolve() for path in (*drawn, path)]


def _table(trials: Sequence[Trial]) -> Table:
    table = Table(
        title=f"Two people, one photograph each; threshold {THRESHOLD:.2f}",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("variant", "expected", "best match"):
        table.add_column(name, no_wrap=True)
    for name in ("similarity same", "similarity other"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for trial in trials:
        verdict = Text("right", "green") if trial.holds else Text("wrong", "bold red")
        table.add_row(trial.variant, trial.person, trial.best, f"{trial.same:.3f}", f"{trial.other:.3f}", verdict)
    return table
