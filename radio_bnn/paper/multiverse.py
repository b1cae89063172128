"""Every claim under every protocol: from the released code to trainings several times longer than the chapters'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from radio_bnn.paper import claims, prose, tables
from radio_bnn.paper.claims import CLAIMS, NOT_TESTED, VACUOUS, Verdict
from radio_bnn.paper.evidence import evidence
from radio_bnn.paper.experiments import COLD, PROTOCOLS, WARM

RELEASED = "as released"
MIME = "application/vnd.radio-bnn.multiverse"


def judged(claim: str, protocol: str) -> Verdict:
    """The verdict on a claim by the records of one of PROTOCOLS; of two temperatures alone C6 has a rule of its own.

    As released C7 is vacuous whatever is run: its variance term has no gradient (audit A2).
    """
    if (claim, protocol) == ("C7", RELEASED):
        return Verdict(claim, VACUOUS, "the variance term has no gradient")
    found = evidence(claim, protocol)
    if claim == "C6" and set(PROTOCOLS[protocol]().ladder) == {COLD, WARM}:
        return claims.outcome(claims.AT_TWO_TEMPERATURES, found)
    return claims.judge(claim, found)


@dataclass(frozen=True)
class Multiverse:
    """The verdicts by protocol and claim; a notebook shows them as a table, and the scoreboard reads them there."""

    verdicts: Mapping[str, Mapping[str, Verdict]]

    def __getitem__(self, protocol: str) -> Mapping[str, Verdict]:
        return self.verdicts[protocol]

    def table(self) -> str:
        """One row per claim, one column per protocol: verdict, numbers and folds, as Markdown."""
        rows = [[claim, *(shown(found[claim]) for found in self.verdicts.values())] for claim in CLAIMS]
        return tables.markdown(["claim", *self.verdicts], rows)

    def agreed(self) -> list[str]:
        """The claims with the same verdict under every protocol under which they were judged, at least two of them."""
        found = {claim: {v[claim].verdict for v in self.verdicts.values() if was_run(v[claim])} for claim in CLAIMS}
        counts = {claim: sum(was_run(v[claim]) for v in self.verdicts.values()) for claim in CLAIMS}
        return [claim for claim in CLAIMS if counts[claim] > 1 and len(found[claim]) == 1]

    def disagreed(self) -> list[str]:
        """The claims whose verdict depends on the protocol."""
        found = {claim: {v[claim].verdict for v in self.verdicts.values() if was_run(v[claim])} for claim in CLAIMS}
        return [claim for claim in CLAIMS if len(found[claim]) > 1]

    def _repr_mimebundle_(self, include=(), exclude=()) -> dict[str, str]:
        stored = {title: {c: asdict(v) for c, v in found.items()} for title, found in self.verdicts.items()}
        table = self.table()
        return {"text/markdown": table, MIME: json.dumps(stored), "text/plain": table}


def multiverse() -> Multiverse:
    """Every claim under every one of PROTOCOLS."""
    return Multiverse({title: {claim: judged(claim, title) for claim in CLAIMS} for title in PROTOCOLS})


def was_run(verdict: Verdict) -> bool:
    """Whether there is anything to judge by: numbers, or a reason that needs none."""
    return bool(verdict.parts) or verdict.verdict == VACUOUS


def shown(verdict: Verdict) -> str:
    """A verdict with its numbers and folds, in one cell."""
    if not was_run(verdict):
        return NOT_TESTED if verdict.verdict == NOT_TESTED else prose.NOT_RUN
    folds = f" ({verdict.folds} folds)" if verdict.parts else ""
    return f"**{verdict.verdict}**{folds}<br>{verdict.number if verdict.parts else verdict.why}"
