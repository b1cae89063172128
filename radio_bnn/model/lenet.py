"""The network of the paper: LeNet-5 with two more convolutions, Bayesian, deterministic or with dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radio_bnn.config import Config
from radio_bnn.model.layers import Dropout
from radio_bnn.model.priors import make_prior
from radio_bnn.model.sparse import Windows, conv_pool_relu

CHANNELS = (6, 16, 26, 32)
HIDDEN = (120, 84)
CLASSES = 2
FLAT = CHANNELS[-1] * 7 * 7


class LeNet(nn.Module):
    """Four 5 x 5 convolutions (1-6-16-26-32, padding 1), each with 2 x 2 max-pool and ReLU, then 1568-120-84-2.

    x (N, 1, 150, 150), normalised pixels, or ``Windows`` of them -> logits (N, 2). 232,444 weights and biases.
    Pooling comes before ReLU, which gives the same numbers for less work.
    """

    def __init__(self, conv: Callable[..., nn.Module], linear: Callable[..., nn.Module], *, dropout: float = 0.0):
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            conv(n_in, n_out, 5, padding=1) for n_in, n_out in pairwise((1, *CHANNELS))
        )
        self.fc1, self.fc2, self.fc3 = linear(FLAT, HIDDEN[0]), linear(*HIDDEN), linear(HIDDEN[1], CLASSES)
        self.dropout2, self.dropout3 = Dropout(dropout), Dropout(dropout)

    def forward(self, x: Tensor | Windows) -> Tensor:
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv_pool_relu(conv, x)
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.relu(self.fc2(self.dropout2(x)))
        return self.fc3(self.dropout3(x))


def initialised(model: LeNet, config: Config, generator: torch.Generator) -> LeNet:
    """``model`` with the start that ``config`` asks for, in its precision.

    ``init`` "uniform": means ~ U(-0.1, 0.1) (published); "he": weight means ~ N(0, 2 / fan_in), biases 0; "prior":
    a draw from the Gaussian prior.
    Fully-connected weight means are then multiplied by ``init_fc_scale``. rho ~ U(init_rho_low, init_rho_high).
    The value of a point layer counts as its mean.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _initialise(name, parameter, config, generator)
    return model.to(torch.float64 if config.precision == "float64" else torch.float32)


def _initialise(name: str, parameter: Tensor, config: Config, generator: torch.Generator) -> None:
    if name.endswith("_rho"):
        parameter.uniform_(config.init_rho_low, config.init_rho_high, generator=generator)
    elif config.init == "uniform":
        parameter.uniform_(-0.1, 0.1, generator=generator)
    elif config.init == "prior":
        prior = make_prior(config.prior, scale=config.prior_scale)
        parameter.normal_(0.0, getattr(prior, "of", lambda _: prior)(parameter).scale, generator=generator)
    elif "bias" in name:
        parameter.zero_()
    else:
        parameter.normal_(0.0, math.sqrt(2 / parameter[0].numel()), generator=generator)
    if name.startswith("fc") and "weight" in name and not name.endswith("_rho"):
        parameter.mul_(config.init_fc_scale)
