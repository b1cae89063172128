"""Linear and convolutional layers, Bayesian (a mean and a rho = log sigma for every weight) or with one value each.

A draw is a scope: inside ``with one_draw(model) as draw`` every forward uses the same weights; outside, each forward
draws afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Draw = dict[str, Tensor]


class Normal(NamedTuple):
    """A mean-field Gaussian over one tensor of weights: ``mean`` and ``scale`` (standard deviation), same shape."""

    mean: Tensor
    scale: Tensor


class _Layer(nn.Module):
    """Weight and bias that a scope may replace by a draw."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn: tuple[Tensor, Tensor] | None = None
        self._noise: torch.Generator | None = None

    def weights(self) -> tuple[Tensor, Tensor]:
        """The weight and bias of the scope, or the layer's own outside one."""
        return self._drawn if self._drawn is not None else self.draw()

    def leave_scope(self) -> None:
        self._drawn = self._noise = None


class _BayesLayer(_Layer):
    """Weight and bias with a factorised Gaussian posterior, N(mean, exp(rho)^2)."""

    def __init__(self, weight_shape: tuple[int, ...]) -> None:
        super().__init__()
        bias_shape = weight_shape[:1]
        self.weight_mean = nn.Parameter(torch.zeros(weight_shape))
        self.weight_rho = nn.Parameter(torch.full(weight_shape, -4.5))
        self.bias_mean = nn.Parameter(torch.zeros(bias_shape))
        self.bias_rho = nn.Parameter(torch.full(bias_shape, -4.5))

    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """weight, bias ~ q: mean + exp(rho) eps with eps ~ N(0, 1), differentiable in mean and rho."""
        return _perturb(self.weight_mean, self.weight_rho, generator), _perturb(
            self.bias_mean, self.bias_rho, generator
        )

    def mean(self) -> tuple[Tensor, Tensor]:
        """The means of weight and bias."""
        return self.weight_mean, self.bias_mean


class _PointLayer(_Layer):
    """Weight and bias with one value each; every draw is that value."""

    def __init__(self, weight_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(weight_shape))
        self.bias = nn.Parameter(torch.zeros(weight_shape[:1]))

    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """weight, bias; nothing is drawn."""
        return self.weight, self.bias

    mean = draw


class _Linear(_Layer):
    """y = x W^T + b. x (N, in_features) -> (N, out_features)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__((out_features, in_features))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, *self.weights())


class _Conv2d(_Layer):
    """A 2-D convolution of stride 1. x (N, in_channels, H, W) -> (N, out_channels, H', W')."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0) -> None:
        super().__init__((out_channels, in_channels, kernel_size, kernel_size))
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, *self.weights(), padding=self.padding)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor, *, padding: int) -> Tensor:
    """``F.conv2d``; in bfloat16 also fast on processors without instructions for it, see ``rounded``."""
    return rounded(F.conv2d, x, weight, bias, padding=padding)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear``; in bfloat16 also fast on processors without instructions for it, see ``rounded``."""
    return rounded(F.linear, x, weight, bias)


def rounded(operation: Callable[..., Tensor], *tensors: Tensor, **options: int) -> Tensor:
    """An ``operation`` of sums of products under the precision of autocast.

    In bfloat16 on a processor without instructions for it torch falls back to loops, many times slower, that also
    round the sums of a convolution's gradients. Here products of numbers rounded to bfloat16 are summed in float32, as
    by such instructions, and what comes out is rounded.
    """
    if tensors[0].device.type != "cpu" or not _reduced() or has_bfloat16():
        return operation(*tensors, **options)
    with torch.autocast("cpu", enabled=False):
        return operation(*(t.to(torch.bfloat16).float() for t in tensors), **options).to(torch.bfloat16)


def convolves_in_bfloat16() -> bool:
    """Whether a convolution here and now is one in bfloat16, and by instructions for it."""
    return _reduced() and has_bfloat16()


def _reduced() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def has_bfloat16() -> bool:
    """Whether this processor has the instructions with which torch multiplies and convolves in bfloat16."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Linear(_Linear, _PointLayer):
    """y = x W^T + b. x (N, in_features) -> (N, out_features)."""


class Conv2d(_Conv2d, _PointLayer):
    """A 2-D convolution, stride 1. x (N, in_channels, H, W) -> (N, out_channels, H', W')."""


class BayesLinear(_Linear, _BayesLayer):
    """y = x W^T + b with W, b ~ q. x (N, in_features) -> (N, out_features)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self._noise is None else self._local(x, self._noise)

    def _local(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the outputs instead of the weights (Kingma, Salimans & Welling 2015): independent for each row."""
        mean = linear(x, self.weight_mean, self.bias_mean)
        variance = linear(x.square(), torch.exp(2 * self.weight_rho), torch.exp(2 * self.bias_rho))
        return mean + variance.sqrt() * _randn_like(mean, generator)


class BayesConv2d(_Conv2d, _BayesLayer):
    """A 2-D convolution, stride 1, with weights ~ q. x (N, in_channels, H, W) -> (N, out_channels, H', W')."""


class Dropout(nn.Module):
    """Monte Carlo dropout: x m / (1 - p) with m ~ Bernoulli(1 - p), in training and in prediction alike.

    Inside ``one_draw`` one mask serves every item (a draw is one network); outside, each item has its own.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._noise: torch.Generator | None = None
        self._seed: int | None = None
        self._off = False

    def leave_scope(self) -> None:
        self._noise = self._seed = None
        self._off = False

    def forward(self, x: Tensor) -> Tensor:
        if self._off or self.p == 0:
            return x
        generator, shape = self._noise, x.shape
        if self._seed is not None:
            generator, shape = torch.Generator(x.device).manual_seed(self._seed), x.shape[1:]
        keep = torch.rand(shape, generator=generator, device=x.device) >= self.p
        return x * keep / (1 - self.p)


@contextmanager
def one_draw(model: nn.Module, generator: torch.Generator | None = None) -> Iterator[Draw]:
    """Draw every weight of ``model`` once; forwards inside the scope use that draw.

    Yields {"conv1.weight": Tensor, ...}, differentiable. Without ``generator``, torch's default one is used.
    """
    draw: Draw = {}
    try:
        for name, layer in _stochastic(model):
            if isinstance(layer, Dropout):
                layer._seed = int(torch.randint(2**62, (), generator=generator, device=_device(generator)))
            else:
                layer._drawn = draw[f"{name}.weight"], draw[f"{name}.bias"] = layer.draw(generator)
        yield draw
    finally:
        _clear(model)


@contextmanager
def local_draw(model: nn.Module, generator: torch.Generator) -> Iterator[Draw]:
    """As ``one_draw`` for convolutions; linear layers draw their outputs (local reparameterisation).

    The likelihood gradient is as unbiased as with ``one_draw`` and less noisy. Yields the drawn convolutions.
    """
    draw: Draw = {}
    try:
        for name, layer in _stochastic(model):
            if isinstance(layer, BayesConv2d):
                layer._drawn = draw[f"{name}.weight"], draw[f"{name}.bias"] = layer.draw(generator)
            else:
                layer._noise = generator
        yield draw
    finally:
        _clear(model)


@contextmanager
def posterior_mean(model: nn.Module) -> Iterator[None]:
    """Forwards inside the scope use the posterior means, and no dropout: one deterministic network."""
    try:
        for _, layer in _stochastic(model):
            if isinstance(layer, Dropout):
                layer._off = True
            else:
                layer._drawn = layer.mean()
        yield
    finally:
        _clear(model)


@contextmanager
def given(model: nn.Module, draw: Draw) -> Iterator[Draw]:
    """Put a stored draw in force: forwards inside the scope use the weights of ``draw``, and no dropout.

    ``draw`` is named as ``one_draw`` yields it. Raises KeyError for a missing name.
    """
    try:
        for name, layer in _stochastic(model):
            if isinstance(layer, Dropout):
                layer._off = True
            else:
                layer._drawn = draw[f"{name}.weight"], draw[f"{name}.bias"]
        yield draw
    finally:
        _clear(model)


@contextmanager
def recorded(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """What enters and leaves each layer in the forwards of the scope: {name: (input, output)}."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = []
    for name, layer in layers.items():
        hooks.append(
            layer.register_forward_hook(lambda _, given, out, name=name: seen.__setitem__(name, (given[0], out)))
        )
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def posterior(model: nn.Module) -> dict[str, Normal]:
    """The variational posterior: {"conv1.weight": Normal(mean, scale = exp(rho)), ...}, differentiable."""
    out = {}
    for name, layer in _stochastic(model):
        if isinstance(layer, _BayesLayer):
            out[f"{name}.weight"] = Normal(layer.weight_mean, layer.weight_rho.exp())
            out[f"{name}.bias"] = Normal(layer.bias_mean, layer.bias_rho.exp())
    return out


@torch.no_grad()
def load_posterior(model: nn.Module, q: dict[str, Normal]) -> nn.Module:
    """Copy ``q`` into the layers of ``model`` (in place) and return it. Raises KeyError for a missing name."""
    for name, layer in _stochastic(model):
        if isinstance(layer, _BayesLayer):
            for part in ("weight", "bias"):
                mean, scale = q[f"{name}.{part}"]
                getattr(layer, f"{part}_mean").copy_(mean)
                getattr(layer, f"{part}_rho").copy_(scale.log())
    return model


def draw_weights(q: dict[str, Normal], generator: torch.Generator | None = None) -> Draw:
    """One draw of all weights of ``q``, by name; differentiable in its means and scales."""
    return {name: mean + scale * _randn_like(mean, generator) for name, (mean, scale) in q.items()}


def _stochastic(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((n, m) for n, m in model.named_modules() if isinstance(m, (_Layer, Dropout)))


def _clear(model: nn.Module) -> None:
    for _, layer in _stochastic(model):
        layer.leave_scope()


def _perturb(mean: Tensor, rho: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.addcmul(mean, rho.exp(), _randn_like(mean, generator))


def _randn_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _device(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device
