from dataclasses import replace

import pytest
import torch
from scenarios import images

from radio_bnn.config import Config
from radio_bnn.inference import vi
from radio_bnn.inference.method import Batch, adam
from radio_bnn.inference.resolve import resolve
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import posterior
from radio_bnn.seeds import generator

X = network_input(images(12), dtype=torch.float64)
Y = torch.arange(12) % 2
KINDS = [
    {},
    {"estimator": "shared"},
    {"prior": "laplace_mixture"},
    {"prior": "laplace_mixture", "estimator": "shared"},
    {"prior": "laplace", "objective": "pac2"},
    {"prior": "student_t", "estimator": "shared", "objective": "pac2_t"},
    {"method": "map"},
    {"method": "dropout"},
    {"method": "ensemble", "members": 2, "estimator": "shared"},
]


def config_of(changes):
    return Config.annealed(**{"precision": "float64", "temperature": 0.3, **changes})


def plain_steps(config, steps):
    """The same training with one optimiser entry for every tensor and one term of the complexity for every tensor."""
    problem = resolve(config)
    state = adam(problem, device="cpu")
    model = problem.method.network(config, generator(config.seed, "init"))
    rho = [p for n, p in model.named_parameters() if n.endswith("_rho")]
    mean = [p for n, p in model.named_parameters() if not n.endswith("_rho")]
    rates = zip((mean, rho), (config.learning_rate, config.rho_learning_rate), strict=True)
    groups = [{"params": p, "lr": rate, "base": rate, "rho": False} for p, rate in rates if p]
    optimizer = torch.optim.Adam(groups, betas=(0.9, config.adam_beta2))
    state = replace(state, model=model, optimizer=optimizer, flat={})
    for _ in range(steps):
        if config.method == "vi":
            optimizer.zero_grad()
            vi.objective(problem, model, Batch(X, Y, 30), generator=state.noise).loss.backward()
            optimizer.step()
        else:
            problem.method.step(state, Batch(X, Y, 30))
    return model, optimizer


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_one_vector_trains_as_one_tensor_after_the_other_does(changes):
    config = config_of(changes)
    state = adam(resolve(config), device="cpu")
    noise = []
    for _ in range(3):
        state.problem.method.step(state, Batch(X, Y, 30))
        noise.append(state.noise.get_state())
    model, optimizer = plain_steps(config, 3)
    if config.kl_estimator == "closed" or config.estimator == "shared" or config.method != "vi":
        for (name, found), expected in zip(state.model.named_parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, msg=name)
        moments = {n.removesuffix("_mean"): optimizer.state[p]["exp_avg_sq"] for n, p in model.named_parameters()}
        for name, moment in state.second_moment().items():
            torch.testing.assert_close(moment, moments[name], rtol=1e-8, atol=1e-20, msg=name)
    else:  # the noise of the complexity is drawn in another order
        assert all(torch.isfinite(p).all() for p in state.model.parameters())


def test_the_parameters_are_views_of_the_vectors_also_after_loading():
    state = adam(resolve(config_of({})), device="cpu")
    state.model.load_state_dict({name: torch.ones_like(p) for name, p in state.model.state_dict().items()})
    assert bool((state.flat["mean"] == 1).all() and (state.flat["rho"] == 1).all())
    before = state.flat["rho"].detach().clone()
    for group in state.optimizer.param_groups:
        group["lr"] = 0.1
    state.problem.method.step(state, Batch(X, Y, 30))
    rho = torch.cat([p.flatten() for n, p in state.model.named_parameters() if n.endswith("_rho")])
    assert torch.equal(rho, state.flat["rho"]) and not torch.equal(rho, before)


@pytest.mark.parametrize("prior", ["gaussian", "laplace"])
def test_the_divergence_of_one_vector_is_that_of_its_parts_and_so_is_its_gradient(prior):
    problem = resolve(config_of({"prior": prior}))
    state, other = adam(problem, device="cpu"), problem.method.network(problem.config, generator(122, "init"))
    q = {vi.ALL: vi.Normal(state.flat["mean"], state.flat["rho"].exp())}
    whole, parts = vi.KL["closed"](problem.prior, q, {}), vi.KL["closed"](problem.prior, posterior(other), {})
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=0)
    whole.backward(), parts.backward()
    gradients = torch.cat([p.grad.flatten() for n, p in other.named_parameters() if not n.endswith("_rho")])
    torch.testing.assert_close(state.flat["mean"].grad, gradients, rtol=1e-12, atol=1e-15)


def test_second_moments_have_the_names_and_shapes_of_the_weights_and_begin_with_the_first_step():
    state = adam(resolve(config_of({})), device="cpu")
    assert state.second_moment() == {}
    state.problem.method.step(state, Batch(X, Y, 30))
    q = posterior(state.model)
    assert {k: v.shape for k, v in state.second_moment().items()} == {k: v.mean.shape for k, v in q.items()}
