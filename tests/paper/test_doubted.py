"""What tells doubted galaxies apart and what trust deserves, on records whose truth is known."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score
from synthetic import run_of

from radio_bnn.data.folds import catalogue
from radio_bnn.evaluation import metrics
from radio_bnn.evaluation.conformal import conformal_sets, summarise_sets
from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.paper import doubted, evidence, experiments
from radio_bnn.paper.tables import NO_BREAK

RUNS = [run_of(experiments.run(fold)) for fold in range(3)]


def test_a_ranking_by_an_uncertainty_is_what_the_claim_reads():
    found = doubted.rankings(doubted.by_uncertainty([*RUNS, None], "predictive_variance"))
    expected = evidence.doubt(RUNS, "predictive_variance")
    assert found["uncertain"].value == expected.value
    assert np.array_equal(found["uncertain"].resampled, expected.resampled)
    assert found["hybrid"].value == evidence.doubt(RUNS, "predictive_variance", doubted="hybrid").value


def test_lit_pixels_and_classes_rank_as_scikit_learn_says():
    lit, found = catalogue().lit_pixels, doubted.rankings(doubted.by_lit_pixels(RUNS))
    for title, label in {"uncertain": (0, 1), "FRI": (0,), "FRII": (1,)}.items():
        by_run = []
        for run in RUNS:
            kept = {s: run.galaxies[s][np.isin(run.labels[s], label)] for s in ("test", "uncertain")}
            y = np.repeat([0, 1], [len(kept["test"]), len(kept["uncertain"])])
            by_run.append(roc_auc_score(y, -lit[np.concatenate(list(kept.values()))]))
        assert found[title].by_fold == pytest.approx(by_run)


def test_the_table_pairs_each_ranker_with_the_first_on_the_folds_that_both_have():
    rankers = doubted.rankers(RUNS, {"the same": [None, *RUNS[1:]], "nobody": [None] * 3})
    chosen = {t: rankers[t] for t in ("predictive variance", "entropy, the same", "entropy, nobody")}
    chosen["itself"] = chosen["predictive variance"]
    rows = doubted.ranking_table(chosen, doubted.all_rankings(chosen)).replace(NO_BREAK, " ").splitlines()[2:]
    assert rows[0].split(" | ")[2] == "–" and rows[0].endswith("| 3 |")
    pair = [doubted.rankings(r, [1, 2])["uncertain"].value for r in list(chosen.values())[:2]]
    assert rows[1].split(" | ")[2].startswith(f"{pair[1] - pair[0]:+.2f} [") and rows[1].endswith("| 2 |")
    assert rows[2] == "| entropy, nobody | not run | not run | not run | not run | not run | 0 |"
    assert rows[3].split(" | ")[2] == "+0.00 [+0.00, +0.00]"


def test_what_was_not_run_has_no_row_in_the_figure():
    rankers = doubted.rankers(RUNS, {"nobody": [None] * 3})
    chosen = {t: rankers[t] for t in ("entropy, nobody", "few lit pixels, no network")}
    shown = doubted.shown(doubted.all_rankings(chosen), ["uncertain", "hybrid"])
    assert shown["entropy, nobody"] == {}
    assert {a: f.folds for a, f in shown["few lit pixels, no network"].items()} == {"uncertain": 3, "hybrid": 3}


def test_what_trust_deserves_is_counted_by_hand():
    [run], labels = RUNS[:1], RUNS[0].labels["uncertain"]
    p = predictive_mean(run.logits_of("uncertain"))
    wrong, sure = p.argmax(axis=1) != labels, p.max(axis=1) > doubted.SURE
    expected = [wrong.mean(), p.max(axis=1).mean(), sure.mean(), wrong[sure].mean()]
    titles = [title for title in doubted.WORTH if not title.startswith("NLL")]
    for title, value in zip(titles, expected, strict=True):
        assert doubted.worth([run], title).value == pytest.approx(100 * value), title
    assert doubted.worth(RUNS, "NLL [nats]").value == pytest.approx(
        np.mean([metrics.nll(r.logits_of("uncertain"), r.labels["uncertain"]) for r in RUNS])
    )


def test_confident_galaxies_are_pooled_and_a_network_that_is_never_sure_has_no_error_where_it_is():
    wrong = sum(metrics.error(r.logits_of("test"), r.labels["test"]) * len(r.labels["test"]) for r in RUNS)
    pooled = doubted.worth(RUNS, "error [%]", "test").value
    assert pooled == pytest.approx(wrong / sum(len(r.labels["test"]) for r in RUNS))
    never = run_of(experiments.run(0), evidence_for_truth=0.0, doubt=0.0)
    never.arrays["difference_uncertain"] = never.arrays["difference_uncertain"] / np.float16(100)
    assert doubted.worth([never], "error among those [%]") is None
    assert doubted.worth_table([never]).splitlines()[-1].endswith("| – |")


def test_every_galaxy_is_judged_once_by_the_network_of_its_fold():
    every = [run_of(experiments.run(fold)) for fold in range(8)]
    for scored, n in {"test": 833, "uncertain": 389, "hybrid": 34}.items():
        places = np.concatenate([run.galaxies[scored][doubted.once(run, scored)] for run in every])
        assert len(places) == len(np.unique(places)) == n
        logits, labels = doubted.judged_once(every, scored)
        assert logits.shape[1] == len(labels) == n


def test_coverage_is_that_of_the_networks_own_calibration_with_an_exact_interval():
    parts = []
    for run in RUNS:
        own = doubted.once(run, "uncertain")
        sets = conformal_sets(doubted.calibrating(run), run.logits_of("uncertain")[:, own], alpha=0.1)
        parts.append((summarise_sets(sets, run.labels["uncertain"][own]).coverage, own.sum()))
    covered, n = sum(share / 100 * m for share, m in parts), sum(m for _, m in parts)
    found = doubted.coverage(RUNS, alpha=0.1)
    assert found.value == pytest.approx(100 * covered / n)
    assert binom.cdf(round(covered), n, found.high / 100) == pytest.approx(0.025)
    expected = doubted.expected_coverage(RUNS, alpha=0.1)
    assert expected.low < 90 < expected.high
    assert doubted.conformal_table(RUNS, alpha=0.1).splitlines()[4].startswith("| uncertain | one for all | ")


def test_the_words_are_those_of_the_tables():
    said = doubted.spoken(RUNS, alpha=0.1)
    assert said["error"] == f"{doubted.worth(RUNS, 'error [%]').interval():.0f}"
    assert said["nll"] == f"{doubted.worth(RUNS, 'NLL [nats]').interval():.2f}"
    assert said["covered"] == f"{doubted.coverage(RUNS, alpha=0.1):.0f}"


def test_diagrams_have_equal_bins_of_galaxies_judged_once_and_count_those_outside_their_band():
    found = doubted.diagrams(RUNS)
    for title, scored in {"confident galaxies": "test", "uncertain galaxies": "uncertain"}.items():
        logits, labels = doubted.judged_once(RUNS, scored)
        count = found[title].count
        assert count.sum() == len(labels) and count.max() - count.min() <= 1
        order = np.argsort(predictive_mean(logits)[:, 1])
        assert found[title].frequency[0] == pytest.approx(labels[order[: count[0]]].mean())
    diagram = found["confident galaxies"]
    assert doubted.outside(diagram._replace(low=np.zeros(5), high=np.ones(5))) == "0 of 5"
    assert doubted.outside(diagram._replace(low=diagram.frequency + 1)) == "5 of 5"
