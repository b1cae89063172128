import numpy as np
import pytest
import torch
from scenarios import closeness, galaxies, images, network
from torch import nn

from radio_bnn.config import choices
from radio_bnn.inference.likelihood import LIKELIHOODS, REJECTED, curation, log_mean_probs, mean_logits, targets
from radio_bnn.model.inputs import D4, d4_element, network_input, normalise
from radio_bnn.model.layers import BayesLinear, one_draw
from radio_bnn.seeds import generator

Y = torch.arange(5) % 2


def test_the_choices_of_config_are_the_registry():
    assert choices("likelihood") == tuple(LIKELIHOODS)


def test_the_probabilities_of_the_labels_sum_to_one():
    logits = torch.randn(5, 2, dtype=torch.float64, generator=generator(0, "x"))
    for likelihood in (LIKELIHOODS[name] for name in ("categorical", "orbit_logits", "orbit_probs")):
        total = sum(likelihood.log_prob(logits, torch.full((5,), label)).exp() for label in (0, 1))
        torch.testing.assert_close(total, torch.ones_like(total))


def test_the_control_knows_no_label_and_is_largest_where_the_network_guesses():
    logits = torch.randn(50, 2, dtype=torch.float64, generator=generator(0, "x"))
    fri, frii = (LIKELIHOODS["label_free"].log_prob(logits, torch.full((50,), label)) for label in (0, 1))
    of_labels = [LIKELIHOODS["categorical"].log_prob(logits, torch.full((50,), label)) for label in (0, 1)]
    assert torch.equal(fri, frii)
    torch.testing.assert_close(fri, sum(of_labels) / 2)
    assert (fri < -np.log(2)).all()
    guess = LIKELIHOODS["label_free"].log_prob(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
    assert float(guess) == pytest.approx(-np.log(2))


@pytest.mark.parametrize("labellers", [2, 5, 10])
def test_what_labellers_make_of_an_image_has_the_probabilities_of_asking_them(labellers):
    logits = torch.tensor([[0.3, -0.2], [2.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    of = {y: curation(logits, torch.full((3,), y), labellers=labellers).exp() for y in (0, 1, REJECTED)}
    torch.testing.assert_close(sum(of.values()), torch.ones(3, dtype=torch.float64), rtol=1e-12, atol=0)
    p = torch.softmax(logits, -1)[:, 1].numpy()
    votes = np.random.default_rng(0).binomial(labellers, p, (200_000, 3))
    for y, agreed in ((0, votes == 0), (1, votes == labellers), (REJECTED, (votes > 0) & (votes < labellers))):
        np.testing.assert_allclose(agreed.mean(axis=0), of[y].numpy(), atol=0.005)


def test_a_rejected_galaxy_pulls_a_sure_network_back_however_sure_it_is():
    logits = torch.tensor([[40.0, -40.0], [-8.0, 9.0]], requires_grad=True)
    curation(logits, torch.tensor([REJECTED, REJECTED]), labellers=10).sum().backward()
    assert torch.isfinite(logits.grad).all()
    torch.testing.assert_close(logits.grad[0], torch.tensor([-1.0, 1.0]), rtol=1e-5, atol=0)
    assert logits.grad[1, 0] > 0.99


def test_classes_count_for_what_a_network_has_learnt_and_rejections_do_not():
    logits = torch.randn(4, 2, dtype=torch.float64, generator=generator(0, "x"))
    y = torch.tensor([0, 1, REJECTED, REJECTED])
    found = LIKELIHOODS["curation"].of_class(logits, y)
    torch.testing.assert_close(found[:2], LIKELIHOODS["categorical"].log_prob(logits[:2], y[:2]))
    assert not found[2:].any()
    unsure = torch.tensor([0, 1, 2, 3])
    torch.testing.assert_close(
        LIKELIHOODS["dirichlet"].of_class(logits, unsure), LIKELIHOODS["categorical"].log_prob(logits, unsure % 2)
    )


def test_the_noisy_dirichlet_is_that_of_log_normals_that_match_the_gammas_moments():
    """log of a Gamma(a, 1) variable has about the mean log a - s^2 / 2 and the variance s^2 = log(1 / a + 1)."""
    logits = torch.tensor([[1.0, -2.0], [0.5, 0.1]], dtype=torch.float64)
    by_hand = []
    for f, alpha in zip(logits.numpy(), ([1.01, 0.01], [0.3, 1.3]), strict=True):
        a = np.array(alpha)
        s2 = np.log(1 / a + 1)
        by_hand.append((-((f - np.log(a) + s2 / 2) ** 2) / (2 * s2) - np.log(2 * np.pi * s2) / 2).sum())
    found = LIKELIHOODS["dirichlet"].log_prob(logits, torch.tensor([0, 3]))
    np.testing.assert_allclose(found.numpy(), by_hand, rtol=1e-12)


def test_labels_are_what_the_likelihood_reads():
    toys = galaxies()
    plain, curated, unsure = (targets(name, toys) for name in ("categorical", "curation", "dirichlet"))
    known = toys.confident & (toys.morphology < 3)
    assert np.array_equal(plain, toys.labels) and np.array_equal(curated[known], toys.labels[known])
    assert (curated[~known] == REJECTED).all() and (~known).sum() == 12
    assert np.array_equal(unsure % 2, toys.labels) and np.array_equal(unsure >= 2, ~toys.confident)


def dense_orbit(pixels: np.ndarray) -> list[torch.Tensor]:
    """The eight views made by numpy, without the package's own turns or windows."""
    flipped = pixels[:, :, ::-1]
    views = [np.rot90(p, k, axes=(1, 2)) for p in (pixels, flipped) for k in range(4)]
    return [normalise(np.ascontiguousarray(view), torch.float64) for view in views]


BY_HAND = {
    "orbit_logits": lambda views: sum(views) / 8,
    "orbit_probs": lambda views: (sum(torch.softmax(view, -1) for view in views) / 8).log(),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_orbit_average_is_the_average_over_eight_turned_images(name):
    model, pixels = network(), images(3)
    with one_draw(model, generator(0, "noise")), torch.no_grad():
        found = LIKELIHOODS[name].forward(model, network_input(pixels, dtype=torch.float64))
        by_hand = BY_HAND[name]([model(view) for view in dense_orbit(pixels)])
    assert closeness(found, by_hand) < 1e-12


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("element", D4)
def test_the_orbit_average_is_invariant_and_the_network_is_not(name, element):
    model, x = network(), network_input(images(2), dtype=torch.float64)
    with one_draw(model, generator(0, "noise")), torch.no_grad():
        turned, forward = d4_element(x, element), LIKELIHOODS[name].forward
        assert closeness(forward(model, turned), forward(model, x)) < 1e-12
        if element:
            assert closeness(model(turned), model(x)) > 1e-6


def test_averages_of_equal_views_are_the_view_and_of_unequal_views_differ():
    view = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    same, opposed = view.expand(8, 1, 2), torch.stack([view, -2 * view] * 4)
    torch.testing.assert_close(mean_logits(same), view)
    torch.testing.assert_close(log_mean_probs(same), view.log_softmax(-1))
    assert (mean_logits(opposed).softmax(-1) - log_mean_probs(opposed).exp()).abs().max() > 0.05


class Symmetric(nn.Module):
    """A network that sees brightness alone, so turning an image changes nothing."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(torch.stack([x.mean((1, 2, 3)), x.square().mean((1, 2, 3))], -1))


@pytest.mark.parametrize("name", BY_HAND)
def test_an_invariant_network_has_the_plain_likelihood(name):
    layer = BayesLinear(2, 2).double()
    nn.init.normal_(layer.weight_mean, generator=generator(0, "init"))
    model, x = Symmetric(layer), normalise(images(5), torch.float64)
    with one_draw(model, generator(0, "noise")), torch.no_grad():
        plain, orbit = (
            log_prob(forward(model, x), Y) for forward, log_prob, _ in (LIKELIHOODS["categorical"], LIKELIHOODS[name])
        )
    torch.testing.assert_close(orbit, plain, rtol=1e-12, atol=1e-12)
