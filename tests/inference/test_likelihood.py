import numpy as np
import pytest
import torch
from scenarios import closeness, images, network
from torch import nn

from radio_bnn.config import choices
from radio_bnn.inference.likelihood import LIKELIHOODS, log_mean_probs, mean_logits
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
            log_prob(forward(model, x), Y) for forward, log_prob in (LIKELIHOODS["categorical"], LIKELIHOODS[name])
        )
    torch.testing.assert_close(orbit, plain, rtol=1e-12, atol=1e-12)
