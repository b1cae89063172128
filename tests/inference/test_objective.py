import math

import mpmath
import pytest
import torch
from scenarios import gradients

from radio_bnn.inference.objective import (
    KL,
    cold_posterior_scale,
    kl_closed,
    kl_mc,
    kl_mc_detached,
    negative_elbo,
    pac2_variance,
    released_variance,
    second_order_jensen,
)
from radio_bnn.model.layers import Normal, draw_weights
from radio_bnn.model.priors import PRIORS, Gaussian, gaussian_log_prob, make_prior
from radio_bnn.seeds import generator


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


def test_a2_the_released_variance_is_another_asymmetric_and_without_gradient():
    """a = 1, b = 1/2 give 1/2, exchanged -1/4; the mathematics gives (1/2 - 1/4)^2 / 4 both ways."""
    p = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    found = released_variance(p.log(), other.log())
    assert found.tolist() == pytest.approx([0.5, -0.25, 0.0])
    assert not found.requires_grad
    assert pac2_variance(p.log(), other.log(), tight=False).tolist() == pytest.approx([1 / 64, 1 / 64, 0.0])


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
