"""The plain implementation that the benchmarks compare with: Bayes by Backprop as a competent user writes it.

One module per layer, each drawing its own noise; log q(w) - log p(w) through autograd; contiguous layout; ReLU before
pooling; ordinary Adam; prediction in a loop over samples. It imports nothing from radio_bnn.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal


class BayesLayer(nn.Module):
    """Weight and bias with a Gaussian posterior; remembers log q - log p of its last draw."""

    def __init__(self, *weight_shape: int) -> None:
        super().__init__()
        self.weight_mu = nn.Parameter(torch.empty(weight_shape).normal_(0, math.sqrt(2 / math.prod(weight_shape[1:]))))
        self.weight_rho = nn.Parameter(torch.full(weight_shape, -4.5))
        self.bias_mu = nn.Parameter(torch.zeros(weight_shape[0]))
        self.bias_rho = nn.Parameter(torch.full(weight_shape[:1], -4.5))
        self.prior = Normal(0.0, 0.1)
        self.kl = torch.zeros(())

    def draw(self) -> tuple[Tensor, Tensor]:
        drawn, self.kl = [], 0.0
        for mu, rho in ((self.weight_mu, self.weight_rho), (self.bias_mu, self.bias_rho)):
            posterior = Normal(mu, torch.exp(rho))
            value = posterior.rsample()
            self.kl = self.kl + (posterior.log_prob(value) - self.prior.log_prob(value)).sum()
            drawn.append(value)
        return tuple(drawn)


class BayesConv(BayesLayer):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, *self.draw(), padding=1)


class BayesDense(BayesLayer):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.draw())


class PeerLeNet(nn.Module):
    """The same 232,444 weights as radio_bnn's LeNet."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (1, 6, 16, 26, 32)
        self.convs = nn.ModuleList(BayesConv(n_out, n_in, 5, 5) for n_in, n_out in pairwise(sizes))
        self.dense = nn.ModuleList([BayesDense(120, 1568), BayesDense(84, 120), BayesDense(2, 84)])

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.max_pool2d(F.relu(conv(x)), 2)
        x = x.flatten(1)
        for layer in self.dense[:-1]:
            x = F.relu(layer(x))
        return self.dense[-1](x)

    def kl(self) -> Tensor:
        return sum(layer.kl for layer in [*self.convs, *self.dense])


def train_step(model: PeerLeNet, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, weight: float) -> Tensor:
    """One step on a minibatch: sum NLL + weight x KL."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y, reduction="sum") + weight * model.kl()
    loss.backward()
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def predict_batched(model: PeerLeNet, x: Tensor, samples: int, batch_size: int = 50) -> Tensor:
    """A loop over samples with images in batches; (S, N, 2). Each batch draws its own weights."""
    return torch.stack([torch.cat([model(part) for part in x.split(batch_size)]) for _ in range(samples)])


@torch.no_grad()
def predict_singly(model: PeerLeNet, x: Tensor, samples: int) -> Tensor:
    """One image and one sample at a time; (S, N, 2)."""
    return torch.stack([torch.stack([model(image[None])[0] for image in x]) for _ in range(samples)])
