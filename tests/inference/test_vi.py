import numpy as np
import pytest
import torch
from scenarios import gradients, images, network

from radio_bnn.config import Config
from radio_bnn.inference.likelihood import categorical
from radio_bnn.inference.method import Batch
from radio_bnn.inference.objective import kl_closed, kl_mc, released_variance
from radio_bnn.inference.resolve import resolve
from radio_bnn.inference.vi import objective
from radio_bnn.model.inputs import D4, d4_element, network_input, normalise
from radio_bnn.model.layers import BayesLinear, local_draw, one_draw, posterior
from radio_bnn.model.priors import make_prior
from radio_bnn.seeds import generator

X = images(20)
Y = torch.arange(20) % 2


def terms_of(model, config, x, labels, *, n_train):
    """The objective of ``config`` on one minibatch, with the noise of seed 0."""
    return objective(resolve(config), model, Batch(x, labels, n_train), generator=generator(0, "noise"))


@pytest.mark.parametrize("batch_size", [1, 7, 20])
@pytest.mark.parametrize("prior", ["gaussian", "laplace"])
def test_the_minibatches_of_an_epoch_sum_to_the_full_objective(batch_size, prior):
    config = Config.preview(prior=prior, temperature=0.3, batch_size=batch_size, precision="float64")
    model = network(init_rho_low=-60.0, init_rho_high=-60.0)
    inputs = network_input(X, dtype=torch.float64)
    problem, noise = resolve(config), generator(0, "noise")
    with torch.no_grad():
        parts = [
            objective(problem, model, Batch(inputs[i], Y[i], 20), generator=noise).loss
            for i in torch.arange(20).split(batch_size)
        ]
        with one_draw(model, noise):
            nll = -categorical(model(inputs), Y).sum()
        full = nll + 0.3 * kl_closed(problem.prior, posterior(model), {})
    torch.testing.assert_close(torch.stack(parts).sum(), full, rtol=1e-12, atol=0)


def test_as_released_the_last_smaller_batch_weighs_as_much_as_the_others():
    model = network(init_rho_low=-60.0, init_rho_high=-60.0)
    inputs = network_input(X[:5], dtype=torch.float64)
    terms = {}
    for switches in ((), ("kl_per_batch",)):
        config = Config.preview(batch_size=8, precision="float64", as_released=switches)
        t = terms_of(model, config, inputs, Y[:5], n_train=20)
        terms[switches] = ((t.loss - t.nll) / (0.01 * t.kl)).item()
    assert terms[()] == pytest.approx(5 / 20)
    assert terms[("kl_per_batch",)] == pytest.approx(1 / 3)


def test_local_reparameterisation_leaves_the_likelihood_gradient_unbiased_and_less_noisy():
    torch.manual_seed(0)
    layer = BayesLinear(6, 2).double()
    with torch.no_grad():
        layer.weight_mean.normal_()
        layer.weight_rho.fill_(-1.0)
    x, y = torch.randn(16, 6, dtype=torch.float64), torch.arange(16) % 2
    noise, found = generator(0, "noise"), {}
    for scope in (one_draw, local_draw):
        rows = []
        for _ in range(3000):
            with scope(layer, noise):
                rows.append(gradients(categorical(layer(x), y).sum(), [layer.weight_mean, layer.weight_rho]))
        found[scope] = torch.stack(rows)
    difference = found[one_draw].mean(0) - found[local_draw].mean(0)
    standard_error = ((found[one_draw].var(0) + found[local_draw].var(0)) / 3000).sqrt()
    assert (difference.abs() < 4 * standard_error).all()
    assert found[local_draw].var(0).sum() < found[one_draw].var(0).sum()


@pytest.mark.parametrize("name", ["pac2", "pac2_t"])
def test_the_variance_term_has_a_gradient(name):
    model, inputs = network(), network_input(X[:6], dtype=torch.float64)
    parameters, config = list(model.parameters()), Config.preview(objective=name, precision="float64")
    terms = terms_of(model, config, inputs, Y[:6], n_train=6)
    assert (terms.nll + 0.01 * terms.kl - terms.loss).item() > 0
    exact = gradients(terms.loss, parameters)
    again = terms_of(model, config, inputs, Y[:6], n_train=6)
    plain = gradients(again.nll + 0.01 * again.kl, parameters)
    assert (exact - plain).abs().max() > 1e-6 * plain.abs().max()


def test_a2_as_released_the_gradient_is_that_of_one_draws_likelihood_and_the_others_complexity():
    """NLL(draw 1) + T share KL(draw 2), by hand on the same two draws; the value has V besides."""
    model, inputs, labels = network(), network_input(X[:6], dtype=torch.float64), Y[:6]
    config = Config.published(objective="pac2", precision="float64", as_released=("detached_variance",))
    terms = terms_of(model, config, inputs, labels, n_train=12)
    found, noise = gradients(terms.loss, parameters := list(model.parameters())), generator(0, "noise")
    with one_draw(model, noise):
        first = categorical(model(inputs), labels)
    with one_draw(model, noise) as draw:
        second = categorical(model(inputs), labels)
    kl = kl_mc(make_prior("gaussian"), posterior(model), draw)
    plain = -first.sum() + 0.01 * 6 / 12 * kl
    expected = gradients(plain, parameters)
    assert float((found - expected).norm() / expected.norm()) < 1e-12
    torch.testing.assert_close(terms.loss, plain - released_variance(first, second).sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("average", ["logits", "probs"])
def test_the_orbit_likelihood_has_the_gradient_of_the_average_by_hand(average):
    model, dense, y = network(), normalise(X[:4], torch.float64), Y[:4]
    config = Config.preview(likelihood=f"orbit_{average}", precision="float64")
    terms = terms_of(model, config, network_input(X[:4], dtype=torch.float64), y, n_train=4)
    with one_draw(model, generator(0, "noise")):
        views = [model(d4_element(dense, element)) for element in D4]
    if average == "logits":
        likelihood = (sum(views) / 8).log_softmax(-1)[range(4), y]
    else:
        likelihood = (sum(view.softmax(-1)[range(4), y] for view in views) / 8).log()
    torch.testing.assert_close(terms.nll, -likelihood.sum(), rtol=1e-12, atol=0)
    parameters = list(model.parameters())
    found, by_hand = gradients(terms.nll, parameters), gradients(-likelihood.sum(), parameters)
    assert float((found - by_hand).norm() / by_hand.norm()) < 1e-11


def test_a_prior_by_layer_enters_the_objective_layer_by_layer():
    config = Config.annealed(prior="gaussian_fan_in", precision="float64", temperature=0.3)
    problem = resolve(config)
    state = problem.method.start(problem, device="cpu")
    x = network_input(X[:8], dtype=torch.float64)
    terms = problem.method.step(state, Batch(x, Y[:8], 24))
    model = problem.method.network(config, generator(config.seed, "init"))
    by_hand = sum(
        make_prior("gaussian", scale=1 / np.sqrt(q.mean[0].numel()) if q.mean.ndim > 1 else 1.0).kl(*q).sum()
        for q in posterior(model).values()
    )
    assert terms.kl.item() == pytest.approx(by_hand.item(), rel=1e-12)


def test_a_draw_from_the_prior_by_fan_in_has_its_spread_in_every_layer():
    config = Config.sampled(prior="gaussian_fan_in", prior_scale=2.0, members=2)
    member = resolve(config).method.network(config, generator(0, "init")).members[0]
    assert member.fc1.weight.std().item() == pytest.approx(2 / np.sqrt(1568), rel=0.01)
    assert member.fc2.weight.std().item() == pytest.approx(2 / np.sqrt(120), rel=0.02)
