import math

import pytest
import torch
from scenarios import images, network
from torch import nn

from radio_bnn.config import Config
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import BayesLinear
from radio_bnn.model.priors import make_prior
from radio_bnn.paper.audit import budget, cost, gradient_to_noise, variance_gradient
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
