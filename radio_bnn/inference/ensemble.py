"""A deep ensemble (Lakshminarayanan et al. 2017): M "map" networks that differ by their start, as one run."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from radio_bnn.config import Config
from radio_bnn.inference import point
from radio_bnn.inference.method import Batch, Method, State, Terms, adam, autocast, descend
from radio_bnn.model.layers import Draw, given
from radio_bnn.model.sparse import Windows


class Ensemble(nn.Module):
    """M networks of one kind; a forward uses the first, or the member that ``scope`` puts in force."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor | Windows) -> Tensor:
        """Logits of one member, x (N, 1, H, W) or Windows -> (N, C)."""
        return self.members[0](x)


def network(config: Config, generator: torch.Generator) -> Ensemble:
    """``config.members`` networks, initialised one after the other: the first as the "map" network of the same seed."""
    return Ensemble([point.network(config, generator) for _ in range(config.members)])


def step(state: State, batch: Batch) -> Terms:
    """One step of Adam on the sum of the members' objectives, so that each trains as if alone; nll is their mean.

    All see the same minibatches.
    """
    with autocast(state.problem.config.precision, device=batch.labels.device.type):
        each = [
            point.objective(state.problem, member, batch, generator=state.noise, with_prior=True)
            for member in state.model.members
        ]
    loss, nll, kl = (torch.stack(parts) for parts in zip(*each, strict=True))
    return descend(state, Terms(loss.sum(), nll.mean(), kl.sum()))


def scope(model: Ensemble, generator: torch.Generator, sample: int = 0) -> AbstractContextManager[Draw]:
    """Posterior sample number ``sample``: the weights of that member, counted round and round; nothing is drawn."""
    member = model.members[sample % len(model.members)]
    return given(model.members[0], dict(member.named_parameters()))


METHOD = Method(network, start=adam, step=step, scope=scope)
