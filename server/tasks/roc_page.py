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
    points = [("EER", curve.eer), *((f"FPR {point.fpr:g}", point) for point in curve.key_points)]
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
            ("find a mate in the first match", _rate(curve.top[0])),
            ("objects", f"{curve.objects:,}"),
            ("ordered pairs of one label", f"{curve.positives:,}"),
            ("ordered pairs of two labels", f"{curve.negatives:,}"),
        ],
        cut=cut if curve.ranked < pairs else None,
        roc=_roc(curve, points),
        det=_det(curve, points),
        points=[
            [name, f"{point.fpr:.3g}", f"{point.tpr:.6f}", f"{1 - point.tpr:.6f}", f"{_similarity(point, spec):.6f}"]
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
