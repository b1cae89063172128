"""The register of rules and protocols: which digest each has had since which commit, so that order can be checked.

A rule or protocol that changes gets a further entry, and its earlier ones stay. ``python -m radio_bnn.paper.register``
adds what is new, naming the commit that is checked out, which must hold it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from radio_bnn.config import Config
from radio_bnn.files import CHECKOUT, replacing
from radio_bnn.paper import claims, tables
from radio_bnn.runs import protocols

FILE = Path(__file__).with_name("register.json")
Entries = dict[str, list[dict[str, str]]]


def load() -> dict[str, Entries]:
    """The register, {"rules", "variants" or "protocols": {name: [{"digest", "commit"}, ...]}}, the last in force."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def digests() -> dict[str, dict[str, str]]:
    """The digests of the rules and protocols as they stand in this code."""
    return {
        "rules": {claim: claims.digest(claim) for claim in claims.CLAIMS},
        "variants": {"C6 at two temperatures": claims.digest_of(claims.AT_TWO_TEMPERATURES)},
        "protocols": protocols.digests(),
    }


def extended(known: Mapping[str, Entries], commit: str) -> dict[str, Entries]:
    """``known`` with an entry for every rule and protocol whose digest is not the last one in force."""
    found = {}
    for part, current in digests().items():
        entries = {name: list(entry) for name, entry in known.get(part, {}).items()}
        for name, digest in current.items():
            if not entries.get(name) or entries[name][-1]["digest"] != digest:
                entries.setdefault(name, []).append({"digest": digest, "commit": commit})
        found[part] = entries
    return found


PAGE = CHECKOUT / "book" / "_generated" / "register.md"
TITLES = {"rules": "rule", "variants": "rule", "protocols": "protocol"}
# Rules younger than the first records of this edition, and the likelihood before whose first record they were fixed.
YOUNGER = {"C9": "curation"}
AT_TWO_TEMPERATURES = ("published", "released")  # protocols, see the rule of C6 that they have of their own


def page(known: Mapping[str, Entries], dates: Mapping[str, str], records: Sequence[Record]) -> str:
    """The register as Markdown: what, its digest, the commit that first had it, and the first record that came after.

    That is for a protocol the first run of its digest, for a rule the first run of this edition, for one of YOUNGER the
    first of its likelihood, and for one of a protocol's own the first run of such a protocol, each by the code that
    made it. ``dates``: {commit: date}.
    """
    oldest = sorted(records, key=lambda record: (dates[record.commit], record.commit))
    lines = []
    for part, named in known.items():
        for name, entries in named.items():
            for entry in entries:
                after = (_at(r.commit, dates) for r in oldest if _follows(r, part, name, entry["digest"]))
                first = next(after, "none is stored")
                title = f"{TITLES[part]} {name.replace('_', ' ')}"
                lines.append([title, f"`{entry['digest']}`", _at(entry["commit"], dates), first])
    header = ["what", "digest", "since commit, of (UTC)", "first record, made at commit, of (UTC)"]
    return tables.markdown(header, lines).replace("---:", ":---") + "\n"


def _follows(record: Record, part: str, name: str, digest: str) -> bool:
    """Whether a rule or protocol of a part of the register judges or makes a record."""
    judged = record.likelihood == YOUNGER.get(name, record.likelihood)
    same = record.digest == digest and record.title in ("", name)
    return {"rules": judged, "variants": record.name in AT_TWO_TEMPERATURES, "protocols": same}[part]


def _at(commit: str, dates: Mapping[str, str]) -> str:
    return f"`{commit}`, {dates[commit]}"


class Record(NamedTuple):
    """The name and digest of a stored run's protocol, the commit of the code that made it, and its likelihood.

    ``title``: what the protocol is called for its method and prior, empty where it has the same rates for all: two of
    these may have one digest.
    """

    name: str
    digest: str
    commit: str
    likelihood: str = "categorical"
    title: str = ""


def stored(folder: Path) -> list[Record]:
    """What the committed runs of this edition say of themselves, those that belong to a protocol."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [
        Record(
            *(of["protocol"][k] for k in ("name", "digest")),
            _commit(of["provenance"]["commit"]),
            of["config"]["likelihood"],
            _title(of["protocol"]["name"], of["config"]),
        )
        for of in found
        if of.get("kind") == "run"
    ]


def _title(name: str, config: Mapping[str, Any]) -> str:
    return protocols.title(name, *Config.from_dict(config).rated_as) if name in protocols.BY_PRIOR else ""


def _commit(described: str) -> str:
    """The commit in what ``git describe --always --dirty`` says."""
    return described.removesuffix("-dirty").rpartition("-g")[2]


def dates(commits: Iterable[str]) -> dict[str, str]:
    """The date of every commit, from the history: {commit: "2026-11-24 17:00"}, UTC."""
    ask = ["git", "-C", str(CHECKOUT), "show", "-s", "--format=%ct"]
    found = {c: subprocess.run([*ask, c], capture_output=True, text=True, check=True).stdout for c in set(commits)}
    return {c: f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M}" for c, seconds in found.items()}


def made() -> str:
    """The page of the register as the history and the stored records make it."""
    known, records = load(), stored(CHECKOUT / "book" / "results")
    entries = [entry for named in known.values() for those in named.values() for entry in those]
    return page(known, dates([*(e["commit"] for e in entries), *(r.commit for r in records)]), records)


def main() -> int:
    """Write the register anew, with what is new since the commit that is checked out; 1 with changes not committed.

    Its page in the book is written with it.
    """
    ask = ["git", "-C", str(CHECKOUT)]
    run = {"capture_output": True, "text": True, "check": True}
    if subprocess.run([*ask, "status", "--porcelain", "--untracked-files=no"], **run).stdout:
        print("commit first: the register names the commit in which a rule stands", file=sys.stderr)
        return 1
    commit = subprocess.run([*ask, "rev-parse", "--short=12", "HEAD"], **run).stdout.strip()
    known = load() if FILE.exists() else {}
    with replacing(FILE) as partial:
        partial.write_text(json.dumps(extended(known, commit), indent=1) + "\n")
    with replacing(PAGE) as partial:
        partial.write_text(made(), encoding="utf-8")
    print(f"{FILE.name} holds {sum(map(len, digests().values()))} rules and protocols")
    return 0


if __name__ == "__main__":
    sys.exit(main())
