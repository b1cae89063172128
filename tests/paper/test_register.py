"""Rules and protocols were registered, by commit, before the first record that they judge or make."""

import json
import os
import re
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from radio_bnn.files import CHECKOUT
from radio_bnn.paper import claims, experiments, register
from radio_bnn.runs import protocols

BOOK = CHECKOUT / "book" / "results"
Entry = dict[str, str]


def git(*arguments: str, place: Path = CHECKOUT, binary: bool = False):
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    ask = ["git", "-C", str(place), *who, *arguments]
    return subprocess.run(ask, capture_output=True, text=not binary, check=True).stdout


def is_ancestor(older: str, younger: str) -> bool:
    ask = ["git", "-C", str(CHECKOUT), "merge-base", "--is-ancestor", older, younger]
    return subprocess.run(ask, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def history():
    """The history of this checkout, all of it."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("needs the git history: this is no checkout")
    if git("rev-parse", "--is-shallow-repository").strip() != "false":
        pytest.skip("needs the whole git history: this clone is shallow")


@pytest.fixture(scope="module")
def registered() -> dict[str, register.Entries]:
    return register.load()


def all_entries(known: dict[str, register.Entries]) -> list[tuple[str, str, Entry]]:
    return [(part, name, e) for part, named in known.items() for name, entries in named.items() for e in entries]


# What the file says


def test_every_rule_and_protocol_stands_as_it_was_last_registered(registered):
    for part, current in register.digests().items():
        assert current and {name: registered[part][name][-1]["digest"] for name in current} == current, (
            f"{part} have changed: commit, then python -m radio_bnn.paper.register"
        )
    assert register.extended(registered, "a later commit") == registered


def test_every_claim_and_every_protocol_of_the_book_is_registered(registered):
    assert set(claims.CLAIMS) <= set(registered["rules"])
    known = {e["digest"] for part, _, e in all_entries(registered) if part == "protocols"}
    for config, kind in experiments.queue("book"):
        if kind == "run":
            assert protocols.protocol(config)["digest"] in known, config


def test_an_entry_is_a_digest_and_a_commit_and_no_digest_follows_itself(registered):
    for _, _, entry in all_entries(registered):
        assert set(entry) == {"digest", "commit"}
        assert {len(entry["digest"]), len(entry["commit"])} == {16, 12}
        assert int(entry["digest"] + entry["commit"], 16) >= 0
    for named in registered.values():
        for entries in named.values():
            found = [e["digest"] for e in entries]
            assert all(a != b for a, b in zip(found, found[1:], strict=False))


def test_the_page_in_the_book_is_the_register(registered, history):
    text = (CHECKOUT / "book" / "_generated" / "register.md").read_text()
    assert text == register.made(), "python -m radio_bnn.paper.register"
    assert len(text.splitlines()) == 2 + len(all_entries(registered))


def test_the_page_says_the_first_record_after_each_rule_and_protocol():
    known = {
        "rules": {
            "C1": [{"digest": "r1", "commit": "a"}, {"digest": "r2", "commit": "b"}],
            "C9": [{"digest": "r9", "commit": "c"}],
        },
        "variants": {"C1 otherwise": [{"digest": "v", "commit": "b"}]},
        "protocols": {"of_old": [{"digest": "p", "commit": "a"}], "new": [{"digest": "q", "commit": "b"}]},
    }
    when = {"a": "2026-01-01 00:00", "b": "2026-01-02 00:00", "c": "2026-01-03 00:00", "d": "2026-01-04 00:00"}
    made = (("released", "p", "d"), ("own", "p", "c"), ("own", "x", "b"), ("own", "x", "d", "curation"))
    records = [register.Record(*of) for of in made]
    lines = [line.strip("| ").split(" | ") for line in register.page(known, when, records).splitlines()[2:]]
    assert [line[0] for line in lines] == [
        *("rule C1", "rule C1", "rule C9", "rule C1 otherwise"),
        *("protocol of old", "protocol new"),
    ]
    assert [line[2] for line in lines] == [f"`{c}`, {when[c]}" for c in "abcbab"]
    assert [line[3] for line in lines] == [*(f"`{c}`, {when[c]}" for c in "bbddc"), "none is stored"]


def test_of_two_priors_with_the_same_rates_each_has_its_own_first_record():
    known = {"protocols": {f"own vi {prior}": [{"digest": "p", "commit": "a"}] for prior in ("gaussian", "laplace")}}
    when = {"a": "2026-01-01 00:00", "b": "2026-01-02 00:00"}
    made = [register.Record("own", "p", "b", title="own vi laplace")]
    gaussian, laplace = register.page(known, when, made).splitlines()[2:]
    assert "none is stored" in gaussian and "`b`" in laplace


def test_every_record_of_a_protocol_by_prior_has_a_title_of_the_register(registered):
    titles = {r.title for r in register.stored(CHECKOUT / "book" / "results")} - {""}
    assert {"annealed vi gaussian", "annealed map gaussian", "annealed dropout gaussian"} <= titles
    assert titles <= set(registered["protocols"])


def test_every_first_record_on_the_page_is_younger_than_what_it_follows():
    """By the dates that the page shows, which is what its reader can see."""
    text = (CHECKOUT / "book" / "_generated" / "register.md").read_text()
    both = [re.findall(r"`, (\d{4}-\d\d-\d\d \d\d:\d\d)", line) for line in text.splitlines()[2:]]
    judged = [found for found in both if len(found) == 2]
    assert len(judged) > 10 and all(since <= first for since, first in judged)


def test_a_record_names_its_commit_however_it_was_described(tmp_path):
    for name, commit in {"a": "29d1e642c07b", "b": "v0.1-14-g29d1e642c07b-dirty"}.items():
        of = {"kind": "run", "protocol": {"name": "own", "digest": "p"}, "provenance": {"commit": commit}}
        of["config"] = {"likelihood": "categorical", "method": "vi", "prior": "gaussian", "prior_scale": None}
        (tmp_path / f"{name}.json").write_text(json.dumps(of))
    (tmp_path / "first_edition.json").write_text("{}")
    assert register.stored(tmp_path) == [register.Record("own", "p", "29d1e642c07b")] * 2


# Order


def test_every_registered_commit_is_in_the_history_one_after_the_other(registered, history):
    for part, name, entry in all_entries(registered):
        assert is_ancestor(entry["commit"], "HEAD"), (part, name, entry)
    for named in registered.values():
        for entries in named.values():
            for older, younger in zip(entries, entries[1:], strict=False):
                assert is_ancestor(older["commit"], younger["commit"])


def test_every_registered_commit_holds_what_it_is_registered_for(registered, history, tmp_path):
    """The code of that commit computes that digest."""
    ask = "import json; from radio_bnn.paper import register; print(json.dumps(register.digests()))"
    found = {}
    for _, _, entry in all_entries(registered):
        commit = entry["commit"]
        if commit not in found:
            with tarfile.open(fileobj=BytesIO(git("archive", commit, "radio_bnn", binary=True))) as archive:
                archive.extractall(tmp_path / commit, filter="data")
            environment = os.environ | {"PYTHONPATH": str(tmp_path / commit)}
            run = [sys.executable, "-c", ask]
            out = subprocess.run(
                run, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path / commit
            )
            found[commit] = json.loads(out.stdout)
    for part, name, entry in all_entries(registered):
        assert found[entry["commit"]][part][name] == entry["digest"], (part, name, entry)


def objection(record: dict, registered: dict[str, register.Entries]) -> str:
    """What speaks against a record of a run: its recipe must be a registered one, in a commit before its own."""
    protocol, made = record["protocol"], commit_of(record["provenance"]["commit"])
    named = [entries for title, entries in registered["protocols"].items() if title.split()[0] == protocol["name"]]
    if not named:
        return "" if protocol["name"] == "custom" else f"protocol {protocol['name']} is not registered"
    commits = [e["commit"] for entries in named for e in entries if e["digest"] == protocol["digest"]]
    if not commits:
        return f"its {protocol['name']} is another than is registered"
    return "" if any(is_ancestor(commit, made) for commit in commits) else f"made at {made}, before it was registered"


def test_every_committed_run_was_made_after_its_protocol_was_registered(registered, history):
    for path in sorted(BOOK.glob("*.json")):
        values = json.loads(path.read_text())
        if values.get("kind") == "run":
            assert objection(values, registered) == "", path.name


def test_every_committed_run_was_made_after_the_rules_that_judge_it(registered, history):
    """A claim that is added later fails here, or has to say which runs were not seen before: ``register.YOUNGER``."""
    runs = [v for p in sorted(BOOK.glob("*.json")) if (v := json.loads(p.read_text())).get("kind") == "run"]
    rules = {claim: entries[-1]["commit"] for claim, entries in registered["rules"].items()}
    for made, likelihood in {(commit_of(r["provenance"]["commit"]), r["config"]["likelihood"]) for r in runs}:
        judging = [rule for claim, rule in rules.items() if register.YOUNGER.get(claim, likelihood) == likelihood]
        assert len(judging) >= 10 and all(is_ancestor(rule, made) for rule in judging), made


def test_every_committed_run_of_a_protocol_with_a_rule_of_its_own_was_made_after_it(registered, history):
    rules = {entries[-1]["commit"] for entries in registered["variants"].values()}
    for path in sorted(BOOK.glob("*.json")):
        values = json.loads(path.read_text())
        if values.get("kind") == "run" and values["protocol"]["name"] in ("published", "released"):
            assert all(is_ancestor(rule, commit_of(values["provenance"]["commit"])) for rule in rules), path.name


def test_a_run_before_its_registration_or_of_another_recipe_would_be_found(registered, history):
    entry = registered["protocols"]["annealed vi gaussian"][0]

    def said(name="annealed", digest=entry["digest"], commit=entry["commit"]):
        return objection({"protocol": {"name": name, "digest": digest}, "provenance": {"commit": commit}}, registered)

    before = git("rev-parse", "--short=12", f"{entry['commit']}~1").strip()
    assert said() == said(commit="HEAD") == said(commit=f"{entry['commit']}-dirty") == said(name="custom") == ""
    assert "before it was registered" in said(commit=before) and "before it was registered" in said(commit="unknown")
    assert "another than is registered" in said(digest="0" * 16)
    assert "another than is registered" in said(name="preview") and "is not registered" in said(name="other")


def commit_of(described: str) -> str:
    """The commit in what `git describe --always --dirty` says."""
    return described.removesuffix("-dirty").rpartition("-g")[2]


def test_the_commit_is_read_from_any_description():
    assert commit_of("29d1e642c07b") == commit_of("29d1e642c07b-dirty") == "29d1e642c07b"
    assert commit_of("v0.1-14-g29d1e642c07b") == commit_of("v0.1-gamma-14-g29d1e642c07b-dirty") == "29d1e642c07b"


# How it grows


def test_what_is_new_is_added_and_what_was_there_stays(monkeypatch):
    now = {"rules": {"C1": "a", "C2": "b"}, "protocols": {"p": "x"}}
    monkeypatch.setattr(register, "digests", lambda: now)
    first = register.extended({}, "c1")
    assert first == {
        "rules": {"C1": [{"digest": "a", "commit": "c1"}], "C2": [{"digest": "b", "commit": "c1"}]},
        "protocols": {"p": [{"digest": "x", "commit": "c1"}]},
    }
    assert register.extended(first, "c2") == first
    now["rules"]["C2"] = "B"
    now["rules"]["C3"] = "c"
    before = json.dumps(first)
    second = register.extended(first, "c2")
    assert json.dumps(first) == before, "what was known is not changed in place"
    assert second["rules"]["C2"] == [*first["rules"]["C2"], {"digest": "B", "commit": "c2"}]
    assert second["rules"]["C1"] == first["rules"]["C1"] and second["protocols"] == first["protocols"]
    assert second["rules"]["C3"] == [{"digest": "c", "commit": "c2"}]
    del now["rules"]["C3"]
    now["rules"]["C2"] = "b"
    third = register.extended(second, "c3")
    assert [e["digest"] for e in third["rules"]["C2"]] == ["b", "B", "b"], "what comes back is registered again"
    assert third["rules"]["C3"] == second["rules"]["C3"], "what was removed keeps its entries"


def test_it_names_the_commit_that_is_checked_out_and_refuses_what_is_not_committed(tmp_path, monkeypatch, capsys):
    (tmp_path / "code.py").write_text("1")
    git("init", "-q", place=tmp_path)
    git("add", ".", place=tmp_path)
    git("commit", "-q", "-m", "one", place=tmp_path)
    monkeypatch.setattr(register, "CHECKOUT", tmp_path)
    monkeypatch.setattr(register, "FILE", tmp_path / "register.json")
    monkeypatch.setattr(register, "PAGE", tmp_path / "register.md")
    (tmp_path / "code.py").write_text("2")
    assert register.main() == 1 and not (tmp_path / "register.json").exists()
    assert "commit first" in capsys.readouterr().err
    git("commit", "-q", "-a", "-m", "two", place=tmp_path)
    assert register.main() == 0
    commit = git("rev-parse", "--short=12", "HEAD", place=tmp_path).strip()
    found = register.load()
    assert {e["commit"] for _, _, e in all_entries(found)} == {commit}
    n = sum(map(len, register.digests().values()))
    assert len(all_entries(found)) == n and f"{n} rules and protocols" in capsys.readouterr().out
    assert register.main() == 0 and register.load() == found
