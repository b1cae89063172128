"""What every inference method is made of: one problem, one state, four functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from radio_bnn.config import Config
from radio_bnn.inference.likelihood import Likelihood
from radio_bnn.model.layers import Draw, one_draw
from radio_bnn.model.priors import Prior
from radio_bnn.model.sparse import Windows
from radio_bnn.seeds import generator

Scope = Callable[[nn.Module, torch.Generator, int], AbstractContextManager]
Shared = Callable[[nn.Module, Tensor | Windows], Tensor]


class Method(NamedTuple):
    """An inference method: from a prior and data to something that can predict.

    ``network(config, generator)``: the initialised network. ``start(problem, *, device)``: the State before the first
    step. ``step(state, batch)``: one step of the optimiser, in place, and its Terms. ``scope(model, generator,
    sample)``: the context in which a forward is posterior sample number ``sample`` (0, 1, ...). ``finish(state, x,
    labels)``, of a method that looks once more at all training galaxies when its last step is done: in place.
    ``shared(model, x)``, of a method whose samples differ in their last layer alone: what ``model`` takes in place of
    x, computed once.
    """

    network: Callable[[Config, torch.Generator], nn.Module]
    start: Callable[..., State]
    step: Callable[[State, Batch], Terms]
    scope: Scope
    finish: Callable[[State, Tensor | Windows, Tensor], None] | None = None
    shared: Shared | None = None


@dataclass(frozen=True)
class Problem:
    """What a Config asks for, resolved once: its ``prior``, ``likelihood`` and ``method``."""

    config: Config
    prior: Prior
    likelihood: Likelihood
    method: Method


@dataclass
class State:
    """What training changes: the network, its optimiser, and the stream of its noise.

    ``flat``: "mean" and, of a variational posterior, "rho", each one vector of which the network's parameters are views
    and its gradients views of the vector's gradient, in the order of ``names``.
    """

    problem: Problem
    model: nn.Module
    optimizer: torch.optim.Optimizer
    noise: torch.Generator
    flat: dict[str, Tensor] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed training needs to continue bit for bit."""
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return parts | {"noise": self.noise.get_state()}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.noise.set_state(content["noise"].cpu())

    def second_moment(self) -> dict[str, Tensor]:
        """Adam's running second moment of the gradient of every mean, by weight; empty before the first step.

        What the released code calls Fisher information.
        """
        found = self.optimizer.state[self.flat["mean"]].get("exp_avg_sq")
        if found is None:
            return {}
        parameters = dict(self.model.named_parameters())
        parts = found.split([parameters[name].numel() for name in self.names])
        return {
            name.removesuffix("_mean"): part.view_as(parameters[name]).clone()
            for name, part in zip(self.names, parts, strict=True)
        }


class Batch(NamedTuple):
    """A minibatch: ``x`` network input of B images, ``labels`` (B,), and the ``n_train`` images it is taken from."""

    x: Tensor | Windows
    labels: Tensor
    n_train: int

    def share(self, config: Config) -> float:
        """The weight of the complexity cost: the minibatch's share of the training set, so that an epoch sums to 1.

        As released it is 1 / number of minibatches, also in a last, smaller one.
        """
        if "kl_per_batch" in config.as_released:
            return 1 / -(-self.n_train // config.batch_size)
        return len(self.labels) / self.n_train


class Terms(NamedTuple):
    """The objective of one minibatch and its parts.

    ``loss`` to minimise, ``nll`` summed over images, ``kl`` in nats (0 for a point estimate, which has none).
    """

    loss: Tensor
    nll: Tensor
    kl: Tensor


def sampled(model: nn.Module, generator: torch.Generator, sample: int = 0) -> AbstractContextManager[Draw]:
    """The scope of a network that draws for itself: each sample is a fresh draw from ``generator``."""
    return one_draw(model, generator)


def adam(problem: Problem, *, device: str) -> State:
    """Adam on the initialised network, one vector for all means and one, with a rate of its own, for all rhos."""
    config = problem.config
    model = problem.method.network(config, generator(config.seed, "init")).to(device)
    parts = {"mean": [], "rho": []}
    for name, parameter in model.named_parameters():
        parts["rho" if name.endswith("_rho") else "mean"].append((name, parameter))
    flat = {part: joined([p for _, p in members]) for part, members in parts.items() if members}
    rates = {"mean": config.learning_rate, "rho": config.rho_learning_rate}
    groups = [{"params": [x], "lr": rates[k], "base": rates[k], "rho": k == "rho"} for k, x in flat.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, config.adam_beta2), weight_decay=config.weight_decay, fused=True)
    noise = generator(config.seed, "noise", epoch=len(config.path), device=device)
    return State(problem, model, optimizer, noise, flat, [name for name, _ in parts["mean"]])


def holding_rate(vector: Tensor, config: Config) -> torch.optim.Optimizer:
    """An optimiser that only holds the scheduled rate, for a method that makes its steps itself."""
    return torch.optim.SGD(
        [{"params": [vector], "lr": config.learning_rate, "base": config.learning_rate, "rho": False}]
    )


@torch.no_grad()
def joined(parameters: Sequence[nn.Parameter]) -> Tensor:
    """One vector, a leaf with a gradient, of which ``parameters`` become views, and their gradients of its gradient."""
    vector = torch.cat([p.flatten() for p in parameters])
    gradient = torch.zeros_like(vector)
    start = 0
    for p in parameters:
        part = slice(start, start + p.numel())
        p.data, p.grad = vector[part].view_as(p), gradient[part].view_as(p)
        start = part.stop
    vector.requires_grad_(True).grad = gradient
    return vector


def descend(state: State, terms: Terms) -> Terms:
    """One step of the optimiser down the gradient of ``terms.loss``; returns ``terms``."""
    state.optimizer.zero_grad(set_to_none=False)  # the parameters' gradients are views of these
    terms.loss.backward()
    state.optimizer.step()
    return terms


def autocast(precision: str, *, device: str) -> AbstractContextManager:
    """The context in which a forward runs at ``precision``: bfloat16 autocast for "bf16", else nothing."""
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()
