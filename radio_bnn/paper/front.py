"""The front of the book: its findings in sentences and in one figure, made from the verdicts of the claim cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import NamedTuple

from radio_bnn.config import N_FOLDS
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import claims
from radio_bnn.paper.claims import CLAIMS, Verdict

Verdicts = Mapping[str, Verdict]
# Findings


def findings(verdicts: Verdicts) -> str:
    """Five sentences, as a Markdown list: what came out, in numbers, whatever the verdicts are.

    ``verdicts``: those of every claim, {claim: verdict}; a claim that is not judged is left out of the count.
    """
    lines = [_counted(verdicts), _cold(verdicts), _doubt(verdicts), _prior(verdicts), _pruned(verdicts)]
    return "".join(f"- {line}\n" for line in lines if line)


def _counted(verdicts: Verdicts) -> str:
    by = {word: [c for c in CLAIMS if c in verdicts and verdicts[c].verdict == word] for word in claims.VERDICTS}
    said = [f"{len(found)} {word} ({', '.join(found)})" for word, found in by.items() if found]
    return f"Of {sum(map(len, by.values()))} claims: {'; '.join(said)}."


def _cold(verdicts: Verdicts) -> str:
    if not (found := _judged(verdicts, "C6")):
        return ""
    hot, learning = (found.numbers[name] for name in ("a", "b"))
    warmest = found.beside["the largest T at which every fold learns"]
    return (
        f"**The cold posterior effect** ({_link('C6')}): {found.verdict}. Against the best temperature the held-out NLL"
        f" changes by {hot} at $T = 1$, and by {learning} at $T = {warmest}$, the warmest where every network learns."
    )


def _doubt(verdicts: Verdicts) -> str:
    if not (found := _judged(verdicts, "C1")):
        return ""
    of = " on the uncertain galaxies"
    deserved = [f"{name.removesuffix(of)} {said}" for name, said in found.beside.items() if name.endswith(of)]
    trust = f" What trust in its predictions for them deserves: {'; '.join(deserved)}." if deserved else ""
    return (
        f"**Variance and human doubt** ({_link('C1')}): {found.verdict}. The predictive variance tells uncertain from"
        f" confident galaxies with an AUROC of {found.numbers['AUROC']}.{trust}"
    )


def _prior(verdicts: Verdicts) -> str:
    if not (found := _judged(verdicts, "C2")):
        return ""
    return (
        f"**Sparse priors** ({_link('C2')}): {found.verdict}. From the Gaussian prior to the Laplace mixture the"
        f" class-wise calibration error above its null changes by {found.numbers['excess']}, the NLL by"
        f" {found.numbers['NLL']}.{_stuck(found)}"
    )


def _stuck(found: Verdict) -> str:
    """What a contrast with a network that guesses is worth."""
    folds = found.beside.get("the Laplace mixture guesses")
    return f" With the mixture the network guesses {folds}: this compares learning with not learning." if folds else ""


def _pruned(verdicts: Verdicts) -> str:
    parts = {
        "C3": "30 % of the weights pruned by signal-to-noise change the NLL by {number}",
        "C4": "log10 of the weights that signal-to-noise keeps over those that Fisher information keeps is {number}",
        "C10": "30 % pruned change the mean entropy by {number}",
    }
    said = [
        f"{text.format(number=found.number)} ({_link(claim)}: {found.verdict})"
        for claim, text in parts.items()
        if (found := _judged(verdicts, claim))
    ]
    return f"**Pruning**: {'; '.join(said)}." if said else ""


def _judged(verdicts: Verdicts, claim: str) -> Verdict | None:
    found = verdicts.get(claim)
    return found if found is not None and found.parts else None


def _link(claim: str) -> str:
    return f"[{claim}](#claim-{claim.lower()})"


# The summary


WIDTH, HEIGHT, REACH = 240, 22, 6.0  # of a row in pixels; how many units it shows to either side
UNITS = {"AUROC": 0.1, "coefficient": 0.2, "kept": 1.0}  # of the parts without a margin, in their own unit
BY_UNIT = {"nats": 0.02, "points": 2.0, "%": 10.0}


class Row(NamedTuple):
    """A part of a claim over its unit, seen from where the claim turns; to the right is what the claim wants."""

    claim: str
    part: str
    interval: Interval
    verdict: Verdict


def unit(claim: str, part: str) -> float:
    """The margin of a claim or part, and where it has none the unit that its row names."""
    found = CLAIMS[claim].part(part)
    return CLAIMS[claim].margin or UNITS.get(part) or BY_UNIT[found.unit]


def rows(verdicts: Verdicts) -> list[Row]:
    """Every part of every claim that has numbers, in the order of the claims."""
    found = []
    for claim, verdict in ((c, verdicts[c]) for c in CLAIMS if c in verdicts):
        for name, numbers in verdict.parts.items():
            part, scale = CLAIMS[claim].part(name), unit(claim, name)
            sign, bound = -1.0 if part.side == "<" else 1.0, part.bound
            if claim == "C6":
                bound = CLAIMS[claim].margin
            value, low, high = (sign * (x - bound) / scale for x in numbers[:3])
            found.append(Row(claim, name, Interval(value, min(low, high), max(low, high)), verdict))
    return found


def summary(verdicts: Verdicts) -> str:
    """One row per part: what it is, its number, its interval as a drawing, and the verdict; HTML."""
    lines = [_html(row) for row in rows(verdicts)]
    without = [c for c in CLAIMS if c in verdicts and not verdicts[c].parts]
    lines += [
        f'<div class="row"><span class="what">{_html_link(c)} {escape(verdicts[c].why)}</span>'
        f'<span class="none"></span><span class="said">{verdicts[c].verdict}</span></div>'
        for c in without
    ]
    return '<div class="summary">\n' + "\n".join(lines) + "\n</div>\n"


def _html(row: Row) -> str:
    part, verdict = CLAIMS[row.claim].part(row.part), row.verdict
    name = f"{part.says.partition(', adjusted')[0]}: "
    scale = f"{unit(row.claim, row.part):g} {part.unit}".strip()
    what = f"{_html_link(row.claim)} {escape(name)}{escape(verdict.numbers[row.part])}"
    said = f"{verdict.verdict}, {verdict.folds} fold{'s' * (verdict.folds != 1)}"
    kind = verdict.verdict.replace(" ", "-")
    return (
        f'<div class="row {kind}"><span class="what">{what} <small>unit {scale}</small></span>'
        f'{_drawing(row)}<span class="said">{said}</span></div>'
    )


def _html_link(claim: str) -> str:
    return f"<b>{claim}</b>"


def _drawing(row: Row) -> str:
    """The interval within REACH units of where the claim turns, clipped with an arrow beyond it."""
    middle, scale = HEIGHT / 2, WIDTH / 2 / REACH
    low, value, high = (_place(x) for x in (row.interval.low, row.interval.value, row.interval.high))
    lines = [f'<line class="turn" x1="{WIDTH / 2:g}" x2="{WIDTH / 2:g}" y1="0" y2="{HEIGHT}"/>']
    if not CLAIMS[row.claim].part(row.part).side and row.claim != "C6":
        ends = (WIDTH / 2 - scale, WIDTH / 2 + scale)
        lines += [f'<line class="margin" x1="{x:g}" x2="{x:g}" y1="0" y2="{HEIGHT}"/>' for x in ends]
    lines.append(f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}" y2="{middle:g}"/>')
    for end, beyond, step in ((low, row.interval.low < -REACH, 6), (high, row.interval.high > REACH, -6)):
        if beyond:
            points = f"{end:.1f},{middle:g} {end + step:.1f},{middle - 4:g} {end + step:.1f},{middle + 4:g}"
            lines.append(f'<polygon class="beyond" points="{points}"/>')
    if abs(row.interval.value) <= REACH:
        hollow = "" if row.verdict.folds == N_FOLDS else " few"
        lines.append(f'<circle class="value{hollow}" cx="{value:.1f}" cy="{middle:g}" r="4.5"/>')
    title = f"{row.claim} {row.part}: {row.verdict.numbers[row.part]}"
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
        f' height="{HEIGHT}">{"".join(lines)}</svg>'
    )


def _place(units: float) -> float:
    return WIDTH / 2 * (1 + min(max(units / REACH, -1.0), 1.0))


def pages(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """What the first page includes, {name of the file: text}."""
    by_claim = {verdict.claim: verdict for verdict in verdicts}
    return {"findings.md": findings(by_claim), "summary.md": f"```{{raw}} html\n{summary(by_claim)}```\n"}
