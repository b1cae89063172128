"""Stochastic-gradient Hamiltonian Monte Carlo with cyclical steps (Chen et al. 2014; Zhang et al. 2020).

It samples p(D | w)^(1/T) p(w), the tempered posterior that a variational family only approximates: the energy
U(w) = -log p(D | w) - T log p(w) at temperature T. The integrator, the masses and the thermometers are those of Wenzel
et al. (2020). A run is one chain; other chains have other seeds.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from radio_bnn.config import THERMOMETERS, Config
from radio_bnn.inference import point
from radio_bnn.inference.ensemble import Ensemble, scope
from radio_bnn.inference.method import Batch, Method, Problem, State, Terms, autocast, holding_rate, joined
from radio_bnn.seeds import generator

EXPLORING = 0.5  # share of a cycle that forgets the one before; its gradients make the masses, and no draw is kept
SHORTEST = 0.1  # of the squared step at the end of a cycle, over that at its beginning
SMALLEST = 1e-7  # squared gradient per galaxy, below which all masses are equal (Wenzel et al. 2020)


class Place(NamedTuple):
    """In which ``cycle`` a step is, and at which of its ``length`` steps, the first ``exploring`` of which explore."""

    cycle: int
    index: int
    length: int
    exploring: int

    @property
    def samples(self) -> bool:
        """Whether draws of the posterior are kept here."""
        return self.index >= self.exploring

    @property
    def factor(self) -> float:
        """The factor on the learning rate: a cosine from 1 to 0 along the cycle, but at least SHORTEST."""
        return max((1 + math.cos(math.pi * self.index / self.length)) / 2, SHORTEST)

    def keeps(self, draws: int) -> int | None:
        """Which of the ``draws`` per cycle is kept after this step, evenly spaced up to the last; None of most."""
        steps, done = self.length - self.exploring, self.index - self.exploring
        before, after = (max(n, 0) * draws // steps for n in (done, done + 1))
        return before if after > before else None


def place(count: int, config: Config, n_train: int) -> Place:
    """The place of step ``count`` (0, 1, ...) in a training on ``n_train`` galaxies."""
    length = config.epochs // config.cycles * -(-n_train // config.batch_size)
    return Place(*divmod(count, length), length, int(EXPLORING * length))


class Chain(Ensemble):
    """The ``members`` are the kept draws in their order, and until one is drawn what came before it.

    ``kinetic`` and ``configurational`` (cycles, L): the temperature of each of the L tensors of weights, the mean over
    the steps of every cycle that sample. In equilibrium with short steps the second is T, and the first 2 T / (1 + b)
    with the ``momentum`` b: a step's noise enters the momenta whole, 2 (1 - b) T, of which friction leaves
    1 / (1 - b^2), while the positions have the temperature T.
    """

    def __init__(self, members: list[nn.Module], cycles: int) -> None:
        super().__init__(members)
        tensors = len(list(members[0].parameters()))
        for name in THERMOMETERS:
            self.register_buffer(name, torch.zeros(cycles, tensors, dtype=torch.float64))


@dataclass
class Walk(State):
    """The State of a chain: ``model`` holds its draws, ``walker`` the network that moves.

    ``flat``: "mean", the weights of the walker, "momentum" and "mass", (d,) each; ``squares`` (L,): the squared
    gradient per galaxy of each tensor, summed over the steps that explore; ``count``: the steps made.
    """

    walker: nn.Module | None = None
    squares: Tensor | None = None
    count: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed chain needs to continue bit for bit."""
        flat = {name: value.detach().clone() for name, value in self.flat.items()}
        return super().state_dict() | {"flat": flat, "squares": self.squares, "count": self.count}

    @torch.no_grad()
    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        super().load_state_dict(content)
        for name, value in self.flat.items():
            value.copy_(content["flat"][name])
        self.squares, self.count = content["squares"], content["count"]


def network(config: Config, generator: torch.Generator) -> Chain:
    """The chain before its first step: every draw is the network as initialised, as "map" starts with the same seed."""
    first = point.network(config, generator)
    return Chain([first, *(copy.deepcopy(first) for _ in range(config.members - 1))], config.cycles)


def start(problem: Problem, *, device: str) -> Walk:
    """A walker at rest at the initialised network."""
    config = problem.config
    model = problem.method.network(config, generator(config.seed, "init")).to(device)
    walker = copy.deepcopy(model.members[0])
    names, parameters = zip(*walker.named_parameters(), strict=True)
    position = joined(parameters)
    flat = {"mean": position, "momentum": torch.zeros_like(position), "mass": torch.ones_like(position)}
    noise = generator(config.seed, "noise", device=device)
    squares = torch.zeros(len(names), dtype=torch.float64, device=device)
    return Walk(problem, model, holding_rate(position, config), noise, flat, list(names), walker, squares)


def step(state: Walk, batch: Batch) -> Terms:
    """One step of symplectic Euler with friction and noise.

    m <- b m - h grad U + sqrt(2 (1 - b) T) R, w <- w + h m / M, with R ~ N(0, M), b the ``momentum`` of the config and
    h^2 = learning_rate x factor / N. grad U is that of the minibatch's NLL times N / B, and of -T log p(w).
    """
    config, position = state.problem.config, state.flat["mean"]
    at = place(state.count, config, batch.n_train)
    position.grad.zero_()  # the parameters' gradients are views of it
    with autocast(config.precision, device=batch.labels.device.type):
        terms = point.objective(state.problem, state.walker, batch, generator=state.noise, with_prior=True)
    (terms.loss * (batch.n_train / len(batch.labels))).backward()
    with torch.no_grad():
        _change_stage(state, at, batch.n_train)
        h = math.sqrt(state.optimizer.param_groups[0]["lr"] * at.factor / batch.n_train)
        advance(state, h)
        if at.samples:
            _read(state, at)
    state.count += 1
    return terms


def advance(state: Walk, h: float) -> None:
    """The step itself, in place."""
    config, momentum = state.problem.config, state.flat["momentum"]
    momentum.mul_(config.momentum).sub_(state.flat["mean"].grad, alpha=h)
    momentum.add_(thermal(state), alpha=math.sqrt(2 * (1 - config.momentum) * config.temperature))
    state.flat["mean"].addcdiv_(momentum, state.flat["mass"], value=h)


def thermal(state: Walk) -> Tensor:
    """N(0, M), (d,): momenta of a unit temperature."""
    mass = state.flat["mass"]
    return mass.sqrt() * torch.randn(mass.shape, generator=state.noise, dtype=mass.dtype, device=mass.device)


def _change_stage(state: Walk, at: Place, n_train: int) -> None:
    """A cycle begins with unit masses, which follow the gradients while it explores, and with momenta at T."""
    flat, config = state.flat, state.problem.config
    if at.index == 0:
        state.squares.zero_()
    if not at.samples:
        state.squares += per_tensor(state, (flat["mean"].grad / n_train).square())
        flat["mass"].copy_(masses(state, at.index + 1))
    if at.index in (0, at.exploring):
        flat["momentum"].copy_(thermal(state) * math.sqrt(config.temperature))


def masses(state: Walk, steps: int) -> Tensor:
    """A mass for each tensor of weights, the root mean square of its gradients over that of all tensors' mean; (d,)."""
    scale = (SMALLEST + state.squares / steps).sqrt()
    sizes = torch.tensor([p.numel() for p in state.walker.parameters()], device=scale.device)
    middle = ((scale.log() * sizes).sum() / sizes.sum()).exp()
    return (scale / middle).repeat_interleave(sizes).to(state.flat["mass"].dtype)


def per_tensor(state: Walk, values: Tensor) -> Tensor:
    """The mean over each tensor of weights, (d,) -> (L,) float64."""
    sizes = [p.numel() for p in state.walker.parameters()]
    return torch.stack([part.mean(dtype=torch.float64) for part in values.split(sizes)])


def _read(state: Walk, at: Place) -> None:
    """What a step that samples leaves: temperatures, and a draw where one is due."""
    flat, config = state.flat, state.problem.config
    steps = at.length - at.exploring
    read = {"kinetic": flat["momentum"].square() / flat["mass"], "configurational": flat["mean"] * flat["mean"].grad}
    for name, values in read.items():
        getattr(state.model, name)[at.cycle] += per_tensor(state, values) / steps
    draws = config.members // config.cycles
    if (kept := at.keeps(draws)) is not None:
        for member in state.model.members[at.cycle * draws + kept :]:
            member.load_state_dict(state.walker.state_dict())


METHOD = Method(network, start=start, step=step, scope=scope)
