"""The measures of verification against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from server.commands.bench_metrics import accuracies, allowed, auc, best_threshold, correct, tar_at_far

NAN = math.nan


def slow_auc(similarities: np.ndarray, same: np.ndarray) -> float:
    """By its definition: every pair of one person against every pair of two."""
    mates = [-math.inf if math.isnan(s) else s for s in similarities[same]]
    others = [math.inf if math.isnan(s) else s for s in similarities[~same]]
    wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(mates, others))
    return wins / (len(mates) * len(others))


def slow_tar(similarities: np.ndarray, same: np.ndarray, far: float) -> float:
    """The best TAR of all thresholds whose FAR is not too high."""
    values = [-math.inf if math.isnan(s) else s for s in similarities]
    best = 0.0
    for threshold in [-math.inf, *(v for v in values if v > -math.inf)]:
        accepted = np.array([v > threshold for v in values])
        if accepted[~same].mean() <= far:
            best = max(best, float(accepted[same].mean()))
    return best


def drawn(seed: int, *, levels: int, missing: float) -> tuple[np.ndarray, np.ndarray]:
    """Similarities with ties and failures, and their truth."""
    generator = np.random.default_rng(seed)
    same = generator.random(80) < 0.5
    same[:2] = True, False
    similarities = generator.integers(0, levels, 80) / levels + 0.2 * same
    similarities[generator.random(80) < missing] = NAN
    return similarities, same


@pytest.mark.parametrize("seed", range(20))
def test_the_auc_is_the_share_of_comparisons_won(seed: int) -> None:
    similarities, same = drawn(seed, levels=5 + seed, missing=0.05 * (seed % 3))

    assert auc(similarities, same) == pytest.approx(slow_auc(similarities, same), abs=1e-12)


def test_the_auc_of_a_perfect_order_is_one_and_of_constant_similarities_a_half() -> None:
    same = np.array([True, True, False, False])

    assert auc(np.array([0.9, 0.8, 0.2, 0.1]), same) == 1.0
    assert auc(np.array([0.1, 0.2, 0.8, 0.9]), same) == 0.0
    assert auc(np.full(4, 0.5), same) == 0.5


def test_the_auc_without_pairs_of_both_kinds_is_not_a_number() -> None:
    assert math.isnan(auc(np.array([0.5, 0.6]), np.array([True, True])))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("far", [0.0, 0.01, 0.1, 0.3, 1.0])
def test_the_tar_is_that_of_the_best_threshold_within_the_far(seed: int, far: float) -> None:
    similarities, same = drawn(seed, levels=6 + 3 * seed, missing=0.04 * (seed % 3))

    assert tar_at_far(similarities, same, far) == pytest.approx(slow_tar(similarities, same, far), abs=1e-12)


def test_the_tar_of_uniform_similarities_follows_from_their_quantiles() -> None:
    others = np.arange(1000) / 1000
    mates = 0.5 + np.arange(1000) / 1000
    same = np.repeat([False, True], 1000)

    # ten others may pass, so the threshold lies just above .989, and so do all mates from .990 on
    assert tar_at_far(np.concatenate([others, mates]), same, 1e-2) == pytest.approx(0.510)
    assert tar_at_far(np.concatenate([others, mates]), same, 0.0) == pytest.approx(0.500)


def test_as_many_others_may_pass_as_the_far_says() -> None:
    assert [allowed(1e-3, count) for count in (999, 1000, 3000, 600)] == [0, 1, 3, 0]
    assert allowed(0.07, 100) == 7  # 0.07 * 100 is 7.000000000000001, and .29 * 100 is 28.999999999999996
    assert allowed(0.29, 100) == 29


def test_a_pair_without_a_detection_is_never_accepted() -> None:
    same = np.array([True, True, False, False])

    assert tar_at_far(np.array([0.9, NAN, NAN, 0.1]), same, 0.0) == 0.5


def test_a_pair_without_a_detection_is_wrong_at_every_threshold() -> None:
    similarities = np.array([NAN, NAN, 0.9, 0.1])
    same = np.array([True, False, True, False])

    for threshold in (-1.0, 0.5, 2.0):
        assert not correct(similarities, same, threshold)[:2].any()
    assert correct(similarities, same, 0.5).tolist() == [False, False, True, True]


def test_the_threshold_is_that_of_the_other_folds() -> None:
    # fold 0 is parted by .5 and fold 1 by .8: each is tried with the threshold of the other one
    similarities = np.array([0.6, 0.7, 0.3, 0.4, 0.9, 0.9, 0.7, 0.7])
    same = np.array([True, True, False, False] * 2)
    folds = np.repeat([0, 1], 4)

    assert accuracies(similarities, same, folds).tolist() == [0.5, 0.5]


def test_folds_that_one_threshold_parts_are_all_right() -> None:
    similarities = np.array([0.9, 0.1] * 6)
    same = np.array([True, False] * 6)

    assert accuracies(similarities, same, np.repeat([1, 2, 3], 4)).tolist() == [1.0, 1.0, 1.0]


def test_the_best_threshold_is_in_the_middle_of_the_gap() -> None:
    assert best_threshold(np.array([0.8, 0.9, 0.2, 0.4]), np.array([True, True, False, False])) == pytest.approx(0.6)


@pytest.mark.parametrize("seed", range(10))
def test_no_threshold_is_better_than_the_best_one(seed: int) -> None:
    similarities, same = drawn(seed, levels=20, missing=0.05)
    tried = np.concatenate([np.linspace(-0.5, 2, 501)])

    best = correct(similarities, same, best_threshold(similarities, same)).sum()

    assert best == max(correct(similarities, same, threshold).sum() for threshold in tried)


def test_one_fold_alone_has_no_accuracy() -> None:
    with pytest.raises(ValueError, match="at least two folds"):
        accuracies(np.array([0.9, 0.1]), np.array([True, False]), np.array([0, 0]))
