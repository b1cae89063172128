import math

import mpmath
import pytest
import torch
from scenarios import images, network
from torch import nn

from radio_bnn.augment import D4, d4_element, network_input, orbit_forward
from radio_bnn.config import Config
from radio_bnn.data.galaxies import normalise
from radio_bnn.elbo import (
    KL,
    cold_posterior_scale,
    kl_closed,
    kl_mc,
    kl_mc_detached,
    kl_name,
    log_likelihood,
    minibatch_terms,
    negative_elbo,
    pac2_variance,
    second_order_jensen,
)
from radio_bnn.layers import BayesLinear, Normal, draw_weights, local_draw, one_draw, posterior
from radio_bnn.priors import PRIORS, Gaussian, gaussian_log_prob, make_prior
from radio_bnn.seeds import generator

X = images(20)
Y = torch.arange(20) % 2


def linear_gaussian(n: int = 7):
    """One weight, y = w x + N(0, 0.5^2), prior N(0, 0.1): data, exact posterior, exact log evidence."""
    x = torch.randn(n, dtype=torch.float64, generator=generator(0, "x"))
    y = 0.3 * x + 0.5 * torch.randn(n, dtype=torch.float64, generator=generator(0, "y"))
    precision = 1 / 0.1**2 + (x**2).sum() / 0.5**2
    q = {"w": Normal(((x * y).sum() / 0.5**2 / precision).reshape(1), precision.rsqrt().reshape(1))}
    covariance = 0.5**2 * torch.eye(n, dtype=torch.float64) + 0.1**2 * torch.outer(x, x)
    zero = torch.zeros(n, dtype=torch.float64)
    evidence = torch.distributions.MultivariateNormal(zero, covariance).log_prob(y)
    return x, y, q, float(evidence)


def test_at_the_exact_posterior_every_draw_gives_the_log_evidence():
    """log p(D, w) - log q(w) = log p(D) for EVERY w if q is the exact posterior (methods.md, to 1e-10)."""
    x, y, q, evidence = linear_gaussian()
    noise = generator(1, "noise")
    for _ in range(100):
        draw = draw_weights(q, noise)
        nll = -gaussian_log_prob(y, draw["w"] * x, 0.5).sum()
        loss = negative_elbo(nll, kl_mc(make_prior("gaussian"), q, draw), temperature=1.0, share=1.0)
        assert float(-loss) == pytest.approx(evidence, abs=1e-10)


def test_the_closed_elbo_at_the_exact_posterior_is_the_log_evidence():
    x, y, q, evidence = linear_gaussian()
    mean, scale = q["w"]
    expected_nll = -gaussian_log_prob(y, mean * x, 0.5).sum() + (scale**2 * x**2).sum() / (2 * 0.5**2)
    loss = negative_elbo(expected_nll, kl_closed(make_prior("gaussian"), q, {}), temperature=1.0, share=1.0)
    assert float(-loss) == pytest.approx(evidence, abs=1e-10)


def wide_posterior(n: int = 40):
    g = generator(0, "q")
    return {
        "w": Normal(*(torch.rand(n, dtype=torch.float64, generator=g) * s + o for s, o in ((0.4, -0.2), (0.2, 0.01))))
    }


@pytest.mark.parametrize("name", [n for n, p in PRIORS.items() if hasattr(p, "kl")])
@pytest.mark.parametrize("estimator", ["mc", "mc_detached"])
def test_monte_carlo_and_closed_kl_agree(name, estimator):
    prior, q, noise = make_prior(name), wide_posterior(), generator(2, "noise")
    values = torch.stack([KL[estimator](prior, q, draw_weights(q, noise)) for _ in range(4000)])
    standard_error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - kl_closed(prior, q, {})) < 4 * standard_error


def test_kl_auto_takes_the_closed_form_where_there_is_one():
    chosen = {name: kl_name("auto", make_prior(name)) for name in PRIORS}
    assert chosen == {
        "gaussian": "closed", "gaussian_mixture": "mc", "laplace": "closed", "laplace_mixture": "mc", "student_t": "mc",
    }  # fmt: skip
    with pytest.raises(ValueError, match="kl='closed' does not exist for StudentT"):
        kl_name("closed", make_prior("student_t"))


def gradients(loss: torch.Tensor, parameters) -> torch.Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


def test_a1_detaching_the_mean_leaves_the_gradient_unbiased_and_adds_eps_over_sigma():
    """The released KL gradient in the mean differs by -eps / sigma: the mathematics cancels it draw by draw."""
    mean = torch.tensor([0.3, -0.1], dtype=torch.float64, requires_grad=True)
    scale, eps = torch.tensor([0.05, 0.2], dtype=torch.float64), torch.tensor([1.2, -0.7], dtype=torch.float64)
    q, prior = {"w": Normal(mean, scale)}, make_prior("gaussian")
    draw = {"w": mean + scale * eps}
    exact, released = (gradients(f(prior, q, draw), [mean]) for f in (kl_mc, kl_mc_detached))
    torch.testing.assert_close(released - exact, -eps / scale)
    torch.testing.assert_close(kl_mc(prior, q, draw), kl_mc_detached(prior, q, draw))


def test_a1_the_added_noise_lowers_the_signal_to_noise_of_the_gradient():
    prior, noise = make_prior("gaussian"), generator(0, "noise")
    mean = torch.full((200,), 0.2, dtype=torch.float64, requires_grad=True)
    q = {"w": Normal(mean, torch.full((200,), 0.02, dtype=torch.float64))}
    ratio = {}
    for name in ("mc", "mc_detached"):
        g = torch.stack([gradients(KL[name](prior, q, draw_weights(q, noise)), [mean]) for _ in range(200)])
        ratio[name] = float((g.mean(0).abs() / g.std(0)).mean())
    # mean / p^2 = 20 in both; standard deviation sigma / p^2 = 2 exactly, sqrt(50^2 + ...) ~ 48 as released.
    assert ratio["mc"] == pytest.approx(10, rel=0.1)
    assert ratio["mc_detached"] == pytest.approx(20 / 48, rel=0.1)


@pytest.mark.parametrize("batch_size", [1, 7, 20])
@pytest.mark.parametrize("prior", ["gaussian", "laplace"])
def test_the_minibatches_of_an_epoch_sum_to_the_full_objective(batch_size, prior):
    config = Config.preview(prior=prior, temperature=0.3, batch_size=batch_size, precision="float64")
    model = network(init_rho_low=-60.0, init_rho_high=-60.0)
    inputs = network_input(X, dtype=torch.float64)
    p, noise = make_prior(prior), generator(0, "noise")
    with torch.no_grad():
        parts = [
            minibatch_terms(model, inputs[i], Y[i], p, config, n_train=20, generator=noise).loss
            for i in torch.arange(20).split(batch_size)
        ]
        with one_draw(model, noise):
            nll = -log_likelihood(model(inputs), Y).sum()
        full = nll + 0.3 * kl_closed(p, posterior(model), {})
    torch.testing.assert_close(torch.stack(parts).sum(), full, rtol=1e-12, atol=0)


def test_as_released_the_last_smaller_batch_weighs_as_much_as_the_others():
    model = network(init_rho_low=-60.0, init_rho_high=-60.0)
    inputs, p = network_input(X[:5], dtype=torch.float64), make_prior("gaussian")
    terms = {}
    for switches in ((), ("kl_per_batch",)):
        config = Config.preview(batch_size=8, precision="float64", as_released=switches)
        t = minibatch_terms(model, inputs, Y[:5], p, config, n_train=20, generator=generator(0, "noise"))
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
                rows.append(gradients(log_likelihood(layer(x), y).sum(), [layer.weight_mean, layer.weight_rho]))
        found[scope] = torch.stack(rows)
    difference = found[one_draw].mean(0) - found[local_draw].mean(0)
    standard_error = ((found[one_draw].var(0) + found[local_draw].var(0)) / 3000).sqrt()
    assert (difference.abs() < 4 * standard_error).all()
    assert found[local_draw].var(0).sum() < found[one_draw].var(0).sum()


def test_h_agrees_with_mpmath_over_its_range():
    mpmath.mp.dps = 50

    def h(a):
        a = mpmath.mpf(a)
        return a / (1 - mpmath.e**a) ** 2 + 1 / (mpmath.e**a * (1 - mpmath.e**a))

    alphas = -torch.logspace(math.log10(8), -6, 400, dtype=torch.float64)
    exact = torch.tensor([float(h(float(a))) for a in alphas], dtype=torch.float64)
    torch.testing.assert_close(second_order_jensen(alphas), exact, rtol=1e-7, atol=0)
    assert float(second_order_jensen(torch.zeros(()))) == 0.5


@pytest.mark.parametrize("tight", [False, True])
def test_second_order_jensen_holds_for_every_two_point_posterior(tight):
    """log E p >= E l + E V; two independent draws of a two-point posterior differ half of the time."""
    g = generator(0, "l")
    l1, l2 = (-5 * torch.rand(4000, dtype=torch.float64, generator=g) for _ in range(2))
    v = pac2_variance(l1, l2, tight=tight)
    exact = torch.logaddexp(l1, l2) - math.log(2)
    assert (v >= 0).all()
    assert ((l1 + l2) / 2 + v / 2 <= exact + 1e-12).all()


@pytest.mark.parametrize("objective", ["pac2", "pac2_t"])
def test_a2_the_variance_term_has_a_gradient_unless_as_released(objective):
    model, inputs, p = network(), network_input(X[:6], dtype=torch.float64), make_prior("gaussian")
    found = {}
    for key, name, switches in (("elbo2", "pac2", ("detached_variance",)), ("pac", objective, ())):
        config = Config.preview(objective=name, precision="float64", as_released=switches)
        terms = minibatch_terms(model, inputs, Y[:6], p, config, n_train=6, generator=generator(0, "noise"))
        reference = terms.nll + 0.01 * terms.kl
        parameters = list(model.parameters())
        found[key] = gradients(terms.loss, parameters) if key == "pac" else None
        if key == "elbo2":
            assert (reference - terms.loss).item() > 0
            again = minibatch_terms(model, inputs, Y[:6], p, config, n_train=6, generator=generator(0, "noise"))
            plain = gradients(again.nll + 0.01 * again.kl, parameters)
            torch.testing.assert_close(gradients(terms.loss, parameters), plain, rtol=0, atol=0)
    assert (found["pac"] - plain).abs().max() > 1e-6 * plain.abs().max()


def test_a_deterministic_network_has_no_complexity_cost():
    model, inputs = network(method="map"), network_input(X[:4], dtype=torch.float64)
    config = Config.preview(method="map", precision="float64")
    terms = minibatch_terms(
        model, inputs, Y[:4], make_prior("gaussian"), config, n_train=4, generator=generator(0, "n")
    )
    assert terms.kl.item() == 0
    torch.testing.assert_close(terms.loss, nn.functional.cross_entropy(model(inputs), Y[:4], reduction="sum"))


class Symmetric(nn.Module):
    """A network that sees brightness alone, so turning an image changes nothing."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(torch.stack([x.mean((1, 2, 3)), x.square().mean((1, 2, 3))], -1))


@pytest.mark.parametrize("average", ["logits", "probs"])
def test_an_invariant_network_has_the_plain_likelihood(average):
    layer = BayesLinear(2, 2).double()
    nn.init.normal_(layer.weight_mean, generator=generator(0, "init"))
    model, x = Symmetric(layer), normalise(X[:5], torch.float64)
    with one_draw(model, generator(0, "noise")), torch.no_grad():
        plain, orbit = (log_likelihood(orbit_forward(model, x, name), Y[:5]) for name in ("none", average))
    torch.testing.assert_close(orbit, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("average", ["logits", "probs"])
def test_the_orbit_likelihood_has_the_gradient_of_the_average_by_hand(average):
    model, dense, y = network(), normalise(X[:4], torch.float64), Y[:4]
    config = Config.preview(augmentation=f"orbit_{average}", precision="float64")
    terms = minibatch_terms(
        model, network_input(X[:4], dtype=torch.float64), y, make_prior("gaussian"), config, n_train=4,
        generator=generator(0, "noise"),
    )  # fmt: skip
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


def test_wenzels_cold_posterior_is_a_tempered_likelihood_with_a_narrower_prior():
    """E[-log p(w)] - T H at scale s minus T KL at scale s sqrt(T) is the same number for every q."""
    scale, temperature = 0.1, 0.03
    found = []
    for shift in (0.0, 0.4, 2.0):
        q = {name: Normal(p.mean + shift, p.scale * (1 + shift)) for name, p in wide_posterior().items()}
        mean, sigma = q["w"]
        expected = (0.5 * math.log(2 * math.pi) + math.log(scale) + (mean**2 + sigma**2) / (2 * scale**2)).sum()
        entropy = (0.5 * math.log(2 * math.pi * math.e) + sigma.log()).sum()
        narrower = Gaussian(cold_posterior_scale(scale, temperature))
        found.append(float(expected - temperature * entropy - temperature * kl_closed(narrower, q, {})))
    assert found == pytest.approx([found[0]] * 3, rel=1e-10)
