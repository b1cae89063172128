import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scenarios import calibrated as calibrated_run
from scenarios import images, network, recorded
from scipy.special import softmax
from torch import nn

from radio_bnn.config import Config
from radio_bnn.evaluation import metrics
from radio_bnn.evaluation.resampling import calibrated_null
from radio_bnn.inference.predict import predict
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import BayesLinear
from radio_bnn.model.priors import make_prior
from radio_bnn.paper import audit
from radio_bnn.paper.audit import budget, cost, gradient_to_noise, variance_gradient
from radio_bnn.runs.records import SCORED, Posterior
from radio_bnn.seeds import generator

X, Y = network_input(images(6), dtype=torch.float64), torch.arange(6) % 2


def test_a2_the_released_variance_term_adds_exactly_nothing():
    config = Config.published(objective="pac2", kl="closed")
    released, exact = (
        variance_gradient(network(), X, Y, config, detached=d, generator=generator(0, "noise")) for d in (True, False)
    )
    assert released == 0
    assert exact > 1e-6


def test_an_objective_without_variance_term_is_refused():
    with pytest.raises(ValueError, match="objective='elbo'"):
        variance_gradient(network(), X, Y, Config(), detached=False, generator=generator(0, "noise"))


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = BayesLinear(3, 100)
        nn.init.constant_(self.fc1.weight_mean, 0.2)
        nn.init.constant_(self.fc1.weight_rho, torch.tensor(0.02).log().item())

    def forward(self, x):
        return self.fc1(x)


def test_a1_the_ratios_of_a_pure_complexity_cost_are_those_of_the_formula():
    """Inputs of 0 leave the KL alone: gradient mean / p^2 = 20; noise 0, sigma / p^2, or 1 / sigma - sigma / p^2."""
    x, y = torch.zeros(2, 3, dtype=torch.float64), torch.tensor([0, 1])
    found = gradient_to_noise(
        OneLayer().double(), x, y, make_prior("gaussian"), temperatures=[1.0, 0.01], share=0.5, draws=400,
        generator=generator(0, "noise"),
    )  # fmt: skip
    assert found["closed"] == {1.0: float("inf"), 0.01: float("inf")}
    assert found["mc"] == pytest.approx({1.0: 10.0, 0.01: 10.0}, rel=0.02)
    assert found["mc_detached"] == pytest.approx({1.0: 20 / 48, 0.01: 20 / 48}, rel=0.02)


def test_a1_noise_that_hides_the_signal_gives_no_negative_root():
    found = gradient_to_noise(
        network(), X, Y, make_prior("laplace_mixture"), temperatures=[1.0], share=1.0, draws=2,
        generator=generator(0, "noise"), layer="fc2.weight",
    )  # fmt: skip
    assert set(found) == {"mc", "mc_detached"}
    assert all(ratio >= 0 for by_t in found.values() for ratio in by_t.values())


def test_the_cost_counts_galaxies_and_weights():
    found = cost({"train_nll": [9.0, 0.5], "kl_per_weight": [9.0, 0.1]}, temperature=0.2, n_train=40, weights=1000)
    assert list(found.values()) == pytest.approx([20, 100, 20, 40, 40 * math.log(2)])


def test_a_network_that_guesses_spends_its_whole_budget():
    model = network(method="ml")
    nn.init.zeros_(model.fc3.weight)
    nn.init.zeros_(model.fc3.bias)
    assert float(nn.functional.cross_entropy(model(X), Y, reduction="sum").detach()) == pytest.approx(budget(6))


# Each slip by itself


@pytest.mark.parametrize("prior", ["gaussian", "laplace_mixture"])
def test_a1_the_released_gradient_differs_by_the_formula_and_nothing_else(prior):
    slope, left = audit.released_noise(network(), make_prior(prior), generator=generator(0, "noise"))
    assert slope == pytest.approx(1)
    assert left < 1e-9


def test_a1_repeats_are_independent_and_keep_their_values():
    how = {"temperatures": [1.0], "share": 0.5, "draws": 3, "layer": "fc2.weight"}
    found = audit.repeated_ratios(network(), X, Y, make_prior("gaussian"), repeats=3, **how)
    point = found["as released (A1)"][1.0]
    assert list(found) == list(audit.ESTIMATORS.values())
    assert len(set(point.values)) == 3
    assert point.interval == (sorted(point.values)[1], min(point.values), max(point.values))


@pytest.mark.parametrize("ratio", [0.06, 1.0, 5.0])
def test_a1_adam_moves_by_the_share_of_its_rate_that_the_formula_says(ratio):
    noise, rng = 1 / ratio, np.random.default_rng(0)
    weights = torch.zeros(20_000, requires_grad=True)
    adam, path = torch.optim.Adam([weights], lr=1.0), []
    for _ in range(200):
        weights.grad = torch.as_tensor(-1 - noise * rng.normal(size=len(weights)), dtype=torch.float32)
        adam.step()
        path.append(weights.detach().mean().item())
    assert np.diff(path)[100:].mean() == pytest.approx(audit.progress(ratio), rel=0.03)


def test_a2_the_share_is_that_of_a_minibatch_of_the_training_set():
    config = Config.published(objective="pac2", kl="closed", temperature=0.5)
    share = audit.variance_share(network(), X, Y, config, n_train=60, draws=3)
    whole, noise = replace(config, temperature=0.05), generator(0, "noise")
    alone = [variance_gradient(network(), X, Y, whole, detached=False, generator=noise) for _ in range(3)]
    assert share == pytest.approx((100 * np.median(alone), 100 * min(alone), 100 * max(alone)))


def test_a2_the_variance_term_is_a_quarter_of_the_squared_difference_of_two_draws():
    pictures, labels, model = images(6), np.arange(6) % 2, network().float()
    with torch.no_grad():
        model.fc3.weight_rho.fill_(-1.0)
    found = audit.variance_term(model, pictures, labels, draws=3)
    chosen = softmax(predict(model, pictures, samples=6, generator=generator(0, "predict")), -1)[:, range(6), labels]
    expected = [sum((chosen[k, n] - chosen[k + 3, n]) ** 2 / 4 for n in range(6)) for k in range(3)]
    assert found["PAC²"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert found["PAC²ₜ"] > found["PAC²"] > 1e-3
    assert found["NLL"] == pytest.approx(-np.log(chosen).sum(1).mean(), rel=1e-4)


def test_a_network_that_is_not_stored_reads_not_run():
    assert audit.bound_table({"T = 0.1": None}, None, draws=1).splitlines()[2].count("not run") == 4


def test_a2_as_released_the_share_is_nothing():
    config = Config.published(kl="closed")
    found = audit.variance_shares({"start": network()}, X, Y, config, n_train=60, draws=1)["start"]
    assert found["as released (A2)"] == 0
    assert found["PAC²ₜ"].value > found["PAC²"].value > 0


SCORES = np.array([[0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.3, 0.3, 0.4]])


def followed(scores: np.ndarray, *, released: bool) -> np.ndarray:
    """The chance that each epoch is kept: the rule followed through every sequence of scores, one by one."""
    epochs, chances = len(scores), np.zeros(len(scores))
    for sequence in itertools.product(range(scores.shape[1]), repeat=epochs):
        kept, best, chance = 0, sequence[0], scores[0, sequence[0]]
        for epoch in range(1, epochs):
            score = sequence[epoch]
            chance *= scores[kept if released else epoch, score]
            if score < best:
                kept, best = epoch, score
        chances[kept] += chance
    return chances


@pytest.mark.parametrize("released, of", [(False, audit.kept_if_correct), (True, audit.kept_as_released)])
def test_a3_chances_are_those_of_the_rule_followed_through_all_scores(released, of):
    np.testing.assert_allclose(of(SCORES), followed(SCORES, released=released), atol=1e-15)
    assert of(SCORES).sum() == pytest.approx(1)


def test_a3_networks_whose_draws_agree_keep_the_first_epoch_for_ever():
    scores = audit.single_draw_scores(np.array([0.5, 0.3, 0.1, 0.2]), galaxies=20, spread=0)
    assert list(audit.kept_as_released(scores)) == [1, 0, 0, 0]
    assert list(audit.kept_if_correct(scores)) == [0, 0, 1, 0]
    error = audit.falling_error(500, 20.0)
    how = {"galaxies": 145, "spread": 0}
    assert audit.error_lost(error, **how) == pytest.approx(100 * (error[0] - 0.12), abs=0.7)
    assert audit.lost_by_pace([20.0], 500, **how) == {20.0: audit.error_lost(error, **how)}


@pytest.mark.parametrize("spread", [0.0, 0.4, 1.0])
def test_a3_scores_have_the_mean_and_the_spread_that_they_say(spread):
    error, counts = np.array([0.5, 0.2]), np.arange(101)
    scores = audit.single_draw_scores(error, galaxies=100, spread=spread)
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    np.testing.assert_allclose(scores @ counts, 100 * error)
    np.testing.assert_allclose(scores @ counts**2 - (scores @ counts) ** 2, spread * 100 * error * (1 - error))


@pytest.mark.parametrize("agree, expected", [(True, 0.0), (False, 1.0)])
def test_a3_the_spread_of_stored_draws_is_measured(agree, expected):
    rng = np.random.default_rng(0)
    sign = rng.choice([-1, 1], (1 if agree else 100, 100, 1)) * np.ones((100, 1, 1))
    logits, labels = sign * np.array([1.0, -1.0]), np.arange(100) % 2
    run = recorded(Config(data="simulated", samples=100), {name: (logits, labels) for name in SCORED})
    assert audit.spread_over_draws([run, run]) == pytest.approx(expected, abs=0.2)


def test_a3_quantiles_count_epochs_from_one():
    assert audit.quantiles(np.array([0.3, 0.3, 0.3, 0.1])) == (2, 1, 4)


@pytest.mark.parametrize("prior, limit", [("gaussian_mixture", 14.356), ("laplace_mixture", 103.28)])
def test_a4_sums_are_infinite_where_the_wide_component_underflows(prior, limit):
    """exp rounds to 0 below half the smallest float32: -w^2 / 2 - ln(2 pi) / 2, or -w - ln 2, is its logarithm."""
    smallest = -150 * math.log(2)
    formula = {
        "gaussian_mixture": math.sqrt(-2 * smallest - math.log(2 * math.pi)),
        "laplace_mixture": -smallest - math.log(2),
    }
    found = audit.first_infinite(prior)
    assert found == pytest.approx(limit, rel=1e-4)
    assert found == pytest.approx(formula[prior], rel=1e-4)
    below = torch.tensor(np.nextafter(np.float32(found), np.float32(0)))
    assert torch.isfinite(make_prior(prior, summed=True).log_prob(below))


@pytest.mark.parametrize("prior", ["gaussian_mixture", "laplace_mixture"])
def test_a4_before_that_both_sums_have_the_same_gradient(prior):
    w = torch.logspace(-5, 1, 1000)
    assert audit.summed_difference(prior, w) < 1e-5
    (_, stable), (_, summed) = audit.mixture_densities([prior], w).values()
    torch.testing.assert_close(summed, stable)


def test_a5_all_draws_are_the_uce_and_a_metric_minus_itself_is_nothing():
    logits, labels = calibrated_run(60)
    assert metrics.central_uce(share=1.0)(logits, labels) == metrics.uce(logits, labels)
    assert audit.minus(metrics.central_uce(share=0.5), metrics.central_uce(share=0.5))(logits, labels) == 0
    difference = audit.minus(metrics.central_uce(share=0.5), metrics.central_uce(share=1.0))(logits, labels)
    assert difference == pytest.approx(metrics.central_uce(share=0.5)(logits, labels) - metrics.uce(logits, labels))


def test_a5_the_table_shows_both_versions_and_what_was_not_run():
    run = recorded(Config(data="simulated", samples=40), {name: calibrated_run(50, samples=40) for name in SCORED})
    rows = audit.named_table([run]).splitlines()[2:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == list(audit.NAMED)
    [shown] = audit.uce_by_share([run], [0.64, 1.0])
    assert f"| {shown[1]:.1f} | {shown[0]:.1f} |" in rows[2]
    assert audit.named_table([None]).count("not run") == 3 * len(audit.NAMED)


def test_a5_logits_outside_the_unit_interval_have_no_overlap_as_released():
    far = np.full((20, 3, 2), 5.0)
    assert list(audit.logit_overlap(far).values()) == ["100 %", "1.00", "0.00"]


def test_a6_views_share_their_draws_and_a_round_galaxy_looks_the_same():
    y, x = np.mgrid[:150, :150] - 74.5
    disc = (255 * np.exp(-(x**2 + y**2) / 200)).astype(np.uint8)
    both = np.stack([disc, np.where(x > 0, disc, 0)]).astype(np.uint8)
    model = network()
    found = audit.predict_turned(model, both, views=2, samples=3)
    assert found.shape == (3, 3, 2, 2)
    np.testing.assert_array_equal(found[0], predict(model, both, samples=3, generator=generator(0, "predict")))
    moved = np.abs(found[1:] - found[0]).max(axis=(0, 1, 3))
    assert moved[0] < 0.05 * moved[1]


def test_a7_the_published_scales_cannot_reach_their_prior():
    assert audit.reach(Config.published(), 584) == pytest.approx(0.9)
    assert audit.needed(Config.published()) == pytest.approx(math.log(0.1) + 4.5)


def test_a7_movement_is_counted_from_the_middle_of_the_start():
    arrays = {"fc1.weight_rho": np.float16([-4.5, -3.5]), "fc1.bias_rho": np.float16([-5.0]), "fc1.bias_mean": 9.0}
    records = [Posterior(Config.published(), {}, arrays)] * 2
    assert list(audit.moved(records)) == [0, 1, -0.5] * 2


def test_a8_many_galaxies_reach_the_limit_and_few_lie_above_it():
    error, limit = audit.calibrated_limit(3.0)
    null = calibrated_null("uce_percent", audit.calibrated(3.0, 20_000), resamples=20)
    assert np.median(null) == pytest.approx(limit, abs=0.3)
    assert audit.calibrated_uce(3.0, 50, resamples=200).value > limit
    assert audit.width_for(error) == pytest.approx(3.0, rel=1e-3)


def test_a8_the_ends_are_known():
    assert audit.calibrated_limit(1e-3) == pytest.approx((50, 0), abs=0.1)
    assert audit.calibrated_limit(1e5) == pytest.approx((0, 0), abs=0.1)


def test_a8_a_calibrated_network_errs_as_often_as_it_promises():
    logits, labels = calibrated_run(1500)
    run = recorded(Config(data="simulated", samples=6), {name: (logits, labels) for name in SCORED})
    found = audit.stored_uce([run])
    assert found["promised"] == pytest.approx(metrics.error(logits, labels), abs=3)
    assert found["error"] == pytest.approx(metrics.error(logits, labels))
    assert found["uce"] == pytest.approx(metrics.uce(logits, labels), rel=1e-3)  # stored in float16


def test_a8_nulls_come_for_each_error_and_each_size():
    few, endless = audit.null_by_error((10, 30), 80)
    assert all(few[error].value > endless[error] for error in (10, 30))
    sizes = audit.null_by_size(10, (40, 400))
    assert sizes[40].value > sizes[400].value > endless[10]


def test_the_prior_costs_more_than_guessing_unless_it_is_narrow():
    """Draws of a prior without width predict one half; those of the paper's are sure, and half of them wrong."""
    pictures, labels = images(8, side=150), np.arange(8) % 2
    narrow = audit.nll_of_the_prior(make_prior("gaussian", scale=1e-4), pictures, labels, draws=4)
    assert narrow == pytest.approx(math.log(2), abs=1e-3)
    assert audit.nll_of_the_prior(make_prior("gaussian", scale=0.3), pictures, labels, draws=40) > 2 * math.log(2)
