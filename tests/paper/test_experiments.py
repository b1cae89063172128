"""The plan holds what the book reads: every chapter and measurement, each record once."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from radio_bnn.cli import main
from radio_bnn.config import ANNEALED_RATES, N_FOLDS, TRAINED_AS, Config, canonical, run_id
from radio_bnn.model.priors import PRIORS
from radio_bnn.paper import causes, contrasts, evidence, experiments
from radio_bnn.paper.claims import learning
from radio_bnn.paper.experiments import CHAPTERS, CHOSEN_FOR, FEW, FOLDS, HALF, LADDER, QUEUES, TEMPERATURES, Wanted
from radio_bnn.runs import outstanding, records, sweep

BOOK = Path(__file__).resolve().parents[2] / "book"
MEASURED = dict.fromkeys({item.kind for item in experiments.queue("book")} - {"run"})


def ids(items: list[Wanted], kind: str | None = None) -> set[str]:
    return {run_id(item.config) for item in items if kind in (None, item.kind)}


def pairs(items: list[Wanted]) -> list[tuple[str, str]]:
    return [(run_id(item.config), item.kind) for item in items]


def trainings(items: list[Wanted]) -> set[str]:
    return {run_id(item.config.trained) for item in items}


# Groups


def test_the_chapters_run_is_the_annealed_protocol_on_a_fold_with_a_seed_of_its_own():
    assert experiments.run() == Config.annealed(fold=0, seed=122, precision="bf16", samples=50, temperature=0.01)
    assert [(c.fold, c.seed) for c in experiments.headline()] == [(k, 122 + k) for k in range(N_FOLDS)]
    assert {c.samples for c in experiments.headline()} == {200}
    assert experiments.run(3, seed=7).seed == 7


def test_the_headline_is_the_start_of_the_path():
    for fold, config in enumerate(experiments.headline()):
        start = experiments.upward(fold)[experiments.COLD]
        assert start == config and run_id(start) == run_id(config)
        assert start.path == () and experiments.from_scratch(fold)[experiments.COLD] == config
        for stage in experiments.upward(fold).values():
            assert run_id(stage.origin.trained) == run_id(config.trained)


@pytest.mark.parametrize("changes", [{}, {"objective": "pac2"}, experiments.LABEL_FREE], ids=str)
def test_a_training_passes_upward_and_a_colder_branch_downward(changes):
    stages = experiments.upward(5, **changes)
    assert list(stages) == list(TEMPERATURES) == sorted(TEMPERATURES)
    assert {t: c.temperature for t, c in stages.items()} == {t: t for t in TEMPERATURES}
    for low, high in pairwise(LADDER):
        before, after = stages[low], stages[high]
        assert after.path == (*before.path, low) and run_id(after.previous.trained) == run_id(before.trained)
    assert stages[0.003].path == (0.01,) and stages[0.001].path == (0.01, 0.003)
    assert {c.fold for c in stages.values()} == {5} and {c.seed for c in stages.values()} == {127}
    assert all(getattr(c, name) == value for c in stages.values() for name, value in changes.items())


def test_the_best_temperature_is_that_of_lowest_validation_nll_among_those_that_learn():
    ladder = contrasts.along(experiments.paths())
    learn = learning(evidence.states(ladder, contrasts.along(experiments.controls())))
    groups = dict(zip(learn, contrasts.shared(*(ladder[t] for t in learn)), strict=True))
    means = {t: np.mean([run.metric("nll", "validation").value for run in runs]) for t, runs in groups.items()}
    assert len(groups[experiments.BEST]) >= len(FEW) and min(means, key=means.get) == experiments.BEST


def test_the_other_directions_are_one_training_downward_and_one_for_every_temperature():
    down, scratch = experiments.downward(2), experiments.from_scratch(2)
    assert sorted(down) == sorted(scratch) == sorted(TEMPERATURES)
    falling = sorted(TEMPERATURES, reverse=True)
    for high, low in pairwise(falling):
        assert down[low].path == (*down[high].path, high)
    assert down[falling[0]].path == () and {c.path for c in scratch.values()} == {()}
    shared = {t: {run_id(way(2)[t]) for way in experiments.DIRECTIONS.values()} for t in TEMPERATURES}
    assert {t: len(found) for t, found in shared.items()} == {t: 2 if t in (0.01, 1.0) else 3 for t in TEMPERATURES}


def test_every_group_has_one_run_for_each_of_its_folds_in_their_order():
    by_title = experiments.priors([1, 4]) | experiments.matched([1, 4]) | experiments.baselines([1, 4])
    by_title |= experiments.orbit([1, 4])
    ladders = [experiments.paths([1, 4]), *experiments.augmentations([1, 4]).values(), experiments.controls([1, 4])]
    ladders += experiments.directions([1, 4]).values()
    for group in [*by_title.values(), *(g for ladder in ladders for g in ladder.values()), experiments.longer([1, 4])]:
        assert [config.fold for config in group] == [1, 4]
    assert [c.fold for c in experiments.objectives([1, 4])["PAC²ₜ"][0.1]] == [1], "T with the tighter bound: few folds"
    assert [c.fold for c in experiments.objectives()["PAC²"][0.1]] == list(FOLDS)
    assert max(experiments.objectives()["PAC²"]) == 0.2, "the next temperature above the warmest that learns"
    assert "PAC²ₜ" not in experiments.objectives([4])
    assert list(experiments.paths([0], temperatures=[1.0, 0.1])) == [0.1, 1.0]


def test_groups_differ_from_the_chapters_run_in_what_their_title_says():
    base = experiments.run(1).to_dict()

    def differs(config: Config) -> dict:
        return {k: v for k, v in config.to_dict().items() if v != base[k] and "rate" not in k and k != "samples"}

    assert [differs(g[0]) for g in experiments.orbit([1]).values()] == [experiments.ORBIT, experiments.SHARED]
    assert [differs(g[0]) for g in experiments.baselines([1]).values()] == [{"method": "map"}, {"method": "dropout"}]
    assert differs(experiments.longer([1])[0]) == {"epochs": 300}
    assert differs(experiments.in_float32([1])[0]) == {"precision": "float32"}
    assert differs(experiments.headline([1], prior="laplace")[0]) == {"prior": "laplace"}
    warm = {title: path[1.0][0] for title, path in experiments.augmentations([1]).items()}
    assert {title: c.augmentation for title, c in warm.items()} == {
        "none": "none",
        "random D4": "d4",
        "random rotation": "rotation",
    }
    wide, narrow = (group[0] for group in experiments.matched([1]).values())
    assert 2**0.5 * wide.prior_scale == pytest.approx(Config().prior_scale or 0.1)
    assert (wide.prior, narrow.prior, narrow.prior_scale**2) == ("laplace", "gaussian", pytest.approx(1.5))


# Which rates


def test_the_candidates_for_the_gaussian_prior_are_the_committed_ones():
    """And whatever else is committed is a candidate."""
    stored = {path.stem for path in (BOOK / "results" / "objective").glob("*.json")}
    gaussian = {run_id(c) for group in experiments.candidates("gaussian").values() for c in group}
    assert len(gaussian) == len(LADDER) * len(experiments.RATES) == 24 and gaussian <= stored
    assert stored <= {run_id(c) for title in CHOSEN_FOR for g in experiments.candidates(title).values() for c in g}


@pytest.mark.parametrize("title", CHOSEN_FOR)
def test_every_candidate_has_the_same_stages_and_one_is_what_is_trained(title):
    groups = experiments.candidates(title)
    expected = LADDER if title == "gaussian" else (0.01,)
    for stages in groups.values():
        assert tuple(c.temperature for c in stages) == expected
        assert all(after.previous == before for before, after in pairwise(stages))
        assert {(c.epochs, c.fold, c.seed, c.samples) for c in stages} == {(100, 0, 122, experiments.FEW_SAMPLES)}
        for name, value in CHOSEN_FOR[title].items():
            assert {getattr(c, name) for c in stages} == {value}
    assert len({run_id(stages[0]) for stages in groups.values()}) == len(groups)
    first = run_id(experiments.run(**CHOSEN_FOR[title]).trained)
    assert [run_id(stages[0].trained) for stages in groups.values()].count(first) == 1


def test_everything_that_is_trained_has_rates_that_are_chosen():
    chosen = {Config.annealed(**changes) for changes in CHOSEN_FOR.values()}
    known = {(c.method, c.prior if c.method != "dropout" else "gaussian", c.prior_scale) for c in chosen}
    assert set(ANNEALED_RATES) <= known
    for item in experiments.queue("book"):
        c = canonical(item.config)
        trained = TRAINED_AS.get(c.method, c.method)
        assert (trained, c.prior, c.prior_scale) in known or c.method == "sgmcmc", item


# Queues


def test_the_whole_book_is_one_queue_with_everything_that_a_chapter_wants_once():
    book = pairs(experiments.queue("book"))
    assert len(set(book)) == len(book)
    assert set(book) == {pair for make in QUEUES.values() for pair in pairs(make())}
    for chapter in CHAPTERS:
        wanted = pairs(experiments.wanted(chapter))
        assert wanted and len(set(wanted)) == len(wanted) and set(wanted) <= set(book), chapter


def test_the_curation_paths_pass_through_one_and_their_control_is_the_plain_likelihood_at_a_share_of_it():
    for s, ladder in experiments.curated([1]).items():
        stages = [group[0] for group in ladder.values()]
        assert 1.0 in ladder and [c.temperature / s for c in stages] == pytest.approx(experiments.SHARED_OUT)
        assert all(after.previous == before for before, after in pairwise(stages))
        assert {(c.labellers, c.likelihood, c.train_on) for c in stages} == {(s, "curation", "all")}
        [plain] = experiments.uncurated(s, [1])
        assert plain.temperature == pytest.approx(1 / s) and plain.likelihood == "categorical"
        if plain.temperature in LADDER:
            assert plain == experiments.paths([1])[plain.temperature][0]


def test_labels_that_were_given_without_confidence_are_trained_on_and_the_noisy_likelihood_knows_them():
    for title, ladder in experiments.unsure([1]).items():
        stages = [group[0] for group in ladder.values()]
        assert [c.temperature for c in stages] == list(LADDER)
        assert all(after.previous == before for before, after in pairwise(stages))
        noisy = "dirichlet" if "Dirichlet" in title else "categorical"
        assert {(c.likelihood, c.train_on) for c in stages} == {(noisy, "labelled")}


def test_nothing_is_trained_with_rates_that_are_not_chosen(monkeypatch):
    assert experiments.rated(["gaussian", "dropout"]) == ["gaussian", "dropout"]
    monkeypatch.setattr(experiments, "ANNEALED_RATES", {})
    assert experiments.rated(CHOSEN_FOR) == [] and experiments.scales() == experiments.newton() == {}
    every = {("vi", "gaussian", 0.03): (1e-3, 1e-2), ("ivon", "gaussian", None): (0.1, 0.95)}
    monkeypatch.setattr(experiments, "ANNEALED_RATES", every)
    [(title, ladder)] = experiments.scales([2]).items()
    assert title == "Gaussian, s = 0.03" and {c.prior_scale for [c] in ladder.values()} == {0.03}
    assert {c.method for ladder in experiments.newton([2]).values() for [c] in ladder.values()} == {"ivon"}
    assert "natural gradient" in experiments.rivals([2])


def test_rivals_are_what_their_titles_say_and_differ_by_seed_where_several_predict_together():
    found = experiments.rivals([1])
    methods = {title: [c.method for c in group] for title, [group] in found.items()}
    assert methods["deep ensemble"] == ["ensemble"] and methods[experiments.VARIATIONAL] == ["vi"]
    four = found[experiments.FOUR][0]
    assert four[0] == found[experiments.VARIATIONAL][0][0] and len({c.seed for c in four}) == 4
    assert {(c.method, c.temperature, c.fold) for c in four} == {("vi", experiments.BEST, 1)}
    full, diagonal = (found[f"last layer, {kind}Laplace"][0][0] for kind in ("", "diagonal "))
    assert (full.covariance, diagonal.covariance) == ("full", "diagonal")
    assert run_id(full) != run_id(diagonal) and full.seed == diagonal.seed == found["dropout"][0][0].seed
    assert set(experiments.shifted([1])) == set(found) - {"chains, T = 1"}


def test_the_worlds_differ_by_their_labellers_and_by_what_is_trained_on_alone():
    worlds = {title: ladder[0.1][0] for title, ladder in experiments.controlled([2]).items()}
    said = {title: (c.labellers, c.train_on, c.likelihood) for title, c in worlds.items()}
    assert said == {
        "one labeller": (1, "confident", "categorical"),
        "ten, uncurated": (10, "labelled", "categorical"),
        "ten, curated": (10, "confident", "categorical"),
        "ten, curation likelihood": (10, "all", "curation"),
    }
    assert {(c.data, c.population, c.simulated_galaxies, c.fold) for c in worlds.values()} == {
        ("simulated", "voted", 1256, 2)
    }


def test_the_noise_of_the_released_gradient_is_all_that_its_path_changes():
    noisy, plain = experiments.noisy(), experiments.paths(FEW, temperatures=LADDER)
    assert {t: [config.trained for config in group] for t, group in plain.items()} == {
        t: [replace(config, kl="auto").trained for config in group] for t, group in noisy.items()
    }
    assert {config.kl_estimator for group in noisy.values() for config in group} == {"mc_detached"}
    assert not any(config.as_released for group in noisy.values() for config in group)


SEVERAL = ("vi", experiments.BEST, "categorical")  # variational networks that predict together


def test_every_run_of_the_book_is_on_a_fold_with_the_seed_of_that_fold():
    for config, _ in experiments.queue("book"):
        chain = (config.seed - 122 - config.fold) / 1000
        together = config.method == "sgmcmc" or (config.method, config.temperature, config.likelihood) == SEVERAL
        assert config.fold in FOLDS and chain in (experiments.CHAINS if together else (0,))
        assert config.precision == "bf16" or config in experiments.in_float32()
        assert config.data == "mirabest" or config.population == "voted"


def test_no_two_runs_of_the_book_differ_in_their_number_of_samples_alone():
    runs = [item for item in experiments.queue("book") if item.kind == "run"]
    assert len(trainings(runs)) == len(runs)


def test_queues_have_as_many_records_as_folds_temperatures_and_variants_say():
    n, t, newton = len(FOLDS), len(TEMPERATURES), experiments.newton()
    others = len(experiments.PRIORS) - 1 + len(experiments.MATCHED) + len(experiments.SCALES)
    expected = {
        "path": n * t + 2 * n,  # the runs, and the posteriors of the headline and of the best temperature
        "controls": len(FEW) * t + len(FEW),
        "priors": n * len(experiments.PRIORS),
        "baselines": n * len(experiments.BASELINES),
        "pruning": n,
        # Two are shared: the coldest start and the warmest. With them the longer start, and the path with A1's noise.
        "directions": len(FEW) * (3 * t - 2) + len(FEW) + len(FEW) * len(LADDER),
        "matched": n * len(experiments.MATCHED),
        "orbit": n * 2 + 2 * n,  # the runs, and either side as the other is seen
        # The bounds go up to T = 0.2, and PAC² on few folds to T = 1.
        "objectives": n * t + (n + len(FEW)) * (t - 2) + 2 * len(FEW),
        "augmentations": len(HALF) * t * (1 + len(experiments.VIEWS)),
        "released": len(FEW) * (2 + 1 + 2) + 2 * len(FEW),  # the runs, and pruning under both protocols
        "multiverse": 2 * (len(FEW) * (t + 1) + len(FEW)),
        "precision": len(FEW),
        "protocol": len(LADDER) * len(experiments.RATES)
        + len(experiments.RATES) * others
        + len(experiments.NEWTON_RATES)
        + len(experiments.BASELINES) * len(experiments.POINT_RATES),
        "sampling": len(FEW) * len(experiments.SAMPLED_AT) * len(experiments.CHAINS),
        "last layer": len(FEW) * len(experiments.SAMPLED_AT) * len(experiments.LAST_LAYERS),
        "labellers": len(FEW) * len(experiments.LABELLERS) * (1 + len(experiments.SHARED_OUT))
        + len(FEW) * len(experiments.UNSURE) * len(LADDER),
        "scales": len(FEW) * len(LADDER) * len(experiments.rated([*experiments.SCALES, *experiments.NEWTON])),
        "controlled": len(FEW) * len(experiments.WORLDS) * len(LADDER),
        # One network each of ours and of points, three more of the variational one, and both temperatures of chains.
        "rivals": len(FEW) * (6 + 3 + len(newton) + 2 * len(experiments.CHAINS)),
        "shift": len(FEW) * (6 + 3 + len(newton) + len(experiments.CHAINS)),
    }
    assert expected == {name: len(set(pairs(make()))) for name, make in QUEUES.items()}
    book, everything = len(experiments.queue("book")), sum(expected.values())
    # The Gaussian headline of the priors, the upward paths of directions, objectives and augmentations, the longer
    # start of the directions, the plain runs of five and of ten labellers, and of the rivals all but the ensemble, the
    # diagonal Laplace and three variational networks.
    twice = n + len(FEW) * t + n * t + len(HALF) * t + len(FEW) + 2 * len(FEW)
    assert book == everything - twice - len(FEW) * (4 + len(newton) + 2 * len(experiments.CHAINS))


@pytest.mark.parametrize("name", ["book", *QUEUES])
def test_each_run_is_trained_once_and_its_posterior_is_kept_where_somebody_needs_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path))
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    queue = experiments.queue(name)
    jobs = sweep._trainings(outstanding.missing(queue, tmp_path), MEASURED)
    trained = [(Config.from_dict(values), kept) for job in jobs for values, kept in job.arguments[0]]
    found = {run_id(config.trained): kept for config, kept in trained}
    assert len(found) == len(trained) and set(found) == trainings(queue)
    needed = {run_id(item.config.trained) for item in queue if item.kind != "run"}
    needed |= {run_id(item.config.previous.trained) for item in queue if item.config.previous}
    assert {identity for identity, kept in found.items() if kept} == needed & set(found)
    stored = {run_id(config) for config, _ in trained}
    assert ids(queue, "run") <= stored


@pytest.mark.parametrize("name", ["book", *QUEUES])
def test_a_path_is_walked_in_one_job_and_every_stage_after_the_one_before(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path))
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    place = {}
    jobs = sweep._trainings(outstanding.missing(experiments.queue(name), tmp_path), MEASURED)
    for j, job in enumerate(jobs):
        for i, (values, _) in enumerate(job.arguments[0]):
            place[run_id(Config.from_dict(values).trained)] = j, i
    for item in experiments.queue(name):
        if (before := item.config.previous) and run_id(before.trained) in place:
            (j, i), (k, m) = place[run_id(before.trained)], place[run_id(item.config.trained)]
            assert j == k and i < m


def test_queues_are_the_chapters_that_exist_and_unknown_names_are_refused(capsys):
    assert set(CHAPTERS) <= {path.stem for path in BOOK.glob("*.ipynb")}
    assert {part for parts in CHAPTERS.values() for part in parts} <= set(QUEUES)
    assert list(QUEUES) == [
        "path",
        "controls",
        "priors",
        "baselines",
        "pruning",
        "matched",
        "released",
        "multiverse",
        "sampling",
        "labellers",
        "protocol",
        "scales",
        "last layer",
        "rivals",
        "controlled",
        "shift",
        "directions",
        "orbit",
        "objectives",
        "augmentations",
        "precision",
    ]
    with pytest.raises(ValueError, match="queue='nope' is not known: choose one of book, causes, path"):
        experiments.queue("nope")
    with pytest.raises(ValueError, match="chapter='book'"):
        experiments.wanted("book")
    with pytest.raises(ValueError, match="title='nope' is not known: choose one of gaussian"):
        experiments.candidates("nope")
    assert main(["sweep", "nope"]) == 1
    assert "choose one of book" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted({*CHAPTERS, *QUEUES}))
def test_every_chapter_and_queue_can_be_asked_for_by_its_name(name):
    """A name that both have is the chapter's."""
    asked = pairs(experiments.queue(name))
    assert asked == (
        pairs(experiments.wanted(name)) if name in CHAPTERS else list(dict.fromkeys(pairs(QUEUES[name]())))
    )
    if name in QUEUES:
        assert set(pairs(QUEUES[name]())) <= set(asked) <= set(pairs(experiments.queue("book")))


def test_a_row_of_the_figure_of_causes_is_a_queue_by_its_title_on_three_folds():
    book, every = ids(experiments.queue("book")), ids(experiments.queue("causes"))
    for title, ladder in ((t, ladder) for those in experiments.rows().values() for t, ladder in those.items()):
        found = experiments.queue(title)
        assert {item.config.fold for item in found} == (set(FEW) if ladder else set())
        assert {item.config.temperature for item in found} == set(ladder)
        assert ids(found) <= every <= book
    titles = {group: list(those) for group, those in causes.candidates().items()}
    assert titles == {group: list(those) for group, those in experiments.rows().items()}


def test_the_command_can_make_every_kind_of_record_that_the_book_reads(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        sweep, "run_queue", lambda wanted, folder, measures, **k: asked.append((wanted, measures)) or []
    )
    assert main(["sweep", "book", "--out", str(tmp_path)]) == 0
    [(wanted, measures)] = asked
    assert pairs(wanted) == pairs(experiments.queue("book"))
    assert {item.kind for item in wanted} <= {"run", "posterior", *measures}


def test_the_headline_comes_first_then_the_path_and_the_claims_before_what_supports_them():
    book = pairs(experiments.queue("book"))
    first = [(run_id(config), "run") for config in experiments.headline()]
    assert book[: len(first)] == first
    last = {name: max(map(book.index, set(pairs(QUEUES[name]())))) for name in QUEUES if QUEUES[name]()}
    assert sorted(last, key=last.__getitem__) == list(last)


def test_the_priors_are_named_and_known():
    """A prior that is added to the registry makes no chapter train."""
    assert set(experiments.PRIORS) <= set(PRIORS)
    trained = {item.config.prior for item in experiments.queue("book") if item.kind == "run"}
    of_scales = {experiments.run(**experiments.SCALES[title]).prior for title in experiments.rated(experiments.SCALES)}
    assert trained == set(experiments.PRIORS) | of_scales


# The list


def test_the_list_says_what_is_missing_and_how_long_it_takes(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    assert main(["sweep", "pruning", "--list", "--out", str(tmp_path)]) == 0
    *missing, counts, hours = capsys.readouterr().out.splitlines()
    assert missing[0] == f"  {run_id(experiments.headline()[0])}  pruning  samples=200"
    assert missing[1] == f"  {run_id(experiments.headline()[1])}  pruning  fold=1 seed=123 samples=200"
    assert len(missing) == len(FOLDS) and counts == "pruning: 8 pruning, 8 missing"
    assert hours == "to train: 8 runs, unknown"
    assert not list(tmp_path.iterdir())


def test_the_list_counts_every_kind_and_a_training_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RADIO_BNN_RESULTS", str(tmp_path))
    monkeypatch.setattr(outstanding, "expected_seconds", lambda configs: 3600.0 * len(configs))
    folder = tmp_path / "posterior"
    folder.mkdir()
    config = experiments.headline()[3]
    (folder / f"{records.identity(config, 'posterior')}.json").write_text(json.dumps({}))
    lines = experiments.report("path", tmp_path).splitlines()
    assert lines[-2] == "path: 64 run, 64 missing; 16 posterior, 15 missing"
    assert lines[-1] == "to train: 64 runs, about 64.0 h on one core"
    assert len(lines) == 64 + 15 + 2 and lines[1].endswith("  run  fold=1 seed=123 samples=200")
    assert sum("path=[0.01, 0.03, 0.1]" in line and "temperature=0.2" in line for line in lines) == len(FOLDS)
    control = experiments.report("controls", tmp_path).splitlines()
    assert all("likelihood=label_free" in line for line in control[:-2])
