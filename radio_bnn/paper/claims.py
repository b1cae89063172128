"""The claims of the paper, and the rules that judge them: fixed before the first record that they judge.

A claim rests on parts, numbers with intervals, and on what a training has reached at each temperature. Its rule turns
these into a verdict and looks at nothing else. ``digest`` is what :mod:`radio_bnn.paper.register` holds fixed.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple, Protocol

from radio_bnn.config import N_FOLDS
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import prose

LEAST_FOLDS = 3
ALPHA = 0.05
REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
VACUOUS, COLLAPSE, NOT_TESTED = "vacuous here", "by collapse only", "not tested"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, VACUOUS, COLLAPSE, NOT_TESTED)
DECIDED = (REPRODUCED, NOT_REPRODUCED, COLLAPSE)
# What a training has reached at a temperature, see ``states``.
GUESSES, LEARNS, METASTABLE = "guesses", "learns", "metastable"
COLLAPSED, WARM = 0.95, 1.0
ADVANTAGE = 0.02  # of an objective over another that counts
NEARLY_GUESSING = 0.01  # nats from ln 2: a contrast of NLLs that are both this near is vacuous
LARGEST_RISE = 0.01  # nats, of the NLL by as much pruning as C4 allows


class Estimated(Protocol):
    """A number with its intervals, such as ``evaluation.crossval.Estimate``."""

    value: float

    def interval(self, level: float) -> Interval:
        """The interval that decides."""

    def corrected_interval(self, level: float) -> Interval:
        """The corrected resampled t interval, shown beside it."""


class Part(NamedTuple):
    """A number that a claim rests on: in words, with its unit and format; the claim wants it above or below ``bound``.

    ``side`` ">" or "<"; "" where the claim's rule says what it wants.
    """

    says: str
    unit: str
    format: str
    side: str = ""
    bound: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """What the records say of a claim: estimates by part, the number of folds, and how many runs are lacking.

    ``states``: by title of a ladder, {T: state of every fold}. ``metastable``: the temperatures that the claim rests on
    and that are metastable in a fold, in words. ``vacuous``: parts that compare nothing. ``beside``: other numbers
    that do not judge, in words.
    """

    estimates: Mapping[str, Estimated] = field(default_factory=dict)
    folds: int = 0
    lacking: int = 0
    states: Mapping[str, Mapping[float, Sequence[str]]] = field(default_factory=dict)
    metastable: Sequence[str] = ()
    vacuous: Sequence[str] = ()
    beside: Mapping[str, str] = field(default_factory=dict)


Intervals = Callable[[str, float], Interval]
Outcome = tuple[str, str]


@dataclass(frozen=True)
class Claim:
    """A claim: what the paper says in our words, the parts that test it, and the rule that reads them.

    ``rule(claim, intervals, evidence, alpha)`` returns the verdict and why; ``intervals(part, level)`` is the interval
    of a part. None: not tested.
    """

    id: str
    says: str
    contrast: str
    parts: Mapping[str, Part]
    rule: Callable[[Claim, Intervals, Evidence, float], Outcome] | None
    margin: float = 0.0

    def part(self, name: str) -> Part:
        """The part called ``name``; those that are named by a temperature share one."""
        return self.parts[name] if name in self.parts else self.parts["T"]


# Rules


def on_one_side(claim: Claim, intervals: Intervals, evidence: Evidence, alpha: float) -> Outcome:
    """Every interval wholly on the side that the claim wants: reproduced; one wholly on the other side: not."""
    found = {name: (intervals(name, 1 - alpha), part.side, part.bound) for name, part in claim.parts.items()}
    wanted = {name: _beyond(interval, side, bound) for name, (interval, side, bound) in found.items()}
    against = [name for name, (i, side, bound) in found.items() if _beyond(i, "<" if side == ">" else ">", bound)]
    said = " and ".join(f"{name} {part.side} {part.bound:g}" for name, part in claim.parts.items())
    if against:
        return (
            NOT_REPRODUCED,
            f"the interval of {against[0]} lies on the other side of {claim.parts[against[0]].bound:g}",
        )
    if all(wanted.values()):
        return REPRODUCED, f"{said}, with the whole interval"
    return UNDECIDED, f"{next(n for n, held in wanted.items() if not held)}: the interval contains both answers"


def differently(claim: Claim, intervals: Intervals, evidence: Evidence, alpha: float) -> Outcome:
    """For each ranking one of the intervals at level 1 - alpha / 6 beyond the margin: reproduced.

    All intervals at level 1 - alpha within the margin: not reproduced.
    """
    margin, six = claim.margin, len(claim.parts)
    rankings = {name.split(",")[0] for name in claim.parts}

    def differs(name: str) -> bool:
        interval = intervals(name, 1 - alpha / six)
        return _beyond(interval, ">", margin) or _beyond(interval, "<", -margin)

    if all(any(differs(name) for name in claim.parts if name.startswith(f"{r},")) for r in rankings):
        return REPRODUCED, f"under each ranking one interval lies beyond {margin:g}"
    if all(_within(intervals(name, 1 - alpha), margin) for name in claim.parts):
        return NOT_REPRODUCED, f"all {six} intervals lie within {margin:g}"
    return UNDECIDED, f"not all intervals lie within {margin:g}, and not under each ranking one beyond"


def cold_effect(claim: Claim, intervals: Intervals, evidence: Evidence, alpha: float) -> Outcome:
    """Both contrasts above the margin: reproduced; the first one below it: not.

    The first above, the second below, and T = 1 guessing in every fold: by collapse only.
    """
    (hot, learning), margin = [intervals(name, 1 - alpha) for name in ("a", "b")], claim.margin
    if _beyond(hot, "<", margin):
        return NOT_REPRODUCED, f"at T = 1 the NLL is not {margin:g} higher"
    if _beyond(hot, ">", margin) and _beyond(learning, ">", margin):
        return REPRODUCED, f"both contrasts lie above {margin:g}"
    guessing = all(state == GUESSES for state in evidence.states["ELBO"].get(WARM, (LEARNS,)))
    if _beyond(hot, ">", margin) and _beyond(learning, "<", margin) and guessing:
        return COLLAPSE, f"T = 1 guesses in every fold, and where the network learns warmer is not {margin:g} worse"
    return UNDECIDED, "the intervals contain both answers"


def warm_effect(claim: Claim, intervals: Intervals, evidence: Evidence, alpha: float) -> Outcome:
    """Where only T = 0.01 and 1 were trained: the first contrast above the margin is reproduced, below it not.

    Above, with the training NLL at T = 1 that of guessing in every fold: by collapse only.
    """
    hot, margin = intervals("a", 1 - alpha), claim.margin
    if _beyond(hot, "<", margin):
        return NOT_REPRODUCED, f"at T = 1 the NLL is not {margin:g} higher"
    if not _beyond(hot, ">", margin):
        return UNDECIDED, "the interval contains both answers"
    if all(state == GUESSES for state in evidence.states["ELBO"][WARM]):
        return COLLAPSE, "T = 1 guesses in every fold"
    return REPRODUCED, f"the contrast lies above {margin:g}, and T = 1 does not guess in every fold"


def no_difference(claim: Claim, intervals: Intervals, evidence: Evidence, alpha: float) -> Outcome:
    """Every interval within the margin of 0, and the largest T that learns in every fold the same: reproduced.

    An interval wholly outside, or a T at which one objective learns in every fold and the other guesses in every fold:
    not reproduced.
    """
    elbo, other, margin = evidence.states["ELBO"], evidence.states["PAC²"], claim.margin
    found = {name: intervals(name, 1 - alpha) for name in evidence.estimates}
    for name, interval in found.items():
        if _beyond(interval, ">", margin) or _beyond(interval, "<", -margin):
            return NOT_REPRODUCED, f"at {name} the interval lies beyond {margin:g}"
    for t in sorted(set(elbo) & set(other)):
        if {_everywhere(elbo[t]), _everywhere(other[t])} == {LEARNS, GUESSES}:
            return NOT_REPRODUCED, f"at T = {t:g} one objective learns in every fold and the other guesses"
    if not all(_within(interval, margin) for interval in found.values()):
        return UNDECIDED, f"not every interval lies within {margin:g}"
    if largest_learning(elbo) != largest_learning(other):
        return UNDECIDED, "the largest T at which every fold learns is not the same"
    return REPRODUCED, f"every interval lies within {margin:g}, and both stop learning at the same T"


def explained(claim: Claim, intervals: Intervals, evidence: Evidence, alpha: float) -> Outcome:
    """For one number of labellers both intervals, at level 1 - alpha / 3, wholly below their bounds: reproduced.

    For every number of labellers one interval at level 1 - alpha wholly above its bound: not reproduced.
    """
    numbers = list(dict.fromkeys(name.split(",")[0] for name in claim.parts))

    def parts(number: str) -> list[tuple[str, Part]]:
        return [(name, part) for name, part in claim.parts.items() if name.startswith(f"{number},")]

    for number in numbers:
        if all(_beyond(intervals(n, 1 - alpha / len(numbers)), "<", p.bound) for n, p in parts(number)):
            return REPRODUCED, f"with {number} both intervals lie below their bounds"
    if all(any(_beyond(intervals(n, 1 - alpha), ">", p.bound) for n, p in parts(number)) for number in numbers):
        return NOT_REPRODUCED, "whatever the number of labellers, one interval lies above its bound"
    return UNDECIDED, "the intervals contain both answers"


def _beyond(interval: Interval, side: str, bound: float) -> bool:
    return interval.low > bound if side == ">" else interval.high < bound


def _within(interval: Interval, margin: float) -> bool:
    return -margin < interval.low and interval.high < margin


# What a training has reached


def state(train_nll: float, objective: float, control: float, *, guessing: float) -> str:
    """What a training has reached at a temperature in one fold; nats.

    "guesses" where its training NLL is at least 0.95 ``guessing``, N ln 2; else "learns" where its objective lies more
    than 2 % below that of the label-free ``control``, and "metastable" where it does not.
    """
    if train_nll >= COLLAPSED * guessing:
        return GUESSES
    return LEARNS if objective < (1 - ADVANTAGE) * control else METASTABLE


def learning(states: Mapping[float, Sequence[str]]) -> list[float]:
    """The temperatures at which every fold learns, coldest first."""
    return [t for t in sorted(states) if _everywhere(states[t]) == LEARNS]


def largest_learning(states: Mapping[float, Sequence[str]]) -> float | None:
    """The largest temperature at which every fold learns, None without one."""
    return max(learning(states), default=None)


def _everywhere(found: Sequence[str]) -> str | None:
    """The state that all folds share, None where they differ."""
    return found[0] if len(set(found)) == 1 else None


# The claims


def _nll(says: str, side: str = "", bound: float = 0.0) -> Part:
    return Part(says, "nats", "+.3f", side, bound)


_RANKINGS = {"snr": "signal-to-noise", "fisher": "Fisher information"}
CLAIMS = {
    claim.id: claim
    for claim in (
        Claim(
            "C1",
            "The posterior variance of individual test samples correlates with human uncertainty when labelling.",
            "predictive variance of uncertain against confident test galaxies",
            {
                "AUROC": Part("area under the ROC curve", "", ".2f", ">", 0.5),
                "coefficient": Part(
                    "log odds per standard deviation, adjusted for size, lit pixels, redshift and class",
                    "",
                    "+.2f",
                    ">",
                    0.0,
                ),
            },
            on_one_side,
        ),
        Claim(
            "C2",
            "A sparse prior gives better calibrated uncertainty estimates.",
            "Laplace mixture minus Gaussian prior, T = 0.01",
            {
                "excess": Part("class-wise UCE above its calibrated null", "points", "+.1f", "<", 0.0),
                "NLL": _nll("NLL", "<", 0.0),
            },
            on_one_side,
        ),
        Claim(
            "C3",
            "30 % of the fully-connected weights can be pruned by lowest signal-to-noise without significant loss.",
            "30 % pruned by signal-to-noise minus unpruned",
            {"NLL": _nll("rise of the NLL", "<", 0.02)},
            on_one_side,
        ),
        Claim(
            "C4",
            "A ranking by Fisher information prunes further.",
            "weights kept by signal-to-noise over those kept by Fisher saliency, each pruned as far as the NLL rises by"
            " at most 0.01 nats at every smaller share",
            {"kept": Part("log10 of the ratio", "", "+.2f", ">", 0.0)},
            on_one_side,
        ),
        Claim(
            "C5",
            "Both prunings change the uncertainty calibration of FRI and FRII differently.",
            "change of the UCE above its calibrated null, FRI minus FRII",
            {
                f"{name}, {share} %": Part(f"{share} % pruned by {title}", "points", "+.1f")
                for name, title in _RANKINGS.items()
                for share in (30, 60, 90)
            },
            differently,
            margin=2.0,
        ),
        Claim(
            "C6",
            "There is a cold posterior effect: the posterior must be down-weighted for good predictive performance.",
            "NLL minus that at T*, the T of lowest validation NLL among those at which every fold learns",
            {"a": _nll("T = 1"), "b": _nll("the largest T at which every fold learns")},
            cold_effect,
            margin=0.02,
        ),
        Claim(
            "C7",
            "A cost function adapted to model misspecification makes no significant difference to that effect.",
            "NLL under the second-order PAC-Bayes bound minus under the ELBO, at every T at which the ELBO learns",
            {"T": _nll("at this T")},
            no_difference,
            margin=0.05,
        ),
        Claim(
            "C8a",
            "Principled data augmentation improves on the baseline.",
            "orbit likelihood minus no augmentation, both predicted on the orbit, T = 0.01",
            {"NLL": _nll("NLL", "<", 0.0)},
            on_one_side,
        ),
        Claim(
            "C8b",
            "Data augmentation does not remove the cold posterior effect.",
            "NLL at the largest T at which every fold learns minus at T*, trained on random views",
            {
                "D4": _nll("turned and mirrored at random", ">", 0.02),
                "rotation": _nll("rotated by any angle", ">", 0.02),
            },
            on_one_side,
        ),
        Claim(
            "C9",
            "Over-effective curation of the training sample causes likelihood misspecification, hence the effect.",
            "NLL of confident galaxies under the likelihood of S labellers who keep what they agree on, at T = 1",
            {
                f"S = {s}, {name}": _nll(f"{says}, S = {s}", "<", bound)
                for s in (2, 5, 10)
                for name, says, bound in (
                    ("cooling", "minus that at T*, the T of lowest validation NLL up to 1", 0.02),
                    ("curation", "minus that of the plain likelihood at T = 1 / S", 0.0),
                )
            },
            explained,
        ),
        Claim(
            "C10",
            "Pruning 30 % by signal-to-noise increases the predictive uncertainty (workshop paper).",
            "relative change of the mean predictive entropy, 30 % pruned against unpruned",
            {"entropy": Part("change", "%", "+.1f", ">", 10.0)},
            on_one_side,
        ),
    )
}

AT_TWO_TEMPERATURES = replace(
    CLAIMS["C6"],
    contrast="NLL at T = 1 minus that at T = 0.01, the only temperatures that were trained",
    parts={"a": CLAIMS["C6"].parts["a"]},
    rule=warm_effect,
)
"""C6 under a protocol with no other temperatures."""


# Judge


@dataclass(frozen=True)
class Verdict:
    """A judged claim; shown in a notebook as a sentence, and read from there by the scoreboard.

    ``parts``: {part: [value, low, high, low and high of the corrected t]}. ``stands``: the largest k, up to 10, for
    which the verdict is the same with intervals at level 1 - 0.05 / k; 0 for one that decides nothing. ``corrected``:
    the verdict by the corrected intervals, where these can be had.
    """

    claim: str
    verdict: str
    why: str
    parts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    folds: int = 0
    lacking: int = 0
    stands: int = 0
    corrected: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, str]:
        """Every part with its interval and unit, in words."""
        claim = CLAIMS[self.claim]
        shown = {}
        for name, (value, low, high, *_) in self.parts.items():
            part = claim.part(name)
            shown[name] = f"{Interval(value, low, high):{part.format}} {part.unit}".strip()
        return shown

    def _corrected(self, name: str) -> str:
        """The interval of the corrected resampled t, in words; empty of a single fold, which has none."""
        _, _, _, *ends = self.parts[name]
        form = CLAIMS[self.claim].part(name).format
        return f"; corrected t [{ends[0]:{form}}, {ends[1]:{form}}]" if ends else ""

    @property
    def number(self) -> str:
        """All parts in one line, or "not run"."""
        numbers = self.numbers
        if len(numbers) == 1:
            return next(iter(numbers.values()))
        return "; ".join(f"{name}: {number}" for name, number in numbers.items()) or prose.NOT_RUN

    def say(self) -> Verdict:
        """Name the verdict's parts for the prose, for C6 ``c6_verdict``, ``c6_number``, ``c6_folds`` and ``c6_why``.

        Returns the verdict itself: a cell that ends with this call shows it too.
        """
        parts = {"verdict": self.verdict, "number": self.number, "folds": self.folds, "why": self.why}
        prose.say(**{f"{self.claim.lower()}_{part}": value for part, value in parts.items()})
        return self

    def _repr_mimebundle_(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> dict[str, str]:
        claim = CLAIMS[self.claim]
        lines = [
            f"- {claim.part(name).says} ({name}): **{number}**{self._corrected(name)}"
            for name, number in self.numbers.items()
        ]
        lines += [f"- beside: {name}: {number}" for name, number in self.beside.items()]
        folds = f", on {self.folds} of {N_FOLDS} folds" if self.parts else ""
        few = " (few folds)" if self.parts and self.folds < N_FOLDS else ""
        found = "\n".join([f"{claim.contrast}{folds}{few}:\n", *lines]) if lines else f"{claim.contrast}."
        text = f"**{claim.id}**: {claim.says}\n\n{found}\n\nVerdict: **{self.verdict}** ({self.why})."
        if self.corrected and self.corrected != self.verdict:
            text += f" By the corrected resampled t it would be **{self.corrected}**."
        return {"text/markdown": text, MIME: json.dumps(asdict(self)), "text/plain": f"{claim.id}: {self.verdict}"}


MIME = "application/vnd.radio-bnn.claim"
MOST = 10  # claims that are judged


def judge(claim: str, evidence: Evidence | None = None) -> Verdict:
    """The verdict on one claim, from what its rule reads.

    Without estimates: not run. On fewer than 3 folds, and where a temperature that it rests on is metastable in a fold:
    undecided. Fewer than 8 folds are said in ``why``. Raises KeyError for an unknown claim.
    """
    found, evidence = CLAIMS[claim], evidence or Evidence()
    verdict, why = _outcome(found, evidence)
    if verdict in DECIDED and evidence.folds < N_FOLDS:
        why += f"; few folds: {evidence.folds}"
    stands = 0
    while verdict in DECIDED and stands < MOST and _outcome(found, evidence, alpha=ALPHA / (stands + 1))[0] == verdict:
        stands += 1
    corrected = _outcome(found, evidence, corrected=True)[0] if evidence.estimates else ""
    parts = {name: _shown(estimate) for name, estimate in evidence.estimates.items()}
    return Verdict(claim, verdict, why, parts, evidence.folds, evidence.lacking, stands, corrected, evidence.beside)


def outcome(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on a variant of a claim, such as AT_TWO_TEMPERATURES, as ``judge`` gives it on the claim itself."""
    verdict, why = _outcome(claim, evidence)
    parts = {name: _shown(estimate) for name, estimate in evidence.estimates.items()}
    corrected = _outcome(claim, evidence, corrected=True)[0] if evidence.estimates else ""
    return Verdict(claim.id, verdict, why, parts, evidence.folds, evidence.lacking, 0, corrected, evidence.beside)


def _outcome(claim: Claim, evidence: Evidence, *, alpha: float = ALPHA, corrected: bool = False) -> Outcome:
    if claim.rule is None:
        return NOT_TESTED, claim.contrast
    if not evidence.estimates:
        lacks = f": {evidence.lacking} runs are lacking" if evidence.lacking else ""
        return UNDECIDED, prose.NOT_RUN + lacks
    if evidence.metastable:
        return UNDECIDED, f"metastable: {', '.join(evidence.metastable)}"
    if evidence.vacuous:
        return VACUOUS, f"nothing is compared: {', '.join(evidence.vacuous)}"
    if evidence.folds < LEAST_FOLDS:
        return UNDECIDED, f"{evidence.folds} fold{'s' * (evidence.folds != 1)}, fewer than {LEAST_FOLDS}"

    def intervals(name: str, level: float) -> Interval:
        estimate = evidence.estimates[name]
        return (estimate.corrected_interval if corrected else estimate.interval)(level)

    return claim.rule(claim, intervals, evidence, alpha)


def _shown(estimate: Estimated) -> list[float]:
    ends = [*estimate.interval(1 - ALPHA)]
    try:
        beside = estimate.corrected_interval(1 - ALPHA)
    except ValueError:  # a single fold has none
        return [float(x) for x in ends]
    return [float(x) for x in (*ends, beside.low, beside.high)]


def holm(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """The verdict on every claim when all are judged together, by Holm's procedure: {claim: verdict}.

    With m claims yet unaccepted, those are accepted that stand at level 1 - 0.05 / m, until none is new; what is never
    accepted is undecided. Claims that were not run, are vacuous or not tested do not count. Source: Holm 1979.
    """
    verdicts = list(verdicts)
    left = {v.claim: v for v in verdicts if v.parts and v.verdict != VACUOUS}
    accepted: set[str] = set()
    while new := {claim for claim, v in left.items() if v.stands >= len(left)}:
        accepted |= new
        left = {claim: v for claim, v in left.items() if claim not in new}
    return {v.claim: UNDECIDED if v.verdict in DECIDED and v.claim not in accepted else v.verdict for v in verdicts}


# What the register holds


def digest(claim: str) -> str:
    """``digest_of`` the claim of this name."""
    return digest_of(CLAIMS[claim])


def digest_of(found: Claim) -> str:
    """Sixteen hexadecimal digits that change with anything by which a claim is judged, but not with comments."""
    said = {k: v for k, v in asdict(found).items() if k != "rule"}
    rules = [found.rule, _beyond, _within, _everywhere, state, learning, largest_learning, _outcome, judge]
    constants = [LEAST_FOLDS, ALPHA, COLLAPSED, ADVANTAGE, NEARLY_GUESSING, LARGEST_RISE]
    code = [_code(rule) for rule in rules if rule is not None]
    return hashlib.sha256(json.dumps([said, constants, code], sort_keys=True).encode()).hexdigest()[:16]


def _code(function: Callable) -> str:
    """Its source without comments and docstring, spelled in one way."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    body = tree.body[0].body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        del body[0]
    return ast.unparse(tree)
