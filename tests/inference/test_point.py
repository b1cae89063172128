import pytest
import torch
from scenarios import images, network
from torch import nn
from torch.distributions import Laplace, Normal

from radio_bnn.config import Config
from radio_bnn.inference import point
from radio_bnn.inference.method import Batch, State
from radio_bnn.inference.resolve import resolve
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import Linear
from radio_bnn.seeds import generator

ZERO = torch.zeros((), dtype=torch.float64)
X, Y = images(6), torch.arange(6) % 2


def terms_of(model, config, batch, *, with_prior):
    return point.objective(resolve(config), model, batch, generator=generator(0, "noise"), with_prior=with_prior)


def test_maximum_likelihood_minimises_the_cross_entropy_alone():
    model, inputs = network(method="ml"), network_input(X, dtype=torch.float64)
    config = Config.preview(method="ml", precision="float64")
    terms = terms_of(model, config, Batch(inputs, Y, 6), with_prior=False)
    assert terms.kl.item() == 0
    torch.testing.assert_close(terms.loss, nn.functional.cross_entropy(model(inputs), Y, reduction="sum"))


@pytest.mark.parametrize(("prior", "density"), [("gaussian", Normal(ZERO, 0.1)), ("laplace", Laplace(ZERO, 1.0))])
def test_the_minibatches_of_an_epoch_sum_to_the_negative_log_posterior(prior, density):
    model, inputs = network(method="map"), network_input(X, dtype=torch.float64)
    config = Config.preview(method="map", prior=prior, temperature=0.3, batch_size=4, precision="float64")
    parts = [terms_of(model, config, Batch(inputs[i], Y[i], 6), with_prior=True).loss for i in torch.arange(6).split(4)]
    log_prior = sum(density.log_prob(w).sum() for w in model.parameters())
    whole = nn.functional.cross_entropy(model(inputs), Y, reduction="sum") - 0.3 * log_prior
    torch.testing.assert_close(sum(parts), whole, rtol=1e-12, atol=0)


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = Linear(1, 1)

    def forward(self, x):
        return self.fc(x)


def test_map_settles_where_likelihood_and_prior_balance():
    """y = w x + b with unit noise and N(0, s) is ridge regression: (X^T X + T / s^2)^-1 X^T y."""
    x = torch.randn(20, 1, dtype=torch.float64, generator=generator(0, "x"))
    y = 2 * x[:, 0] + 0.5
    design = torch.cat([x, torch.ones_like(x)], 1)
    config = Config(method="map", prior_scale=0.2, temperature=0.5, batch_size=20, epochs=1)
    problem = resolve(config)
    gaussian = problem.likelihood._replace(log_prob=lambda mean, target: -((target - mean[:, 0]) ** 2) / 2)
    problem = type(problem)(config, problem.prior, gaussian, problem.method)
    model = Regression().double()
    state = State(problem, model, torch.optim.Adam(model.parameters(), lr=0.02), generator(0, "noise"))
    for _ in range(3000):
        problem.method.step(state, Batch(x, y, 20))
    ridge = torch.linalg.solve(design.T @ design + 0.5 / 0.2**2 * torch.eye(2), design.T @ y)
    torch.testing.assert_close(
        torch.stack([model.fc.weight[0, 0], model.fc.bias[0]]).detach(), ridge, rtol=1e-6, atol=0
    )
