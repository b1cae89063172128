"""Every claim under every protocol: from the released code to trainings several times longer than the chapters'."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np

from radio_bnn.evaluation.resampling import Interval
from radio_bnn.paper import claims, prose, tables
from radio_bnn.paper.claims import CLAIMS, NOT_TESTED, UNDECIDED, VACUOUS, Verdict
from radio_bnn.paper.contrasts import along, compare, point, shared, stored
from radio_bnn.paper.evidence import evidence, over_guessing
from radio_bnn.paper.experiments import COLD, ON_FEW, PROTOCOLS, RELEASED, SPARSE, WARM
from radio_bnn.paper.readings import Found
from radio_bnn.runs.records import Diverged, Run

MIME = "application/vnd.radio-bnn.multiverse"
LENGTHS = (
    "first edition",
    ON_FEW,
    "three times longer",
)  # on the same folds, from the shortest training to the longest


def judged(claim: str, protocol: str) -> Verdict:
    """The verdict on a claim by the records of one of PROTOCOLS; of two temperatures alone C6 has a rule of its own.

    As released C7 is vacuous whatever is run: its variance term has no gradient (audit A2).
    """
    if (claim, protocol) == ("C7", RELEASED):
        return Verdict(claim, VACUOUS, "the variance term has no gradient")
    found = evidence(claim, protocol)
    if claim == "C6" and PROTOCOLS[protocol]().has_two_temperatures:
        return claims.outcome(claims.AT_TWO_TEMPERATURES, found)
    return claims.judge(claim, found)


@dataclass(frozen=True)
class Multiverse:
    """The verdicts by protocol and claim; a notebook shows them as a table, and the scoreboard reads them there."""

    verdicts: Mapping[str, Mapping[str, Verdict]]

    def __getitem__(self, protocol: str) -> Mapping[str, Verdict]:
        return self.verdicts[protocol]

    def table(self) -> str:
        """One row per claim, one column per protocol: the verdict, and on how many folds, as Markdown."""
        return self._table(said)

    def number_table(self) -> str:
        """``table`` with the numbers and their 95 % intervals in place of the verdicts."""
        return self._table(lambda verdict: verdict.number if verdict.parts else "–")

    def _table(self, cell: Callable[[Verdict], str]) -> str:
        judged = [claim for claim in CLAIMS if all(claim in found for found in self.verdicts.values())]
        rows = [[claim, *(cell(found[claim]) for found in self.verdicts.values())] for claim in judged]
        return tables.markdown(["claim", *self.verdicts], rows)

    def part(self, claim: str, name: str) -> dict[str, dict[str, Found | None]]:
        """One part of a claim under every protocol, the rows of ``figures.forest``; None where it was not run."""
        found = {title: of[claim] for title, of in self.verdicts.items()}
        return {t: {"": Found(Interval(*v.parts[name][:3]), v.folds) if v.parts else None} for t, v in found.items()}

    def agreed(self) -> list[str]:
        """The claims with one answer from every protocol that gives any, at least two of them."""
        return [claim for claim, words in self._answers().items() if len(words) > 1 and len(set(words)) == 1]

    def disagreed(self) -> list[str]:
        """The claims whose answer depends on the protocol."""
        return [claim for claim, words in self._answers().items() if len(set(words)) > 1]

    def _answers(self) -> dict[str, list[str]]:
        """The verdicts on every claim under the protocols that decide it: *undecided* may mean too few folds alone."""
        own = [found for title, found in self.verdicts.items() if title != ON_FEW]
        answers = {claim: [v[claim] for v in own if was_run(v[claim])] for claim in CLAIMS}
        return {claim: [v.verdict for v in given if v.verdict != UNDECIDED] for claim, given in answers.items()}

    def by_length(self) -> dict[str, list[str]]:
        """The verdicts under LENGTHS on every claim that all of them have on as many folds, {claim: short to long}."""
        found = {claim: [self.verdicts[title][claim] for title in LENGTHS] for claim in CLAIMS}
        whole = {c: given for c, given in found.items() if all(v.parts for v in given)}
        return {c: [v.verdict for v in given] for c, given in whole.items() if len({v.folds for v in given}) == 1}

    def changed(self) -> dict[str, list[str]]:
        """Those of ``by_length`` whose verdict changes with the length of training."""
        return {claim: words for claim, words in self.by_length().items() if len(set(words)) > 1}

    def apart(self) -> dict[str, bool]:
        """Whether a number is another with the length of training: two of its intervals under LENGTHS do not meet.

        {"C3: its part": bool, ...} of every number of ``by_length``.
        """
        found = {}
        for claim in self.by_length():
            of = [self.verdicts[title][claim].parts for title in LENGTHS]
            for name in [name for name in of[0] if all(name in parts for parts in of)]:
                intervals = [Interval(*parts[name][:3]) for parts in of]
                pairs = combinations(intervals, 2)
                found[f"{claim}: {name}"] = any(max(a.low, b.low) > min(a.high, b.high) for a, b in pairs)
        return found

    def _repr_mimebundle_(self, include=(), exclude=()) -> dict[str, str]:
        by_title = {title: {c: asdict(v) for c, v in found.items()} for title, found in self.verdicts.items()}
        table = self.table()
        return {"text/markdown": table, MIME: json.dumps(by_title), "text/plain": table}


def multiverse() -> Multiverse:
    """Every claim under every one of PROTOCOLS."""
    return Multiverse({title: {claim: judged(claim, title) for claim in CLAIMS} for title in PROTOCOLS})


def spoken(found: Multiverse) -> dict[str, str | int]:
    """What the chapter says of them in words and counts, by name."""
    ids = {"agreed": found.agreed(), "disagreed": found.disagreed(), "by_length": [*found.by_length()]}
    ids["apart"] = [name for name, differs in found.apart().items() if differs]
    gone = diverged()
    changed = [f"{claim} ({', '.join(words)})" for claim, words in found.changed().items()]
    ended = [f"{title}: folds {', '.join(map(str, folds))}" for title, folds in gone.items()]
    return {
        **{name: ", ".join(those) or "none" for name, those in ids.items()},
        **{f"n_{name}": len(those) for name, those in ids.items()},
        "n_numbers": len(found.apart()),
        "changed": "; ".join(changed) or "none",
        "n_released": sum(bool(verdict.parts) for verdict in found[RELEASED].values()),
        "n_diverged": sum(map(len, gone.values())),
        "diverged": "; ".join(ended) or "none",
        "c6_released": f"*{found[RELEASED]['C6'].verdict}*",
        "c6_published": f"*{found['published']['C6'].verdict}*",
        **further(),
    }


def was_run(verdict: Verdict) -> bool:
    """Whether there is anything to judge by: numbers, or a reason that needs none."""
    return bool(verdict.parts) or verdict.verdict == VACUOUS


def said(verdict: Verdict) -> str:
    """The verdict in words with its number of folds, or that nothing was run."""
    if not was_run(verdict):
        return NOT_TESTED if verdict.verdict == NOT_TESTED else prose.NOT_RUN
    return f"{verdict.verdict} ({verdict.folds})" if verdict.parts else verdict.verdict


# How far each protocol trains


def diverged() -> dict[str, list[int]]:
    """The trainings that ended because their loss was no longer finite, {protocol, prior, T: folds}."""
    found: dict[str, list[int]] = {}
    for title, make in PROTOCOLS.items():
        plan = make()
        for group in (*plan.cold.values(), *plan.ladder.values()):
            folds = [record.config.fold for record in stored(group, Diverged) if record]
            if folds:
                prior, t = group[0].prior.replace("_", " "), group[0].temperature
                found[f"{title}, {prior} prior, T = {t:g}"] = folds
    return found


def reached_table() -> str:
    """How far each protocol trains, mean and range of its folds, as Markdown.

    Epochs and objective J, both at T = 0.01, J also with the Laplace mixture; training NLL over N ln 2 at T = 0.01 and
    1; held-out NLL at T = 0.01, the last three with the Gaussian prior.
    """
    rows = []
    for title, make in PROTOCOLS.items():
        plan = make()
        ladder = along(plan.ladder)
        cold, warm = ([run for run in ladder[t] if run] for t in (COLD, WARM))
        epochs = str(plan.ladder[COLD][0].epochs)
        if not cold:
            rows.append([title, epochs, *[prose.NOT_RUN] * 5, "0"])
            continue
        misfit = [tables.span([over_guessing(run) for run in runs], ".2f") for runs in (cold, warm)]
        held = f"{point(cold, 'nll').interval:.3f}"
        sparse = tables.span([_objective(run) for run in stored(plan.cold.get(SPARSE, [])) if run], ",.0f")
        objective = tables.span([_objective(run) for run in cold], ",.0f")
        rows.append([title, epochs, objective, sparse, *misfit, held, str(len(cold))])
    columns = ["J [nats]", "J, Laplace mixture [nats]", "training NLL / (N ln 2)", "the same at T = 1", "held-out NLL"]
    return tables.markdown(["protocol", "epochs", *columns, "folds"], rows)


def further() -> dict[str, str]:
    """What the longest of LENGTHS changes against the shortest at T = 0.01, on the folds of both, in words.

    "short" and "long" the objective in nats, the mean of the folds; "held" the change of the held-out NLL in nats.
    """
    names = dict(zip(("short", "long"), (LENGTHS[0], LENGTHS[-1]), strict=True))
    runs = dict(zip(names, shared(*(stored(PROTOCOLS[title]().ladder[COLD]) for title in names.values())), strict=True))
    if not runs["long"]:
        return dict.fromkeys((*runs, "held"), prose.NOT_RUN)
    reached = {name: f"{np.mean([_objective(run) for run in group]):.0f}" for name, group in runs.items()}
    return reached | {"held": f"{compare(**runs).interval('nll', long=1.0, short=-1.0):+.3f}"}


def _objective(run: Run) -> float:
    return run.content["reached"]["objective"]
