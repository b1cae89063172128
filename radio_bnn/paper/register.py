"""The register of rules and protocols: which digest each has had since which commit, so that order can be checked.

A rule or protocol that changes gets a further entry, and its earlier ones stay. ``python -m radio_bnn.paper.register``
adds what is new, naming the commit that is checked out, which must hold it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from radio_bnn.files import CHECKOUT, replacing
from radio_bnn.paper import claims, tables
from radio_bnn.runs.records import protocol_digests

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
        "protocols": protocol_digests(),
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


def page(known: Mapping[str, Entries], dates: Mapping[str, str]) -> str:
    """The register as Markdown: what, its digest, the commit that first had it, and its date; {commit: date}."""
    rows = [
        [f"{TITLES[part]} {name}", f"`{entry['digest']}`", f"`{entry['commit']}`", dates[entry["commit"]]]
        for part, named in known.items()
        for name, entries in named.items()
        for entry in entries
    ]
    return tables.markdown(["what", "digest", "since commit", "of"], rows) + "\n"


def dates(known: Mapping[str, Entries]) -> dict[str, str]:
    """The date of every commit in the register, from the history: {commit: "2026-11-24 17:00"}, UTC."""
    commits = {entry["commit"] for named in known.values() for entries in named.values() for entry in entries}
    ask = ["git", "-C", str(CHECKOUT), "show", "-s", "--format=%ct"]
    found = {c: subprocess.run([*ask, c], capture_output=True, text=True, check=True).stdout for c in sorted(commits)}
    return {c: f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M}" for c, seconds in found.items()}


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
        partial.write_text(page(load(), dates(load())))
    print(f"{FILE.name} holds {sum(map(len, digests().values()))} rules and protocols")
    return 0


if __name__ == "__main__":
    sys.exit(main())
