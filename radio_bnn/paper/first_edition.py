"""What the first edition of this book said, taken from the history: its rules, protocols, verdicts and records.

``python -m radio_bnn.paper.first_edition`` makes ``book/results/first_edition.json`` and the tables of its page; it
needs a checkout with its history.
"""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from radio_bnn.evaluation.metrics import METRICS
from radio_bnn.evaluation.resampling import Interval
from radio_bnn.files import CHECKOUT, replacing
from radio_bnn.paper import tables

FILE = Path("results") / "first_edition.json"
CLAIM = "application/vnd.radio-bnn.claim"
RULES = {"e08b982": "radio_bnn/claims.py", "0b5ba8c": "radio_bnn/paper/claims.py"}
PROTOCOLS = {"798781f": "radio_bnn/config.py", "0b5ba8c": "radio_bnn/config.py"}
VERDICTS = {
    "798781f": "one seed",
    "0115819": "one seed, ten minutes later",
    "89e7e10": "three seeds, as refereed",
    "0b5ba8c": "three seeds, at its end",
}
DELETION, END = "34d6e9d", "0b5ba8c"
LAST_BEFORE_DELETION = "34d6e9d^"
EVENTS = {
    "7c95d54": "Five runs of `Config.preview()`, one for each prior, are stored.",
    "e08b982": "The rules of the claims are fixed.",
    "798781f": "The first runs of `Config.converged()` are stored; a scoreboard on one seed judges C2 on older runs.",
    "0115819": "The first pruning record is stored; the number on C2 is withdrawn.",
    "34d6e9d": "`Config.converged()` is redefined, and the four records that followed it are deleted.",
    "19bf4bd": "Runs of the new `Config.converged()` on three seeds are stored, and the chapters are executed on them.",
    "89e7e10": "The state that a referee read: five claims reproduced, five undecided, one not run.",
    "326e908": "The rule that chooses the next edition's learning rates is fixed, before their first training.",
    "f083917": "The objectives of the candidates for the Gaussian prior are stored; none of their networks is scored.",
    "29d1e64": "The rules and the protocol of this edition are fixed, before the first record that they judge.",
}
FIRST_SEED = 122
METRICS_KEPT = ("error_percent", "nll", "brier", "predictive_entropy", "uce_percent", "classwise_uce_percent")
PRUNING_KEPT = ("error_percent", "nll", "predictive_entropy")


# From the history


def made() -> dict[str, Any]:
    """Everything that the JSON holds. Raises ValueError where the history is not at hand."""
    return {
        "events": [{"commit": commit, "date": _date(commit), "what": what} for commit, what in EVENTS.items()],
        "rules": {commit: rules(_text(commit, path)) for commit, path in RULES.items()},
        "protocols": {commit: protocols(_text(commit, path)) for commit, path in PROTOCOLS.items()},
        "verdicts": {commit: dict(sorted(verdicts(commit))) for commit in VERDICTS},
        "runs": _runs(),
        "pruning": _pruning(),
        "convergence": _convergence(),
    }


def rules(source: str) -> dict[str, dict[str, Any]]:
    """The claims of an old ``claims.py`` by id, read and not executed: {id: {field: value}}."""
    names = ("id", "says", "contrast", "unit", "rule", "margin", "format")
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Claim":
            values = dict(zip(names, map(ast.literal_eval, node.args), strict=False))
            found[values.pop("id")] = values
    return found


def protocols(source: str) -> dict[str, dict[str, Any]]:
    """The constant settings of every named protocol of an old ``config.py``, read and not executed."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name in ("preview", "converged", "published", "published_2021"):
            first = next((n for n in ast.walk(node) if isinstance(n, ast.Dict)), None)
            pairs = zip(first.keys, first.values, strict=True) if first else ()
            found[node.name] = {k.value: v.value for k, v in pairs if k and isinstance(v, ast.Constant)}
    return found


def verdicts(commit: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every verdict in the claim cells of the chapters of a commit, (claim, verdict)."""
    for path in _names(commit, "book", ".ipynb"):
        for cell in json.loads(_text(commit, path))["cells"]:
            for output in cell.get("outputs", []):
                if CLAIM in output.get("data", {}):
                    said = output["data"][CLAIM]
                    verdict = json.loads("".join(said) if isinstance(said, list) else said)
                    yield verdict.pop("claim"), verdict


def _runs() -> dict[str, dict[str, Any]]:
    """Every run that ever stood in the first edition, by identity; of what changed its name the last one."""
    deleted = {path: LAST_BEFORE_DELETION for path in _deleted("book/results/")}
    kept = {path: END for path in _names(END, "book/results", ".json") if path.count("/") == 2}
    found = {}
    for path, commit in sorted((deleted | kept).items()):
        record = json.loads(_text(commit, path))
        found[record["run_id"]] = _kept(record, commit) | {
            "test": {name: record["metrics"]["test"][name] for name in METRICS_KEPT}
        }
    return found


def _pruning() -> dict[str, dict[str, Any]]:
    """Test scores at every pruned share by ranking, of every pruning record of the first edition."""
    deleted = {path: LAST_BEFORE_DELETION for path in _deleted("book/results/pruning/")}
    kept = {path: END for path in _names(END, "book/results/pruning", ".json")}
    found = {}
    for path, commit in sorted((deleted | kept).items()):
        record = json.loads(_text(commit, path))
        with np.load(io.BytesIO(_bytes(commit, path.removesuffix("json") + "npz")), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name.startswith(("logits_", "labels"))}
        labels = arrays.pop("labels").astype(int)
        scores = {
            name.removeprefix("logits_"): {m: [round(METRICS[m](x, labels), 5) for x in logits] for m in PRUNING_KEPT}
            for name, logits in arrays.items()
        }
        found[record["run_id"]] = _kept(record, commit) | {"fractions": record["fractions"], "scores": scores}
    return found


def _convergence() -> dict[str, dict[str, Any]]:
    paths = _names(END, "book/results/convergence", ".json")
    records = [json.loads(_text(END, path)) for path in paths]
    return {record["run_id"]: _kept(record, END) | {"measured": record["measured"]} for record in records}


def _kept(record: Mapping[str, Any], commit: str) -> dict[str, Any]:
    return {
        "protocol": record["protocol"],
        "settings": record["config"],
        "made_at": record["provenance"]["commit"],
        "deleted_at": DELETION if commit == LAST_BEFORE_DELETION else None,
    }


def _deleted(folder: str) -> list[str]:
    """The records directly in ``folder`` that the redefinition of the protocol deleted."""
    before = set(_names(LAST_BEFORE_DELETION, folder, ".json"))
    gone = before - set(_names(DELETION, folder, ".json"))
    return sorted(path for path in gone if path.removeprefix(folder).count("/") == 0)


def _names(commit: str, folder: str, ending: str) -> list[str]:
    listed = _bytes_of("ls-tree", "-r", "--name-only", commit, "--", folder).decode()
    return [path for path in listed.splitlines() if path.endswith(ending)]


def _date(commit: str) -> str:
    ask = ("show", "-s", "--format=%ad", "--date=format-local:%Y-%m-%d %H:%M UTC", commit)
    return _bytes_of(*ask).decode().strip()


def _text(commit: str, path: str) -> str:
    return _bytes(commit, path).decode()


def _bytes(commit: str, path: str) -> bytes:
    return _bytes_of("show", f"{commit}:{path}")


def _bytes_of(*arguments: str) -> bytes:
    try:
        ask = ["git", "-C", str(CHECKOUT), *arguments]
        return subprocess.run(ask, capture_output=True, check=True, env=os.environ | {"TZ": "UTC"}).stdout
    except (OSError, subprocess.CalledProcessError) as problem:
        raise ValueError(
            f"git {' '.join(arguments)} failed: the first edition is read from the history, so make this in a checkout "
            "that has it"
        ) from problem


# For its page


def load(book: Path = CHECKOUT / "book") -> dict[str, Any]:
    """The committed JSON. Raises ValueError if it is damaged."""
    try:
        found = json.loads((book / FILE).read_text(encoding="utf-8"))
        for part in ("events", "rules", "protocols", "verdicts", "runs", "pruning", "convergence"):
            found[part]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ValueError(
            f"{FILE} cannot be read ({problem}): take it from the history, or make it with "
            "python -m radio_bnn.paper.first_edition"
        ) from problem
    return found


def pages(found: Mapping[str, Any]) -> dict[str, str]:
    """The tables of the page by the name of their file."""
    return {
        "events": _events(found),
        "verdicts": _verdict_table(found),
        "protocols": _protocol_table(found),
        "deleted": _deleted_table(found),
        "pruning": _pruning_table(found),
        "rules": _rule_table(found),
    }


def _events(found: Mapping[str, Any]) -> str:
    return _listed(["when", "commit", "what"], [[e["date"], e["commit"], e["what"]] for e in found["events"]])


def _verdict_table(found: Mapping[str, Any]) -> str:
    claims = found["rules"]["e08b982"]
    rows = [
        [claim, *(_verdict(found["verdicts"][c].get(claim), rule) for c in VERDICTS)] for claim, rule in claims.items()
    ]
    return _listed(["claim", *(f"{title} ({commit})" for commit, title in VERDICTS.items())], rows)


def _verdict(verdict: Mapping[str, Any] | None, rule: Mapping[str, Any]) -> str:
    if verdict is None or verdict["value"] is None:
        return "not run"
    number = Interval(verdict["value"], verdict["low"], verdict["high"])
    return f"{verdict['verdict']}: {number:{rule.get('format', '+.1f')}} {rule['unit']}".strip()


def _rule_table(found: Mapping[str, Any]) -> str:
    rows = [
        [c, r["contrast"], f"{r['rule']} {r['margin']:g} {r['unit']}"] for c, r in found["rules"]["e08b982"].items()
    ]
    return _listed(["claim", "contrast", "reproduced where it lies"], rows)


def _protocol_table(found: Mapping[str, Any]) -> str:
    first, second = found["protocols"]["798781f"], found["protocols"]["0b5ba8c"]
    columns = {
        "preview": first["preview"],
        "converged, until 34d6e9d": first["preview"] | first["converged"],
        "converged, from 34d6e9d": second["preview"] | second["converged"],
    }
    settings = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [[s.replace("_", " "), *(f"{column.get(s, 'default')}" for column in columns.values())] for s in settings]
    return _listed(["setting", *columns], rows)


def _deleted_table(found: Mapping[str, Any]) -> str:
    """The deleted runs beside those that followed them: equal but for the protocol and the precision."""
    rows = []
    for name, run in found["runs"].items():
        if run["deleted_at"]:
            after = [(n, r) for n, r in found["runs"].items() if r["protocol"] == "converged" and _same(r, run)]
            rows.append([_described(run), f"{name}: {_scores(run)}", "; ".join(f"{n}: {_scores(r)}" for n, r in after)])
    return _listed(["run", "deleted, test error and NLL", "its successor"], rows)


def _pruning_table(found: Mapping[str, Any]) -> str:
    """What C3, C4 and C10 rest on, of the deleted pruning record and of its successor, the same seed."""
    records = {name: r for name, r in found["pruning"].items() if r["settings"]["seed"] == FIRST_SEED}
    ordered = sorted(records.items(), key=lambda item: item[1]["deleted_at"] is None)
    rows = []
    for name, record in ordered:
        scores, at = record["scores"], {share: record["fractions"].index(share) for share in (0.0, 0.3, 0.6)}
        error, entropy = scores["snr"]["error_percent"], scores["snr"]["predictive_entropy"]
        fisher = scores["fisher"]["error_percent"]
        numbers = (
            f"{error[at[0.3]] - error[at[0.0]]:+.1f} points",
            f"{error[at[0.6]] - fisher[at[0.6]]:+.1f} points",
            f"{entropy[at[0.3]] - entropy[at[0.0]]:+.3f} nats",
        )
        rows.append([f"{name}, deleted" if record["deleted_at"] else name, *numbers])
    return _listed(["pruning record, seed 122", "C3, error", "C4, error", "C10, entropy"], rows)


def _same(later: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    names = ("prior", "temperature", "objective", "augmentation", "seed", "method", "likelihood")
    same = all(later["settings"].get(n) == run["settings"].get(n) for n in names)
    return same and later["deleted_at"] is None and later["settings"].get("precision") == "bf16"


def _described(run: Mapping[str, Any]) -> str:
    return f"T = {run['settings'].get('temperature', 0.01):g}, {run['settings'].get('prior', 'gaussian')} prior"


def _scores(run: Mapping[str, Any]) -> str:
    error, nll = (Interval(**run["test"][name]) for name in ("error_percent", "nll"))
    return f"{error:.1f} %, {nll:.2f} nats"


def _listed(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table of words, every column aligned left."""
    return tables.markdown(header, rows).replace("---:", ":---")


def main() -> int:
    """Write the JSON and the tables anew; 1 where the history is not at hand."""
    book = CHECKOUT / "book"
    try:
        found = made()
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    with replacing(book / FILE) as partial:
        partial.write_text(json.dumps(found, indent=None, separators=(",", ":"), allow_nan=False) + "\n")
    for name, text in pages(load(book)).items():
        with replacing(book / "_generated" / f"first_edition_{name}.md") as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    print(f"{FILE} holds {len(found['runs'])} runs and {len(found['pruning'])} pruning records of the first edition")
    return 0


if __name__ == "__main__":
    sys.exit(main())
