"""What a training has reached: the objective of all training galaxies, evaluated afresh."""

import math

import numpy as np
import pytest
import torch
from scenarios import galaxies, images, network
from torch.distributions import Laplace, Normal

from radio_bnn.config import Config
from radio_bnn.inference.likelihood import REJECTED
from radio_bnn.inference.method import Batch
from radio_bnn.inference.reached import DRAWS, complexity, whole_objective
from radio_bnn.inference.resolve import resolve
from radio_bnn.inference.vi import objective
from radio_bnn.model.inputs import network_input, normalise
from radio_bnn.model.layers import one_draw, posterior
from radio_bnn.seeds import generator

X = images(8)
Y = torch.arange(8) % 2
ZERO = torch.zeros((), dtype=torch.float64)


def reached(config, model, *, seed=1, **options):
    return whole_objective(resolve(config), model, X, Y.numpy(), generator=generator(seed, "objective"), **options)


@pytest.mark.parametrize("likelihood", ["categorical", "label_free"])
@pytest.mark.parametrize("prior", ["gaussian", "laplace"])
def test_the_whole_objective_is_that_of_one_minibatch_of_all_galaxies(prior, likelihood):
    """With a posterior of no width every draw is the mean."""
    config = Config.preview(prior=prior, likelihood=likelihood, temperature=0.3, precision="float64")
    model, problem = network(init_rho_low=-60.0, init_rho_high=-60.0), resolve(config)
    batch = Batch(network_input(X, dtype=torch.float64), Y, len(Y))
    with torch.no_grad():
        expected = objective(problem, model, batch, generator=generator(0, "noise"))
    found = whole_objective(problem, model, X, Y.numpy(), draws=2, generator=generator(1, "noise"))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0)


def test_the_whole_objective_does_not_depend_on_the_views_that_were_trained_on():
    model = network()
    found = [
        whole_objective(resolve(config), model, X, Y.numpy(), draws=3, generator=generator(1, "noise")).loss
        for config in (Config(), Config(augmentation="rotation", objective="pac2", batch_size=3))
    ]
    assert found[0] == found[1]


def test_a_variational_posterior_by_hand():
    """The mean of 20 draws of the weights, each for all galaxies, and the divergence that Gaussians have."""
    config = Config.preview(temperature=0.3, precision="float64")
    model, noise, dense = network(), generator(1, "objective"), normalise(X, torch.float64)
    losses = []
    with torch.no_grad():
        for _ in range(DRAWS):
            with one_draw(model, noise):
                losses.append(torch.nn.functional.cross_entropy(model(dense), Y, reduction="sum"))
        q = posterior(model).values()
        kl = sum(torch.distributions.kl_divergence(Normal(*each), Normal(ZERO, 0.1)).sum() for each in q)
    found = reached(config, model)
    torch.testing.assert_close(found.nll, torch.stack(losses).mean(), rtol=1e-9, atol=0)
    torch.testing.assert_close(found.kl, kl, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.loss, found.nll + 0.3 * found.kl, rtol=1e-12, atol=0)


def test_the_mode_of_a_posterior_pays_minus_log_p_of_its_weights():
    density = {"gaussian": Normal(ZERO, 0.1), "laplace": Laplace(ZERO, 1.0)}
    for prior, p in density.items():
        config = Config.preview(method="map", prior=prior, temperature=0.3, precision="float64")
        model = network(method="map")
        found, logits = reached(config, model), model(normalise(X, torch.float64))
        cost = -sum(p.log_prob(w).sum() for w in model.parameters())
        nll = torch.nn.functional.cross_entropy(logits, Y, reduction="sum")
        for value, expected in zip(found, (nll + 0.3 * cost, nll, cost), strict=True):
            torch.testing.assert_close(value, expected.detach(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("method", ["ml", "dropout"])
def test_without_a_prior_nothing_is_paid(method):
    config = Config.preview(method=method, precision="float64", temperature=5.0, prior="laplace")
    found = reached(config, network(method=method))
    assert found.kl == 0 and found.loss == found.nll > 0 and found.kl.dtype == torch.float64


def test_dropout_is_averaged_over_its_masks():
    config, model = Config.preview(method="dropout", precision="float64"), network(method="dropout")
    few, many = (reached(config, model, draws=n).nll for n in (1, 3))
    singles, noise = [], generator(1, "objective")
    for _ in range(3):
        terms = whole_objective(resolve(config), model, X, Y.numpy(), draws=1, generator=noise)
        singles.append(terms.nll)
    assert few == singles[0] and len(set(map(float, singles))) == 3
    torch.testing.assert_close(many, torch.stack(singles).mean(), rtol=1e-12, atol=0)


def test_an_ensemble_reaches_the_mean_of_what_its_members_reach():
    config = Config.preview(method="ensemble", members=3, temperature=0.3, precision="float64")
    model, alone = network(method="ensemble", members=3), Config.preview(method="map", temperature=0.3)
    each = [reached(alone, member) for member in model.members]
    for value, values in zip(reached(config, model), zip(*each, strict=True), strict=True):
        torch.testing.assert_close(value, torch.stack(values).mean(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("changes", [{"method": "laplace"}, {"method": "hmc", "members": 3}], ids=str)
def test_a_network_whose_last_layer_is_spread_out_pays_what_its_mode_pays(changes):
    """And predicts, before its last layer is spread, as the mode does."""
    config, model = Config.preview(temperature=0.3, precision="float64", **changes), network(**changes)
    mode = reached(Config.preview(method="map", temperature=0.3, precision="float64"), model.base)
    for value, expected in zip(reached(config, model), mode, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)


def test_a_divergence_without_a_closed_form_is_the_mean_over_draws():
    """Of a posterior of no width it is log q - log p at the means."""
    config = Config.preview(prior="student_t", precision="float64")
    problem, model = resolve(config), network(init_rho_low=-9.0, init_rho_high=-9.0)
    a, b = (complexity(problem, model, draws=n, generator=generator(0, "objective")) for n in (2, 2))
    other = complexity(problem, model, draws=2, generator=generator(1, "objective"))
    assert a == b != other and float(a) == pytest.approx(float(other), rel=1e-3)
    weights = sum(q.mean.numel() for q in posterior(model).values())
    entropy = weights * (0.5 * math.log(2 * math.pi * math.e) - 9)
    with torch.no_grad():
        at_the_means = -sum(problem.prior.log_prob(q.mean).sum() for q in posterior(model).values())
    assert float(a) == pytest.approx(float(at_the_means) - entropy, rel=1e-3)


def test_what_is_reached_is_in_float64_whatever_the_network_is_in():
    narrow = {"init_rho_low": -60.0, "init_rho_high": -60.0}
    model = network(**narrow).float()
    found = reached(Config.preview(precision="bf16"), model)
    assert {term.dtype for term in found} == {torch.float64}
    exact = reached(Config.preview(precision="float64"), network(**narrow))
    for value, expected in zip(found, exact, strict=True):
        assert float(value) == pytest.approx(float(expected), rel=1e-4)


def test_a_network_that_guesses_pays_ln_2_for_every_galaxy():
    model, toys = network(method="map"), galaxies()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    terms = whole_objective(
        resolve(Config.preview(method="map")), model, toys.images, toys.labels, generator=generator(0, "objective")
    )
    assert float(terms.nll) == pytest.approx(len(toys) * np.log(2), rel=1e-12)


def test_what_is_learnt_of_curated_galaxies_is_counted_on_those_that_have_a_class():
    """The objective is that of the labellers' agreement; its NLL compares with N ln 2 of the galaxies with a class."""
    config = Config.preview(data="simulated", fold=0, likelihood="curation", train_on="all", labellers=5)
    problem, labels = resolve(config), np.array([0, 1, REJECTED, REJECTED])
    model = problem.method.network(config, generator(0, "init"))
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(-30.0 if name.endswith("_rho") else 0.0)
    found = whole_objective(problem, model, images(4), labels, draws=2, generator=generator(0, "objective"))
    assert float(found.nll) == pytest.approx(2 * np.log(2), rel=1e-6)
    agreed, torn = 5 * np.log(2), -np.log(1 - 2 * 0.5**5)
    expected = 2 * agreed + 2 * torn + config.temperature * float(found.kl)
    assert float(found.loss) == pytest.approx(expected, rel=1e-6)
