"""Exact intervals, and the verdicts that follow from them."""

import math

import pytest
from scipy.stats import beta, binom
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy, MulticlassF1Score

from efat import EfatError
from efat.config.workload import is_proportion
from efat.resilience.metric import ACCURACY, Metric
from efat.resilience.verification import Verification, verification_note

MSE = Metric("mse", False, 0.0, None)


@pytest.mark.parametrize(("right", "samples"), [(0, 20), (7, 20), (20, 20), (351, 359)])
def test_the_interval_is_that_of_clopper_and_pearson(right, samples):
    low, high = Verification(ACCURACY, samples, 0.9).interval(right / samples)
    assert low == pytest.approx(beta.ppf(0.05, right, samples - right + 1) if right else 0)
    assert high == pytest.approx(
        beta.ppf(0.95, right + 1, samples - right) if right < samples else 1
    )


@pytest.mark.parametrize("share", [0.03, 0.5, 0.9, 0.985])
def test_the_interval_holds_the_truth_as_often_as_it_says(share):
    verification = Verification(ACCURACY, 60, 0.9)
    ends = [verification.interval(k / 60) for k in range(61)]
    held = [binom.pmf(k, 60, share) for k, (low, high) in enumerate(ends) if low <= share <= high]
    assert 0.9 <= sum(held) < 1


def test_a_chip_is_certified_passes_or_fails():
    """On 99 samples; all 359 of the digits would take 4 times as long."""
    verification = Verification(ACCURACY, 99, 0.95)
    needed = verification.needed(0.9)
    assert beta.ppf(0.025, needed, 100 - needed) >= 0.9 > beta.ppf(0.025, needed - 1, 101 - needed)
    verdicts = [verification.judge(k / 99, 0.9).verdict for k in range(100)]
    assert verdicts == sorted(verdicts, key=["fail", "pass", "certified"].index)
    assert verdicts.count("certified") == 100 - needed
    assert verdicts.index("pass") == math.ceil(0.9 * 99)


def test_an_impossible_verification_says_so():
    verification = Verification(ACCURACY, 50, 0.95)
    assert verification.needed(0.97) is None
    assert verification.judge(1.0, 0.97).verdict == "pass"
    note = verification_note(0.95, 50, None, ACCURACY)
    assert "Clopper-Pearson, 50 test samples" in note
    assert "no number of right ones is enough" in note


def test_what_is_no_share_of_samples_has_no_interval():
    verification = Verification(MSE, 359, 0.95)
    judged = [verification.judge(value, 0.5) for value in (0.4, 0.6, math.nan)]
    assert [(each.verdict, each.low, each.high) for each in judged] == [
        ("pass", None, None), ("fail", None, None), ("fail", None, None)
    ]  # fmt: skip
    assert verification.needed(0.5) is None
    assert verification_note(0.95, 359, None, MSE).startswith("No interval is given: mse is not")
    assert Verification(ACCURACY, None, 0.95).judge(1.0, 0.5).verdict == "pass"


def test_which_metrics_are_proportions():
    assert is_proportion(MulticlassAccuracy(5, average="micro", top_k=2))
    assert is_proportion(BinaryAccuracy())
    assert not is_proportion(MulticlassAccuracy(5, average="macro"))
    assert not is_proportion(MulticlassF1Score(5, average="micro"))


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 1.5])
def test_a_confidence_is_between_0_and_1(confidence):
    with pytest.raises(EfatError, match=r"selection.confidence: .* a number in \(0, 1\)"):
        Verification(ACCURACY, 10, confidence)
