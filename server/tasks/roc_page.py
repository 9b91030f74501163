"""The result of a ROC task as a page: the ROC and the DET curve with the operating points, and the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from server.domain.descriptors import DescriptorSpec
from server.domain.task_contents import Roc
from server.domain.task_numbers import RocCurve, RocPoint
from server.domain.tasks import Task, TaskResult
from server.tasks.charts import Line, Mark, chart, deviate, linear, logarithmic
from server.tasks.page import card, page, row, table, tiles

_STEPS = 60
"""Straight pieces of a line that is bent by its axes."""


def roc_page(task: Task, content: Roc, curve: RocCurve, spec: DescriptorSpec) -> TaskResult:
    """The page. `curve.key_points` are told as they are."""
    points = [("EER", curve.eer), *((f"FPR {point.fpr:g}", point) for point in curve.key_points)]
    numbers = [
        ("area under the curve (AUC)", f"{curve.auc:.6f}"),
        ("equal error rate (EER)", _rate(curve.eer.fpr)),
        ("hit in the first match", _rate(curve.top[0])),
        ("objects", f"{curve.objects:,}"),
        ("pairs of one label", f"{curve.positives:,}"),
        ("pairs of two labels", f"{curve.negatives:,}"),
    ]
    cut = "" if curve.ranked == curve.positives + curve.negatives else _cut(content, curve)
    operating = [
        [name, f"{point.fpr:.3g}", f"{point.tpr:.6f}", f"{1 - point.tpr:.6f}", f"{_similarity(point, spec):.6f}"]
        for name, point in points
    ]
    top = [[f"{number}", f"{share:.6f}"] for number, share in enumerate(curve.top, 1)]
    blocks = [
        tiles(numbers),
        cut,
        row([card("ROC curve", _roc(curve, points)), card("DET curve", _det(curve, points))]),
        row(
            [
                card("Operating points", table(["point", "FPR", "TPR", "FNR", "similarity"], operating)),
                card(
                    "A mate among the first matches",
                    table(["matches", "share of objects"], top)
                    + f'<p class="soft">Of the objects with a mate; similarities from {content.hit_threshold:g} on '
                    "count.</p>",
                ),
            ]
        ),
        f'<p class="soft">Descriptors of version {spec.version}. FPR is the share of pairs of two labels, TPR that of '
        "pairs of one label, whose similarity is that of the point or higher; FNR is 1 - TPR. Beside a named FPR "
        "stands the highest TPR that does not exceed it.</p>",
    ]
    return page(task, "How well descriptors tell people apart", blocks)


def _cut(content: Roc, curve: RocCurve) -> str:
    every = curve.positives + curve.negatives
    return (
        f'<p class="soft">Only the best {content.limit} matches of each object are ranked, {curve.ranked:,} of '
        f"{every:,} pairs. The others count as ties behind them: dashed.</p>"
    )


def _roc(curve: RocCurve, points: Sequence[tuple[str, RocPoint]]) -> str:
    x = logarithmic("false positive rate (FPR)", 1 / max(curve.negatives, 10))
    measured, cut = _parts(curve)
    low = min((point.tpr for point in curve.points if point.fpr > 0), default=0.0)
    y = linear("true positive rate (TPR)", 0.0 if low < 0.5 else 0.5 if low < 0.9 else 0.9)
    lines = [Line([(point.fpr, point.tpr) for point in measured]), Line(cut, guess=True)]
    return chart("ROC curve", x, y, lines, _marks(points, lambda point: point.tpr))


def _det(curve: RocCurve, points: Sequence[tuple[str, RocPoint]]) -> str:
    x = deviate("false positive rate (FPR)", 1 / max(curve.negatives, 10))
    y = deviate("false negative rate (FNR)", 1 / max(curve.positives, 10))
    measured, cut = _parts(curve)
    missed = [(fpr, 1 - tpr) for fpr, tpr in cut]
    lines = [Line([(point.fpr, 1 - point.tpr) for point in measured]), Line(missed, guess=True)]
    return chart("DET curve", x, y, lines, _marks(points, lambda point: 1 - point.tpr))


def _parts(curve: RocCurve) -> tuple[Sequence[RocPoint], list[tuple[float, float]]]:
    """The points that were measured, and the line to (1, 1) behind them where pairs were cut."""
    if curve.ranked == curve.positives + curve.negatives:
        return curve.points, []
    *measured, end = curve.points
    last = measured[-1]
    shares = [(step / _STEPS) ** 3 for step in range(_STEPS + 1)]
    return measured, [
        (last.fpr + share * (end.fpr - last.fpr), last.tpr + share * (end.tpr - last.tpr)) for share in shares
    ]


def _marks(points: Sequence[tuple[str, RocPoint]], height: Callable[[RocPoint], float]) -> list[Mark]:
    return [
        Mark(point.fpr, height(point), f"{name}: {_rate(point.fpr) if name == 'EER' else f'TPR {point.tpr:.4f}'}", True)
        for name, point in points
    ]


def _similarity(point: RocPoint, spec: DescriptorSpec) -> float:
    return 0.0 if point.cosine is None else spec.similarity(point.cosine)


def _rate(value: float) -> str:
    return f"{100 * value:.3g} %"
