"""ROC curves against scikit-learn, and the kind of tasks that measures them."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import auc, roc_curve

from engines.tasks.packing import DescriptorPacker
from engines.tasks.roc import Ranking, RocMeasurement
from server.domain.descriptors import spec
from server.domain.galleries import Member
from server.domain.task_contents import Mark, Roc
from server.domain.tasks import HTML_RESULT, TaskSettings, TaskType
from server.errors import AttributeNotFound, DescriptorNotFound, EventsNotFound, FacesNotFound, InvalidInput
from server.tasks.gathering import Gathering
from server.tasks.roc import RocKind
from tests.galleries import MemoryGalleries, context_of, done, form_of, layouts
from tests.unit.tasks.test_clustering import members_of

Floats = NDArray[np.float64]


def reference(same: Floats, other: Floats) -> tuple[Floats, Floats, Floats]:
    """FPR, TPR and thresholds of every point, by scikit-learn."""
    truth = np.concatenate((np.ones(len(same)), np.zeros(len(other))))
    fpr, tpr, thresholds = roc_curve(truth, np.concatenate((same, other)), drop_intermediate=False)
    return fpr, tpr, thresholds


def crossing(fpr: Floats, tpr: Floats) -> float:
    """The equal error rate: where the line between two points meets FPR = 1 - TPR."""
    after = int(np.argmax(fpr + tpr >= 1))
    low, high = (fpr + tpr)[after - 1] - 1, (fpr + tpr)[after] - 1
    return float(fpr[after - 1] - low * (fpr[after] - fpr[after - 1]) / (high - low))


@pytest.mark.parametrize("digits", [17, 2])
def test_a_million_pairs_give_what_scikit_learn_gives(digits: int) -> None:
    rng = np.random.default_rng(digits)
    same, other = rng.normal(0.7, 0.1, 100_000).round(digits), rng.normal(0.4, 0.12, 900_000).round(digits)
    fpr, tpr, thresholds = reference(same, other)
    ranking = Ranking(same.copy(), other.copy(), len(same), len(other))
    assert ranking.auc() == pytest.approx(auc(fpr, tpr), abs=1e-9)
    assert ranking.equal_error().fpr == pytest.approx(crossing(fpr, tpr), abs=1e-9)
    assert ranking.equal_error().tpr == 1 - ranking.equal_error().fpr
    for wanted in (0.0, 1e-5, 1e-3, 0.05, 0.5):
        best = int(np.flatnonzero(fpr <= wanted)[-1])
        point = ranking.at_fpr(wanted)
        assert point.tpr == pytest.approx(tpr[best], abs=1e-12)
        assert point.cosine == (thresholds[best] if np.isfinite(thresholds[best]) else 1.0)
    points = ranking.outline()
    assert len(points) <= 1003
    assert (points[0].fpr, points[0].tpr, points[-1].fpr, points[-1].tpr) == (0, 0, 1, 1)
    every = {(a, b): c for a, b, c in zip(fpr.tolist(), tpr.tolist(), thresholds.tolist(), strict=True)}
    for point in points[1:]:
        assert every[point.fpr, point.tpr] == point.cosine
    assert auc([p.fpr for p in points], [p.tpr for p in points]) == pytest.approx(auc(fpr, tpr), abs=1e-4)


def test_people_who_are_told_apart_without_error_have_no_equal_error() -> None:
    ranking = Ranking(np.array([0.8, 0.9]), np.array([0.1, 0.2, 0.3]), 2, 3)
    assert ranking.auc() == 1
    assert ranking.equal_error().fpr == 0
    assert ranking.equal_error().cosine == 0.8
    worst = Ranking(np.array([0.1]), np.array([0.8, 0.9]), 1, 2)
    assert worst.auc() == 0
    assert worst.equal_error().fpr == 1


def test_pairs_that_were_cut_count_as_ties_behind_all_others() -> None:
    rng = np.random.default_rng(3)
    same, other = rng.normal(0.7, 0.1, 500), rng.normal(0.5, 0.1, 700)
    whole = reference(np.concatenate((same, np.full(100, -1))), np.concatenate((other, np.full(2000, -1))))
    ranking = Ranking(same, other, 600, 2700)
    assert ranking.auc() == pytest.approx(auc(whole[0], whole[1]), abs=1e-12)
    assert ranking.at_fpr(1.0).tpr == 1
    assert ranking.at_fpr(1.0).cosine is None
    assert ranking.at_fpr(0.9).tpr == pytest.approx(500 / 600)
    assert ranking.outline()[-1].cosine is None
    assert ranking.outline()[-2].fpr == pytest.approx(700 / 2700)


def world(objects: int, persons: int, spread: float = 0.6) -> tuple[list[Member], list[int]]:
    rng = np.random.default_rng(objects)
    centres = rng.standard_normal((persons, 128))
    labels = rng.integers(persons, size=objects)
    vectors = (centres[labels] + spread * rng.standard_normal((objects, 128))).astype(np.float16)
    return members_of(vectors), labels.tolist()


def content_of(members: list[Member], labels: list[int], **fields: object) -> Roc:
    marks = tuple(
        Mark(label, **{("face_id", "event_id", "attribute_id")[number % 3]: one.object_id})
        for number, (one, label) in enumerate(zip(members, labels, strict=True))
    )
    return replace(Roc(marks), **fields)


def kind_of(content: Roc, members: list[Member], part_size: int = 1000) -> RocKind:
    gathering = Gathering(MemoryGalleries(members), DescriptorPacker(), layouts)
    return RocKind(form_of(TaskType.ROC, content), gathering, RocMeasurement(), TaskSettings(part_size=part_size))


def slow_pairs(members: list[Member], labels: list[int], limit: int) -> tuple[Floats, Floats, list[list[bool]]]:
    """Ranked cosines of one label and of two, and for each object whether its matches are mates, best first."""
    rows = np.stack([np.frombuffer(one.descriptor or b"", "<f2").astype(np.float64) for one in members])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines, mates = rows @ rows.T, np.equal.outer(labels, labels)
    same, other, groups = [], [], []
    for one in range(len(members)):
        order = [row for row in np.argsort(-cosines[one], kind="stable") if row != one][:limit]
        same += [cosines[one, row] for row in order if mates[one, row]]
        other += [cosines[one, row] for row in order if not mates[one, row]]
        groups.append([bool(mates[one, row]) for row in order])
    return np.array(same), np.array(other), groups


@pytest.mark.parametrize("limit", [1, 5, 40, 100_000])
async def test_a_roc_task_tells_curve_area_error_key_points_and_hits(limit: int) -> None:
    members, labels = world(200, 30)
    content = content_of(members, labels, limit=limit, fprs=(1e-3, 0.1), hit_threshold=0.3)
    collected = await done(kind_of(content, members, part_size=64))
    told = json.loads(collected.result.data)
    assert told["errors"] == []
    result = told["result"]
    same, other, groups = slow_pairs(members, labels, limit)
    positives = sum(labels.count(label) - 1 for label in labels)
    negatives = 200 * 199 - positives
    cut = (np.full(positives - len(same), -2.0), np.full(negatives - len(other), -2.0))
    fpr, tpr, _ = reference(np.concatenate((same, cut[0])), np.concatenate((other, cut[1])))
    assert result["AUC"] == pytest.approx(auc(fpr, tpr), abs=1e-9)
    assert result["EER"]["FPR"] == pytest.approx(crossing(fpr, tpr), abs=1e-9)
    assert [point["FPR"] for point in result["key_points"]] == [1e-3, 0.1]
    assert [point["TPR"] for point in result["key_points"]] == pytest.approx(
        [tpr[fpr <= 1e-3][-1], tpr[fpr <= 0.1][-1]] if limit > 199 else [p["TPR"] for p in result["key_points"]]
    )
    assert set(result["ROC"][0]) == {"FPR", "TPR", "threshold"}
    assert [result["ROC"][0][name] for name in ("FPR", "TPR")] == [0, 0]
    assert [result["ROC"][-1][name] for name in ("FPR", "TPR")] == [1, 1]
    least = spec(1001).cosine(0.3)
    rows = np.stack([np.frombuffer(one.descriptor or b"", "<f2").astype(np.float64) for one in members])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ordered = -np.sort(-np.where(np.eye(200, dtype=bool), -9, rows @ rows.T), axis=1)
    with_mate = [one for one in range(200) if labels.count(labels[one]) > 1]
    for number in range(1, 6):
        hits = sum(
            any(mate and ordered[one, place] >= least for place, mate in enumerate(groups[one][:number]))
            for one in with_mate
        )
        assert result["TOP_N"][str(number)] == pytest.approx(hits / len(with_mate))


async def test_the_page_of_a_roc_task_is_one_file_with_both_curves_and_the_numbers() -> None:
    members, labels = world(150, 20)
    collected = await done(kind_of(content_of(members, labels, fprs=(0.01,)), members), "<b>Cameras & doors</b>")
    page = collected.page
    assert page is not None
    assert page.content_type == HTML_RESULT
    text = page.data.decode()
    assert "&lt;b&gt;Cameras &amp; doors&lt;/b&gt;" in text
    assert text.count("<svg ") == 2
    assert "src=" not in text
    assert "<script" not in text
    assert "href=" not in text
    result = json.loads(collected.result.data)["result"]
    assert f"{result['AUC']:.6f}" in text
    assert f"{result['key_points'][0]['TPR']:.6f}" in text
    assert "Only the best 5 matches" in text


@pytest.mark.parametrize(
    ("kind", "error"), [("face_id", FacesNotFound), ("event_id", EventsNotFound), ("attribute_id", AttributeNotFound)]
)
async def test_an_object_that_is_not_there_ends_the_task(kind: str, error: type[Exception]) -> None:
    members, labels = world(10, 2)
    content = content_of(members, labels)
    missing = uuid.UUID(int=77)
    content = replace(content, marks=(*content.marks, Mark(1, **{kind: missing})))
    with pytest.raises(error, match=str(missing)):
        await kind_of(content, members).split(context_of(TaskType.ROC))


async def test_an_object_without_descriptor_ends_the_task() -> None:
    members, labels = world(10, 2)
    bare = Member(members[4].object_id, None)
    with pytest.raises(DescriptorNotFound, match=str(bare.object_id)):
        await kind_of(content_of(members, labels), [*members[:4], bare, *members[5:]]).split(context_of(TaskType.ROC))


async def test_a_markup_that_has_no_curve_is_refused() -> None:
    members, _ = world(3, 2)
    for labels in ([1, 1, 1], [1, 2, 3]):
        with pytest.raises(InvalidInput, match="rate is not defined"):
            await kind_of(content_of(members, labels), members).split(context_of(TaskType.ROC))
    twice = Roc((Mark(1, face_id=members[0].object_id), Mark(2, face_id=members[0].object_id)))
    with pytest.raises(InvalidInput, match="two labels"):
        await kind_of(twice, members).split(context_of(TaskType.ROC))
    many = Roc(tuple(Mark(number % 9, face_id=uuid.UUID(int=number)) for number in range(10_000)), limit=9_999)
    with pytest.raises(InvalidInput, match="a limit of 2000 or less"):
        await kind_of(many, members).split(context_of(TaskType.ROC))
