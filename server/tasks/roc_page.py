"""The result of a ROC task as a page: the ROC and the DET curve with the operating points, and the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from markupsafe import Markup

from server.domain.descriptors import DescriptorSpec
from server.domain.task_contents import Roc
from server.domain.task_numbers import RocCurve, RocPoint
from server.domain.tasks import Task, TaskResult
from server.tasks.charts import Line, Mark, chart, deviate, linear, logarithmic
from server.tasks.pages import page

_STEPS: Final = 60
"""Straight pieces of a line that is bent by its axes."""


def roc_page(task: Task, content: Roc, curve: RocCurve, spec: DescriptorSpec) -> TaskResult:
    """The page. `curve.key_points` are told as they are."""
    points = _named(content, curve)
    pairs = curve.positives + curve.negatives
    cut = {"limit": content.limit, "ranked": f"{curve.ranked:,}", "pairs": f"{pairs:,}"}
    return page(
        "roc.html",
        task=task,
        made=task.create_time.strftime("%Y-%m-%d %H:%M UTC"),
        version=spec.version,
        facts=[
            ("area under the curve (AUC)", f"{curve.auc:.6f}"),
            ("equal error rate (EER)", _rate(curve.eer.fpr)),
            ("first matches that are mates", _rate(curve.top[0])),
            ("objects", f"{curve.objects:,}"),
            ("pairs of one label", f"{curve.positives:,}"),
            ("pairs of two labels", f"{curve.negatives:,}"),
        ],
        cut=cut if curve.ranked < pairs else None,
        roc=_roc(curve, points),
        det=_det(curve, points),
        points=[
            [name, f"{point.fpr:.4g}", f"{point.tpr:.6f}", f"{1 - point.tpr:.6f}", f"{_similarity(point, spec):.6g}"]
            for name, point in points
        ],
        top=[(number, f"{share:.6f}") for number, share in enumerate(curve.top, 1)],
        least_hit=f"{content.hit_threshold:g}",
    )


def _roc(curve: RocCurve, points: Sequence[tuple[str, RocPoint]]) -> Markup:
    x = logarithmic("false positive rate (FPR)", 1 / max(curve.negatives, 10))
    measured, cut = _parts(curve)
    low = min((point.tpr for point in curve.points if point.fpr > 0), default=0.0)
    y = linear("true positive rate (TPR)", 0.0 if low < 0.5 else 0.5 if low < 0.9 else 0.9)
    lines = [Line([(point.fpr, point.tpr) for point in measured]), Line(cut, guess=True)]
    return chart("ROC curve", x, y, lines, _marks(points, lambda point: point.tpr))


def _det(curve: RocCurve, points: Sequence[tuple[str, RocPoint]]) -> Markup:
    x = deviate("false positive rate (FPR)", 1 / max(curve.negatives, 10))
    high = 0.97 if any(point.tpr < 0.5 for _, point in points) else 0.5
    y = deviate("false negative rate (FNR)", 1 / max(curve.positives, 10), high)
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


def _named(content: Roc, curve: RocCurve) -> list[tuple[str, RocPoint]]:
    """The operating points by name: EER, and letters. Rates that nobody asked for are left out where pairs were cut."""
    measured, cut = _parts(curve)
    end = measured[-1].fpr if cut else 1.0
    told = [point for point in curve.key_points if content.fprs or point.fpr <= end]
    return [("EER", curve.eer), *((_letter(number), point) for number, point in enumerate(told))]


def _letter(number: int) -> str:
    """A to Z, A1 to Z1, and so on."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def _marks(points: Sequence[tuple[str, RocPoint]], height: Callable[[RocPoint], float]) -> list[Mark]:
    return [
        Mark(point.fpr, height(point), name, f"{name}: FPR {point.fpr:.4g}, TPR {point.tpr:.4f}")
        for name, point in points
    ]


def _similarity(point: RocPoint, spec: DescriptorSpec) -> float:
    return 0.0 if point.cosine is None else spec.similarity(point.cosine)


def _rate(value: float) -> str:
    return f"{100 * value:.3g} %"
