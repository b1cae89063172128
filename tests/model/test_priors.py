import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from radio_bnn.model.priors import PRIORS, TITLES, GaussianMixture, Laplace, LaplaceMixture, log_densities, make_prior

SCIPY = {
    "gaussian_fan_in": lambda w: stats.norm.logpdf(w, scale=1.0),
    "gaussian": lambda w: stats.norm.logpdf(w, scale=0.1),
    "laplace": lambda w: stats.laplace.logpdf(w, scale=1.0),
    "gaussian_mixture": lambda w: np.log(0.75 * stats.norm.pdf(w) + 0.25 * stats.norm.pdf(w, scale=9e-4)),
    "laplace_mixture": lambda w: np.log(0.75 * stats.laplace.pdf(w) + 0.25 * stats.laplace.pdf(w, scale=1e-3)),
    "student_t": lambda w: stats.t.logpdf(w, df=3, scale=0.1),
}


@pytest.mark.parametrize("name", PRIORS)
def test_integrates_to_one(name):
    def density(w):
        return float(make_prior(name).log_prob(torch.tensor(w, dtype=torch.float64)).exp())

    edges = [0, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, np.inf]
    half = sum(integrate.quad(density, a, b, epsabs=1e-12)[0] for a, b in zip(edges, edges[1:], strict=False))
    assert 2 * half == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", PRIORS)
def test_log_density_agrees_with_scipy(name):
    w = np.linspace(-0.5, 0.5, 101)
    np.testing.assert_allclose(make_prior(name).log_prob(torch.tensor(w)).numpy(), SCIPY[name](w), rtol=1e-12)


@pytest.mark.parametrize("name", [n for n, p in PRIORS.items() if hasattr(p, "kl")])
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 0.1), (0.3, 0.02), (-2.0, 1.5), (0.001, 1e-4)])
def test_closed_kl_equals_its_integral(name, mean, scale):
    prior = make_prior(name)

    def integrand(w):
        log_q = stats.norm.logpdf(w, mean, scale)
        return math.exp(log_q) * (log_q - float(prior.log_prob(torch.tensor(w, dtype=torch.float64))))

    points = sorted({max(min(p, mean + 12 * scale), mean - 12 * scale) for p in (mean, 0.0)})
    edges = [mean - 12 * scale, *points, mean + 12 * scale]
    exact = sum(integrate.quad(integrand, a, b, limit=200)[0] for a, b in zip(edges, edges[1:], strict=False) if a < b)
    closed = prior.kl(torch.tensor(mean, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))
    assert float(closed) == pytest.approx(exact, rel=1e-8)


def test_the_kl_of_the_gaussian_prior_to_itself_is_zero():
    prior = make_prior("gaussian", scale=0.3)
    assert float(prior.kl(torch.tensor(0.0), torch.tensor(0.3))) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("shape", [(4, 25), (3, 2, 5, 5)])
def test_the_prior_by_fan_in_keeps_the_size_of_an_output_whatever_the_width(shape):
    """The sum of fan_in terms w x with x of unit size has the variance scale^2; a bias has it by itself."""
    fan_in, w = math.prod(shape[1:]), torch.randn(shape, dtype=torch.float64)
    prior, single = make_prior("gaussian_fan_in", scale=0.5), make_prior("gaussian", scale=0.5 / math.sqrt(fan_in))
    assert prior.of(w) == single and prior.of(w[:, 0].flatten()[:3]).scale == 0.5
    assert fan_in * single.scale**2 == pytest.approx(0.25)
    torch.testing.assert_close(prior.log_prob(w), single.log_prob(w))
    torch.testing.assert_close(prior.kl(w, w.abs()), single.kl(w, w.abs()))


@pytest.mark.parametrize("prior", [GaussianMixture, LaplaceMixture])
def test_a4_mixtures_stay_finite_in_log_space_and_vanish_as_released(prior):
    far = torch.tensor([30.0, -40.0])
    assert torch.isfinite(prior().log_prob(far)).all()
    if prior is GaussianMixture:
        assert torch.isinf(prior(summed=True).log_prob(far)).all()
    near = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(prior(summed=True).log_prob(near), prior().log_prob(near))


@pytest.mark.parametrize("name", PRIORS)
def test_far_from_zero_the_gradient_is_finite(name):
    w = torch.tensor([30.0, -1e3], requires_grad=True)
    make_prior(name).log_prob(w).sum().backward()
    assert torch.isfinite(w.grad).all()


def test_bad_names_and_scales_are_refused_by_name():
    with pytest.raises(ValueError, match="prior='cauchy'.*gaussian"):
        make_prior("cauchy")
    with pytest.raises(ValueError, match="two scales"):
        make_prior("laplace_mixture", scale=0.1)
    assert make_prior("laplace", scale=0.2) == Laplace(0.2)


def test_every_prior_has_a_title():
    assert TITLES.keys() == PRIORS.keys()


def test_log_densities_are_those_of_every_prior_of_a_single_weight():
    found = log_densities(np.array([0.0, 0.2]))
    assert list(found) == [title for name, title in TITLES.items() if name != "gaussian_fan_in"]
    np.testing.assert_allclose(found["Gaussian"], SCIPY["gaussian"](np.array([0.0, 0.2])))
