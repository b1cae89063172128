"""The front of the book: its findings in sentences and in one figure, made from the verdicts of the claim cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import NamedTuple

from radio_bnn.config import N_FOLDS
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import claims, multiverse
from radio_bnn.paper.claims import CLAIMS, COLLAPSE, NOT_REPRODUCED, NOT_TESTED, REPRODUCED, UNDECIDED, VACUOUS, Verdict
from radio_bnn.paper.tables import ends_together

Verdicts = Mapping[str, Verdict]

# What a claim says where it is reproduced, and where it is not: nothing that its rule does not entail.
CLAUSES = {
    "C1": (
        "the variance of a prediction follows human doubt",
        "the variance of a prediction does not follow human doubt",
    ),
    "C2": (
        "a sparse prior gives better calibrated uncertainty",
        "a sparse prior does not give better calibrated uncertainty",
    ),
    "C3": (
        "30 % of the fully-connected weights can be pruned without loss",
        "30 % of the fully-connected weights cannot be pruned without loss",
    ),
    "C4": (
        "Fisher information prunes further than signal-to-noise",
        "Fisher information does not prune further than signal-to-noise",
    ),
    "C5": (
        "pruning changes the calibration of FRI and FRII differently",
        "pruning changes the calibration of FRI and FRII alike",
    ),
    "C6": ("the posterior must be cooled to predict well", "the posterior need not be cooled to predict well"),
    "C7": (
        "a bound that allows for misspecification makes no difference to that",
        "a bound that allows for misspecification makes a difference to that",
    ),
    "C8a": ("augmentation improves on the baseline", "augmentation does not improve on the baseline"),
    "C8b": (
        "cooling helps with augmentation too, where the network learns",
        "cooling does not always help with augmentation, where the network learns",
    ),
    "C9": ("curation of the training sample explains the effect", "curation does not explain the effect"),
    "C10": (
        "pruning 30 % raises the predictive uncertainty by more than a tenth",
        "pruning 30 % does not raise the predictive uncertainty by as much as a tenth",
    ),
}
ONLY = "the variational posterior must be cooled only to keep the network from guessing"
OPEN = {UNDECIDED: "is undecided", VACUOUS: "cannot be seen here", NOT_TESTED: "is not tested"}


def clause(verdict: Verdict) -> str:
    """What a verdict says, or the question that it leaves open: "Whether a sparse prior ..."."""
    yes, no = CLAUSES[verdict.claim]
    text = {REPRODUCED: yes, NOT_REPRODUCED: no, COLLAPSE: ONLY}.get(verdict.verdict, f"whether {yes}")
    return text[0].upper() + text[1:]


def headline(verdict: Verdict) -> str:
    """What a verdict says, a sentence without its full stop."""
    return f"{clause(verdict)} {OPEN.get(verdict.verdict, '')}".rstrip()


def standing(verdict: Verdict) -> str:
    """The verdict with its number of folds: "reproduced, 8 folds"."""
    return f"{verdict.verdict}, {verdict.folds} fold{'s' * (verdict.folds != 1)}" if verdict.parts else verdict.verdict


def named(claim: str, part: str) -> str:
    """A part of a claim in words; one that is named by a temperature is called by it."""
    return CLAIMS[claim].parts[part].says if part in CLAIMS[claim].parts else part


# Findings


def findings(verdicts: Verdicts, released: Verdicts | None = None, beyond: Iterable[str] = ()) -> str:
    """Five findings, as a Markdown list: what came out, in numbers, whatever the verdicts are; then those ``beyond``.

    ``verdicts``: those of every claim, {claim: verdict}; ``released``: those on the released code. A claim that is not
    judged is left out of the count.
    """
    lines = [_counted(verdicts, released or {}), *(find(verdicts) for find in (_cold, _doubt, _prior, _pruned))]
    return "".join(f"- {line}\n" for line in [*lines, *beyond] if line)


def _counted(verdicts: Verdicts, released: Verdicts) -> str:
    words = _by_word(verdicts)
    held, others = words.get(REPRODUCED, []), {word: found for word, found in words.items() if word != REPRODUCED}
    first = f"**{len(held)} of {len(verdicts)} claims {'is' if len(held) == 1 else 'are'} reproduced**"
    first += f" ({', '.join(held)})" if held else ""
    return f"{'; '.join([first, *_listed(others)])}. {_on_folds(verdicts)}{_together(verdicts)}{_released(released)}"


def _by_word(verdicts: Verdicts) -> dict[str, list[str]]:
    """The claims with each verdict, those that have any: {verdict: [claim]}."""
    found = {word: [c for c in CLAIMS if c in verdicts and verdicts[c].verdict == word] for word in claims.VERDICTS}
    return {word: those for word, those in found.items() if those}


def _listed(words: Mapping[str, list[str]]) -> list[str]:
    return [f"{len(found)} {word} ({', '.join(found)})" for word, found in words.items()]


def _on_folds(verdicts: Verdicts) -> str:
    few = [f"{c} ({verdicts[c].folds})" for c in CLAIMS if c in verdicts and 0 < verdicts[c].folds < N_FOLDS]
    full = sum(verdict.folds == N_FOLDS for verdict in verdicts.values())
    return f"Numbers stand on all {N_FOLDS} folds for {full} of them{', on fewer for ' * bool(few)}{', '.join(few)}."


def _together(verdicts: Verdicts) -> str:
    together = claims.holm(verdicts.values())
    lost = [c for c in CLAIMS if c in verdicts and together[c] != verdicts[c].verdict]
    return f" Judged all together, {', '.join(lost)} would be undecided." if lost else ""


def _released(released: Verdicts) -> str:
    known = {claim: verdict for claim, verdict in released.items() if multiverse.was_run(verdict)}
    return f" As released: {'; '.join(_listed(_by_word(known)))}." if known else ""


def _cold(verdicts: Verdicts) -> str:
    if not (found := _judged(verdicts, "C6")):
        return ""
    hot, learning = (found.numbers[name] for name in ("a", "b"))
    warmest = found.beside["the largest T at which every fold learns"]
    gain = f"{100 * claims.ADVANTAGE:g} % of the objective"
    limit = (
        f"; warmer, some network guesses or gains at most {gain} over guessing" if float(warmest) < claims.WARM else ""
    )
    more = [f" {headline(v)} ({_link(v)})." for claim in ("C7", "C8b") if (v := _judged(verdicts, claim))]
    return (
        f"{_heading(found)} Against the best temperature the held-out NLL changes by {hot} at $T = 1$, and by"
        f" {learning} at $T = {warmest}$, the warmest at which every network learns{limit}.{''.join(more)}"
    )


def _doubt(verdicts: Verdicts) -> str:
    if not (found := _judged(verdicts, "C1")):
        return ""
    return (
        f"{_heading(found)} The area under the ROC curve, uncertain against confident galaxies, is"
        f" {found.numbers['AUROC']} where chance is 0.5.{_trust(found.beside)}"
    )


def _trust(beside: Mapping[str, str]) -> str:
    """What trust in the predictions for uncertain galaxies deserves, means and ranges of the networks."""
    names = ("error", "NLL", "coverage, of 90 % promised,")
    if not all(f"{name} on the uncertain galaxies" in beside for name in names):
        return ""
    said = [beside[f"{name} on the uncertain galaxies"].removesuffix(" by network").split(", ") for name in names]
    error, nll, coverage = (f"{mean} ({span})" for mean, span in said)
    return (
        f" Of the uncertain ones the networks get {error} wrong, at an NLL of {nll} where guessing has"
        f" {math.log(2):.2f}; sets that promise to hold the class of 90 % hold that of {coverage},"
        " means and ranges of the networks."
    )


def _prior(verdicts: Verdicts) -> str:
    if not (found := _judged(verdicts, "C2")):
        return ""
    heading = _guessing(found) or _heading(found)
    return (
        f"{heading} From the Gaussian prior to the Laplace mixture the class-wise calibration error above its null"
        f" changes by {found.numbers['excess']}, the NLL by {found.numbers['NLL']}.{_stuck(found)}"
    )


GUESSES = "the Laplace mixture guesses"


def _stuck(found: Verdict) -> str:
    """What a contrast with a network that guesses is worth."""
    folds = found.beside.get(GUESSES)
    return f" With the mixture the network guesses {folds}: this compares learning with not learning." if folds else ""


def _guessing(found: Verdict) -> str:
    """The heading where the mixture guesses in every fold, which no rule has a word for; its verdict stays there."""
    if found.beside.get(GUESSES) != f"in {found.folds} of {found.folds} folds":
        return ""
    link = f"[C2](#claim-c2): by its rule {standing(found)}"
    return f"**With a sparse prior the network does not learn, so that no calibration can be compared** ({link})."


def _pruned(verdicts: Verdicts) -> str:
    parts = {
        "C3": "the NLL changes by {}",
        "C4": "log10 of the weights that signal-to-noise keeps over those that Fisher information keeps is {}",
        "C10": "the mean entropy changes by {}",
    }
    said = [
        f"{_heading(found)} {text[0].upper()}{text[1:].format(found.number)}."
        for claim, text in parts.items()
        if (found := _judged(verdicts, claim))
    ]
    return " ".join(said)


def _judged(verdicts: Verdicts, claim: str) -> Verdict | None:
    found = verdicts.get(claim)
    return found if found is not None and found.parts else None


def _heading(verdict: Verdict) -> str:
    return f"**{headline(verdict)}** ({_link(verdict)})."


def _link(verdict: Verdict) -> str:
    """The claim with its verdict and folds; a verdict that the sentence has said is not said again."""
    said = standing(verdict).removeprefix(f"{verdict.verdict}, ") if verdict.verdict in OPEN else standing(verdict)
    return f"[{verdict.claim}](#claim-{verdict.claim.lower()}): {said}"


# The summary


WIDTH, HEIGHT, REACH = 240, 22, 6.0  # of a row in pixels; how many units it shows to either side
STUB = 18  # pixels of an interval that lies beyond the edge
UNITS = {"AUROC": 0.1, "coefficient": 0.2, "kept": 1.0}  # of the parts without a margin, in their own unit
BY_UNIT = {"nats": 0.02, "points": 2.0, "%": 10.0}
LABELS = {  # of parts, and with "" of all parts of a claim
    ("C1", "coefficient"): "log odds per standard deviation, adjusted",
    ("C2", "NLL"): "NLL, sparse minus Gaussian",
    ("C4", "kept"): "weights kept, log10 of the ratio",
    ("C6", "a"): "NLL at T = 1 minus at the best T",
    ("C6", "b"): "NLL at the warmest T that learns minus at the best",
    ("C7", ""): "NLL, bound minus ELBO, {}",
    ("C8a", "NLL"): "NLL, orbit likelihood minus none",
    ("C8b", ""): "NLL, warmest T that learns minus best, {}",
    ("C10", "entropy"): "change of the mean entropy",
}


class Row(NamedTuple):
    """A part of a claim over its unit, seen from its bound, larger to the right where the claim has no other side.

    ``wanted``: from where to where the claim wants it, in units.
    """

    claim: str
    part: str
    interval: Interval
    wanted: tuple[tuple[float, float], ...]
    verdict: Verdict


def unit(claim: str, part: str) -> float:
    """The margin of a claim or part, and where it has none the unit that its row names."""
    found = CLAIMS[claim].part(part)
    return CLAIMS[claim].margin or UNITS.get(part) or BY_UNIT[found.unit]


def wanted(claim: str) -> tuple[tuple[float, float], ...]:
    """Where a claim wants its parts, in units: right of the bound, beyond both margins (C5) or within them (C7)."""
    two_sided = {"C5": ((-REACH, -1.0), (1.0, REACH)), "C7": ((-1.0, 1.0),)}
    return two_sided.get(claim, ((0.0, REACH),))


def rows(verdict: Verdict) -> list[Row]:
    """Every part of a claim that has numbers."""
    found, claim = [], verdict.claim
    for name, numbers in verdict.parts.items():
        part, scale = CLAIMS[claim].part(name), unit(claim, name)
        sign = -1.0 if part.side == "<" else 1.0
        bound = CLAIMS[claim].margin if claim == "C6" else part.bound
        value, low, high = (sign * (x - bound) / scale for x in numbers[:3])
        found.append(Row(claim, name, Interval(value, min(low, high), max(low, high)), wanted(claim), verdict))
    return found


def summary(verdicts: Verdicts) -> str:
    """For every claim what its verdict says, and a row for each of its parts, with its interval as a drawing; HTML."""
    groups = "\n".join(_group(verdicts[claim]) for claim in CLAIMS if claim in verdicts)
    label = "Every number that a claim rests on, over its margin, with its 95 % interval and the verdict"
    return f'<div class="summary" role="group" aria-label="{label}">\n{_axis()}\n{groups}\n{_axis()}\n</div>\n'


def _group(verdict: Verdict) -> str:
    said = clause(verdict) if verdict.parts else f"{clause(verdict)} ({verdict.why})"
    head = f'<b>{verdict.claim}</b> {escape(said)} <span class="said">{standing(verdict)}</span>'
    lines = [f'<div class="head">{head}</div>', *map(_row, rows(verdict))]
    return f'<div class="claim {verdict.verdict.replace(" ", "-")}">\n' + "\n".join(lines) + "\n</div>"


def _row(row: Row) -> str:
    scale = f"{unit(row.claim, row.part):g} {CLAIMS[row.claim].part(row.part).unit}".strip()
    label = LABELS.get((row.claim, row.part)) or LABELS.get((row.claim, ""), "{}").format(named(row.claim, row.part))
    number = ends_together(row.verdict.numbers[row.part])
    what = f'<span class="what">{escape(label)} <small>unit {scale}</small></span>'
    return f'<div class="part">{what}{_drawing(row)}<span class="number">{number}</span></div>'


def _drawing(row: Row) -> str:
    """The interval within REACH units of the bound, clipped with an arrow beyond it."""
    low, value, high = row.interval.low, row.interval.value, row.interval.high
    shapes = [_box("wanted", _place(a), _place(b)) for a, b in row.wanted] + [_mark("turn", 0.0)]
    start, end = min(_place(low), WIDTH - STUB), max(_place(high), STUB)
    middle = HEIGHT // 2
    shapes.append(f'<line class="interval" x1="{start:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}"/>')
    for beyond, edge, step in ((low < -REACH, 0, 7), (high > REACH, WIDTH, -7)):
        if beyond:
            ends = f"{edge},{middle} {edge + step},{middle - 5} {edge + step},{middle + 5}"
            shapes.append(f'<polygon class="beyond" points="{ends}"/>')
    if abs(value) <= REACH:
        kind = "value" if row.verdict.folds == N_FOLDS else "value few"
        shapes.append(f'<circle class="{kind}" cx="{_place(value):.1f}" cy="{middle}" r="4.5"/>')
    title = f"{row.claim}, {named(row.claim, row.part)}: {row.interval:+.1f} units from the bound"
    return _svg(shapes, title)


def _axis() -> str:
    """The scale of all rows, and what their columns hold."""
    ticks = [-REACH, -REACH / 2, 0.0, REACH / 2, REACH]
    inset = {-REACH: "start", REACH: "end"}
    texts = [
        f'<text x="{_place(t):g}" y="14" text-anchor="{inset.get(t, "middle")}">{t:+g}</text>'.replace("+0", "0")
        for t in ticks
    ]
    title = f"Scale, from {-REACH:g} to {REACH:g} units"
    return (
        f'<div class="part axis"><span class="what">units from the bound of the claim</span>{_svg(texts, title)}'
        f'<span class="number">number, 95 % interval</span></div>'
    )


def _svg(shapes: Iterable[str], title: str) -> str:
    inside = "".join([f"<title>{escape(title)}</title>", *shapes])
    return f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}">{inside}</svg>'


def _box(kind: str, left: float, right: float) -> str:
    return f'<rect class="{kind}" x="{left:g}" y="0" width="{right - left:g}" height="{HEIGHT}"/>'


def _mark(kind: str, units: float) -> str:
    return f'<line class="{kind}" x1="{_place(units):g}" x2="{_place(units):g}" y1="0" y2="{HEIGHT}"/>'


def _place(units: float) -> float:
    return WIDTH / 2 * (1 + min(max(units / REACH, -1.0), 1.0))


def pages(verdicts: Iterable[Verdict], released: Verdicts | None = None, beyond: Iterable[str] = ()) -> dict[str, str]:
    """What the first page includes, {name of the file: text}; ``beyond``: findings that no claim makes."""
    by_claim = {verdict.claim: verdict for verdict in verdicts}
    summarised = f"```{{raw}} html\n{summary(by_claim)}```\n"
    return {"findings.md": findings(by_claim, released, beyond), "summary.md": summarised}
