"""The claims of the paper, and the rules that judge them: fixed before the runs that they judge.

A claim has one contrast, a number with a 95 % interval. The unit of resampling is the galaxy within runs, paired where
runs share galaxies. The rule turns that interval into a verdict and never looks at anything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import prose

if TYPE_CHECKING:
    from radio_bnn.paper.contrasts import Contrast

RUNS_NEEDED = 3
REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"


@dataclass(frozen=True)
class Claim:
    """A claim: what the paper says, the contrast that tests it, and the rule.

    ``rule`` "above": the claim holds where the contrast lies above ``margin``; "below": where it lies below it;
    "within": where its size stays below it; "outside": where it differs from 0, failing where it stays within it.
    """

    id: str
    says: str
    contrast: str
    unit: str
    rule: str
    margin: float
    format: str = "+.1f"


CLAIMS = {
    claim.id: claim
    for claim in (
        Claim(
            "C1",
            "The posterior variance of individual test samples correlates with human uncertainty when labelling.",
            "AUROC of the predictive entropy for uncertain against confident test galaxies",
            "",
            "above",
            0.5,
            ".2f",
        ),
        Claim(
            "C2",
            "A sparse prior gives better calibrated uncertainty estimates.",
            "class-wise UCE of the predictive entropy, Laplace mixture minus Gaussian prior",
            "points",
            "below",
            0.0,
        ),
        Claim(
            "C3",
            "30 % of the fully-connected weights can be pruned by lowest signal-to-noise without significant loss.",
            "test error with 30 % pruned minus test error unpruned",
            "points",
            "below",
            2.0,
        ),
        Claim(
            "C4",
            "A ranking by Fisher information prunes further.",
            "test error with 60 % pruned by signal-to-noise minus by Fisher information",
            "points",
            "above",
            0.0,
        ),
        Claim(
            "C5",
            "Pruning changes the uncertainty calibration of FRI and FRII differently.",
            "change of the UCE by pruning 30 % by signal-to-noise, FRI minus FRII",
            "points",
            "outside",
            2.0,
        ),
        Claim(
            "C6",
            "There is a cold posterior effect: the posterior must be down-weighted for good predictive performance.",
            "test NLL at T = 1 minus test NLL at T = 0.01",
            "nats",
            "above",
            0.0,
            "+.3f",
        ),
        Claim(
            "C7",
            "A cost function adapted to model misspecification makes no significant difference to that effect.",
            "test NLL at T = 1 minus at T = 0.01, second-order PAC-Bayes bound minus ELBO",
            "nats",
            "within",
            0.05,
            "+.3f",
        ),
        Claim(
            "C8a",
            "Principled data augmentation improves on the baseline.",
            "test NLL at T = 0.01, orbit likelihood minus no augmentation",
            "nats",
            "below",
            0.0,
            "+.3f",
        ),
        Claim(
            "C8b",
            "Principled data augmentation does not remove the cold posterior effect.",
            "test NLL with the orbit likelihood at T = 1 minus at T = 0.01",
            "nats",
            "above",
            0.0,
            "+.3f",
        ),
        Claim(
            "C9",
            "Over-effective curation of the training sample causes likelihood misspecification, hence the effect.",
            "not tested: it needs the curation likelihood, which this book does not train yet",
            "",
            "above",
            0.0,
        ),
        Claim(
            "C10",
            "Pruning 30 % by signal-to-noise increases the predictive uncertainty (workshop paper).",
            "mean predictive entropy of the test galaxies with 30 % pruned minus unpruned",
            "nats",
            "above",
            0.0,
            "+.3f",
        ),
    )
}


@dataclass(frozen=True)
class Verdict:
    """A judged claim; shown in a notebook as a sentence, and read from there by the scoreboard."""

    claim: str
    verdict: str
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    runs: int = 0

    @property
    def number(self) -> str:
        """The contrast with its interval and unit, or "not run"."""
        if self.value is None:
            return prose.NOT_RUN
        claim = CLAIMS[self.claim]
        return f"{Interval(self.value, self.low, self.high):{claim.format}} {claim.unit}".strip()

    def say(self) -> Verdict:
        """Name the verdict's parts for the prose, for C6 ``c6_verdict``, ``c6_number``, ``c6_runs`` and ``c6_why``.

        Returns the verdict itself: a cell that ends with this call shows it too.
        """
        parts = {"verdict": self.verdict, "number": self.number, "runs": self.runs, "why": self.why}
        prose.say(**{f"{self.claim.lower()}_{part}": value for part, value in parts.items()})
        return self

    def _repr_mimebundle_(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> dict[str, str]:
        claim = CLAIMS[self.claim]
        found = f"{claim.contrast}: **{self.number}**"
        text = f"**{claim.id}**: {claim.says}\n\n{found}\n\nVerdict: **{self.verdict}** ({self.why})."
        return {"text/markdown": text, MIME: json.dumps(asdict(self)), "text/plain": f"{claim.id}: {self.verdict}"}


MIME = "application/vnd.radio-bnn.claim"


def judge(claim: str, contrast: Contrast | None) -> Verdict:
    """The verdict on one claim, from the interval of its ``contrast`` and the number of runs on which that stands.

    ``contrast`` None, or one without an interval: not run. Fewer than 3 runs are always undecided.
    Raises KeyError for an unknown claim.
    """
    rule, margin = CLAIMS[claim].rule, CLAIMS[claim].margin
    if contrast is None or contrast.interval is None:
        return Verdict(claim, UNDECIDED, prose.NOT_RUN)
    value, low, high = map(float, contrast.interval)
    verdict, why = _apply(rule, margin, low, high)
    if contrast.runs < RUNS_NEEDED:
        direction = {REPRODUCED: "points towards the claim", NOT_REPRODUCED: "points against it", UNDECIDED: why}
        verdict, why = UNDECIDED, f"{contrast.runs} run{'s' * (contrast.runs != 1)}; the interval {direction[verdict]}"
    return Verdict(claim, verdict, why, value, low, high, int(contrast.runs))


def _apply(rule: str, margin: float, low: float, high: float) -> tuple[str, str]:
    if rule == "above":
        holds, fails = low > margin, high < margin
    elif rule == "below":
        holds, fails = high < margin, low > margin
    elif rule == "within":
        holds, fails = -margin < low and high < margin, low > margin or high < -margin
    else:
        holds, fails = low > 0 or high < 0, -margin < low and high < margin
    if holds:
        return REPRODUCED, f"the interval {_SAYS[rule].format(margin=margin)}"
    if fails:
        return NOT_REPRODUCED, "the interval lies on the other side of the rule"
    return UNDECIDED, "contains both answers"


_SAYS = {
    "above": "lies above {margin:g}",
    "below": "lies below {margin:g}",
    "within": "stays within {margin:g} of 0",
    "outside": "leaves out 0",
}
