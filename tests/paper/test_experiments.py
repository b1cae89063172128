"""The plan holds what the book reads: every chapter, claim and measurement, each run once."""

from pathlib import Path

import pytest

from radio_bnn.cli import main
from radio_bnn.config import Config, run_id
from radio_bnn.model.priors import PRIORS
from radio_bnn.paper import experiments
from radio_bnn.paper.claims import CLAIMS
from radio_bnn.paper.experiments import CHAPTERS, QUEUES, Wanted
from radio_bnn.runs import records, sweep

BOOK = Path(__file__).resolve().parents[2] / "book"


def ids(items: list[Wanted], kind: str | None = None) -> set[str]:
    return {run_id(item.config) for item in items if kind in (None, item.kind)}


def test_the_chapters_run_is_the_converged_protocol_on_the_published_seeds():
    assert experiments.run() == Config.converged(seed=122, data_seed=14, precision="bf16")
    assert [(c.seed, c.data_seed) for c in experiments.repeats(3)] == [(122, 14), (123, 15), (124, 16)]
    with pytest.raises(ValueError, match="seeds=0"):
        experiments.repeats(0)


def test_the_whole_book_is_one_queue_with_everything_that_a_chapter_wants():
    book = experiments.queue("book")
    pairs = [(run_id(item.config), item.kind) for item in book]
    assert len(set(pairs)) == len(pairs)
    for chapter in CHAPTERS:
        wanted = experiments.wanted(chapter)
        assert wanted and {(run_id(item.config), item.kind) for item in wanted} <= set(pairs), chapter


@pytest.mark.parametrize("name", QUEUES)
def test_each_run_is_trained_once_and_its_posterior_is_kept_where_somebody_measures_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path))
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    queue = experiments.queue(name)
    measured = ("pruning", "convergence", "objective")
    jobs = sweep._trainings(records.missing(queue, tmp_path), dict.fromkeys(measured))
    trained = [(run_id(Config.from_dict(values)), kept) for job in jobs for values, kept in job.arguments[0]]
    assert len(trained) == len(dict(trained)) and set(dict(trained)) == ids(queue)
    assert {identity for identity, kept in trained if kept} == set().union(*(ids(queue, kind) for kind in measured))


def test_queues_are_the_chapters_that_exist_and_unknown_names_are_refused(capsys):
    assert set(CHAPTERS) <= {path.stem for path in BOOK.glob("*.ipynb")}
    assert set(QUEUES) == {"book", "convergence", "protocol", *CHAPTERS}
    with pytest.raises(ValueError, match="queue='nope' is not known: choose one of book, priors"):
        experiments.queue("nope")
    with pytest.raises(ValueError, match="chapter='book'"):
        experiments.wanted("book")
    assert main(["sweep", "nope"]) == 1
    assert "choose one of book" in capsys.readouterr().err


def test_the_headline_comes_first_and_what_is_slow_after_the_claims():
    book = experiments.queue("book")
    place = {(run_id(item.config), item.kind): i for i, item in reversed(list(enumerate(book)))}
    headline = [place[run_id(config), "run"] for config in experiments.repeats()]
    assert headline[0] == 0 and headline == sorted(headline)
    orbit = [place[run_id(c), "run"] for c in experiments.repeats(likelihood="orbit_logits")]
    assert max(headline) < min(orbit)
    unclaimed = [i for i, item in enumerate(book) if item.config.seed == 124 and item.config.prior == "student_t"]
    assert max(orbit) < min(unclaimed)


@pytest.mark.parametrize("claim", experiments.CONTRASTS)
def test_the_groups_of_a_claim_are_paired_and_its_factors_cancel(claim):
    assert claim in CLAIMS
    terms = experiments.terms(claim, 2)
    assert sum(factor for factor, _ in terms) == 0
    for _, group in terms:
        assert [config.seed for config in group] == [122, 123]
    for chapter in ("priors", "cold_posterior", "augmentation"):
        found = {run_id(c) for _, group in experiments.terms(claim) for c in group} <= ids(experiments.wanted(chapter))
        if found:
            break
    assert found, f"no chapter wants the runs of {claim}"


def test_the_contrasts_are_those_that_the_claims_describe():
    [(plus, warm), (minus, cold)] = experiments.terms("C6", 1)
    assert (plus, warm[0].temperature, minus, cold[0].temperature) == (1.0, 1.0, -1.0, 0.01)
    objectives = [(factor, group[0].objective, group[0].temperature) for factor, group in experiments.terms("C7", 1)]
    assert objectives == [(1, "pac2", 1), (-1, "pac2", 0.01), (-1, "elbo", 1), (1, "elbo", 0.01)]
    assert [group[0].prior for _, group in experiments.terms("C2", 1)] == ["laplace_mixture", "gaussian"]
    with pytest.raises(ValueError, match="claim='C3' is not known: choose one of C2"):
        experiments.terms("C3")


def test_every_group_has_the_seeds_that_are_asked_for():
    groups = [experiments.priors(2), experiments.baselines(2), *experiments.objectives(seeds=2).values()]
    groups += experiments.augmentations(2).values()
    for by_name in groups:
        assert all([config.seed for config in group] == [122, 123] for group in by_name.values())
    assert list(experiments.ladder([1.0, 0.1], 1)) == [0.1, 1.0]
    assert list(experiments.objectives([1.0], 1)["ELBO"]) == [1.0]
    assert [group[0].method for group in experiments.baselines(1).values()] == ["vi", "ml", "dropout"]
    assert {config.precision for config in experiments.in_float32()} == {"float32"}


def test_the_priors_are_named_and_known():
    """A prior that is added to the registry makes no chapter train."""
    assert set(experiments.PRIORS) <= set(PRIORS)
    assert {item.config.prior for item in experiments.queue("book")} == set(experiments.PRIORS)


def test_the_neighbours_differ_from_the_protocol_in_one_setting_each():
    base = next(iter(experiments.training_seeds().values())).to_dict()
    for name, config in (experiments.doubled() | experiments.neighbours()).items():
        values = config.to_dict()
        assert (values["seed"], values["data_seed"], values["precision"]) == (122, 14, base["precision"])
        different = {k for k in base if values[k] != base[k]}
        assert "Config" in name or len({k.removesuffix("_low").removesuffix("_high") for k in different}) == 1, name


def test_the_list_says_what_is_missing_and_how_long_it_takes(tmp_path, capsys):
    assert main(["sweep", "pruning", "--list", "--out", str(tmp_path)]) == 0
    *missing, counts, hours = capsys.readouterr().out.splitlines()
    assert len(missing) == 3 and f"{run_id(experiments.run(123))}  pruning  data_seed=15 seed=123" in missing[1]
    assert counts == "pruning: 3 pruning, 3 missing"
    assert hours.startswith("to train: 3 runs, ")
    assert not list(tmp_path.iterdir())
