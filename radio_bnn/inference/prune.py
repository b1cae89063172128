"""Pruning a posterior: rank its weights by importance, remove the least important ones, and measure what that saves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from radio_bnn.files import replacing
from radio_bnn.inference.predict import BATCH_SIZE
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import Draw, Normal, one_draw, posterior, posterior_mean, recorded
from radio_bnn.model.sparse import Windows
from radio_bnn.progress import bar

REMOVED_SCALE = 1e-10
DECIBEL_EDGES = np.linspace(-40, 30, 36)  # bins of signal_to_noise_counts, dB
REGIMES = ("likelihood", "between", "prior")

Posterior = dict[str, Normal]
Importance = dict[str, Tensor]


def fully_connected(q: Posterior) -> list[str]:
    """The names of the fully-connected weights, the only ones that the paper prunes (no biases, no convolutions)."""
    return [name for name in q if name.startswith("fc") and name.endswith("weight")]


def frozen(model: nn.Module) -> Posterior:
    """The posterior of ``model`` as a copy that no longer changes with it and carries no gradient."""
    return {k: Normal(mean.detach().clone(), scale.detach().clone()) for k, (mean, scale) in posterior(model).items()}


# Signal-to-noise


def signal_to_noise(q: Posterior) -> Importance:
    """|mean| / scale of every weight, by name; shown in dB as 10 log10 (Blundell et al. 2015)."""
    return {name: mean.abs() / scale for name, (mean, scale) in q.items()}


def signal_to_noise_counts(q: Posterior, edges: np.ndarray = DECIBEL_EDGES) -> dict[str, np.ndarray]:
    """Weights per bin of 10 log10 SNR, {weight tensor: (B,)}; ``edges`` (B + 1,) in dB, the end bins are open."""
    counts = {}
    for name, ratio in signal_to_noise(q).items():
        if name.endswith("weight"):
            decibel = 10 * ratio.double().clamp_min(1e-30).log10().flatten().cpu().numpy()
            middle = (edges[1:] + edges[:-1]) / 2
            counts[name] = np.histogram(np.clip(decibel, middle[0], middle[-1]), edges)[0]
    return counts


# Fisher information


def fisher_information(
    model: nn.Module,
    x: Tensor | Windows,
    labels: Tensor | None = None,
    *,
    draws: int = 0,
    generator: torch.Generator | None = None,
    batch_size: int = BATCH_SIZE,
) -> Importance:
    """Diagonal F_k = mean_n E_y g_nk^2 of the fully-connected weights, g_n = d log p(y | x_n, w) / dw; {name: F >= 0}.

    Per-example gradients, exact: that of a linear weight is the outer product of the gradient at its output and of its
    input. Without ``labels`` y ~ p(y | x_n, w), summed over the classes: the true Fisher information. With ``labels``
    (N,): the empirical one. At the posterior mean, or averaged over ``draws`` of the weights from ``generator``.
    Batch-summed gradients, as in an optimiser's second moment, would be another quantity.
    """
    layers = {f"{name}.weight": layer for name, layer in model.named_modules() if name.startswith("fc")}
    sums: Importance = {}
    for _ in range(max(draws, 1)):
        with one_draw(model, generator) if draws else posterior_mean(model):
            for start in range(0, len(x), batch_size):
                rows = slice(start, start + batch_size)
                chosen = None if labels is None else labels[rows]
                for name, squares in _squared_gradients(model, layers, x[rows], chosen).items():
                    sums[name] = sums.get(name, 0) + squares
    return {name: total / (len(x) * max(draws, 1)) for name, total in sums.items()}


def _squared_gradients(
    model: nn.Module, layers: Mapping[str, nn.Module], x: Tensor | Windows, labels: Tensor | None
) -> Importance:
    """sum_n E_y g_nk^2 over the images x."""
    with recorded(layers) as seen:
        log_p = model(x).log_softmax(-1)
    if labels is None:
        terms = list(zip(log_p.T, log_p.detach().exp().T, strict=True))
    else:
        chosen = log_p.gather(1, labels.unsqueeze(1))[:, 0]
        terms = [(chosen, torch.ones_like(chosen))]
    outputs, sums = [output for _, output in seen.values()], dict.fromkeys(seen, 0)
    for value, weight in terms:
        gradients = torch.autograd.grad(value.sum(), outputs, retain_graph=True)
        for (name, (taken, _)), gradient in zip(seen.items(), gradients, strict=True):
            sums[name] = sums[name] + (weight.unsqueeze(1) * gradient.square()).T @ taken.detach().square()
    return sums


# Rankings


def saliency(q: Posterior, fisher: Importance) -> Importance:
    """mean^2 F / 2, the loss of log-likelihood per image if a weight is set to 0 (LeCun, Denker & Solla 1990)."""
    return {name: q[name].mean.square() * information / 2 for name, information in fisher.items()}


class Sources(NamedTuple):
    """What a ranking may rest on: a posterior, its Fisher information, Adam's second moment, and chance.

    ``second_moment`` is the optimiser's, of the gradient of the means of the tempered loss, which has the prior in it
    and squares the sum over a minibatch; empty where it was not kept.
    """

    q: Posterior
    fisher: Importance
    second_moment: Importance
    generator: torch.Generator


def _magnitude(sources: Sources) -> Importance:
    return {name: sources.q[name].mean.abs() for name in fully_connected(sources.q)}


def _random(sources: Sources) -> Importance:
    q, generator = sources.q, sources.generator
    return {
        n: torch.rand(q[n].mean.shape, generator=generator, device=generator.device).to(q[n].mean.device)
        for n in fully_connected(q)
    }


def _released(sources: Sources) -> Importance:
    return {n: sources.second_moment[n] for n in fully_connected(sources.q)} if sources.second_moment else {}


IMPORTANCE: dict[str, Callable[[Sources], Importance]] = {
    "snr": lambda sources: signal_to_noise(sources.q),
    "fisher": lambda sources: saliency(sources.q, sources.fisher),
    "fisher_alone": lambda sources: sources.fisher,
    "released_fisher": _released,
    "magnitude": _magnitude,
    "random": _random,
}
"""Rankings by name: low importance is removed first. What a ranking has no source for is empty."""
OPTIONAL = ("released_fisher",)  # rankings that a posterior may lack the source of
TITLES = {
    "snr": "signal-to-noise",
    "fisher": "Fisher saliency",
    "fisher_alone": "Fisher alone",
    "released_fisher": "Adam's second moment (as released)",
    "magnitude": "magnitude",
    "random": "random",
}


def importances(
    q: Posterior, fisher: Importance, second_moment: Importance | None = None, *, generator: torch.Generator
) -> dict[str, Importance]:
    """Every ranking of IMPORTANCE that has its source, {ranking: {name: importance}}, see ``Sources``."""
    sources = Sources(q, fisher, second_moment or {}, generator)
    return {ranking: found for ranking, rank in IMPORTANCE.items() if (found := rank(sources))}


# Removal


def prune(
    q: Posterior,
    importance: Importance,
    fraction: float,
    *,
    names: Sequence[str] | None = None,
    per_layer: bool = False,
) -> Posterior:
    """A new posterior without the least important ``fraction`` (0..1) of the weights in ``names``.

    Removed weights get mean 0 and a vanishing scale, as in the paper; nothing is trained again. The ranking is over all
    ``names`` together (default: the fully-connected weights), or ``per_layer`` within each of them.
    Raises ValueError for a fraction outside 0..1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction={fraction} must lie between 0 and 1")
    names = fully_connected(q) if names is None else list(names)
    pruned = dict(q)
    for group in [[name] for name in names] if per_layer else [names]:
        gone = _least(torch.cat([importance[name].flatten() for name in group]), fraction)
        for name, part in zip(group, gone.split([q[name].mean.numel() for name in group]), strict=True):
            mean, scale = q[name]
            part = part.view_as(mean)
            pruned[name] = Normal(mean.masked_fill(part, 0.0), scale.masked_fill(part, REMOVED_SCALE))
    return pruned


def prune_mixed(q: Posterior, importance: Importance, fraction: float, *, share: float = 0.3) -> Posterior:
    """The mixed rule of the paper: ``fraction`` (1 - ``share``) by magnitude, then ``fraction`` x ``share`` by
    ``importance`` among the rest. ``share`` 1 is ``prune`` by importance, 0 by magnitude.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share} must lie between 0 and 1")
    first = prune(q, {name: q[name].mean.abs() for name in fully_connected(q)}, fraction * (1 - share))
    rest = {name: importance[name].masked_fill(~kept(first[name]), -torch.inf) for name in fully_connected(q)}
    return prune(first, rest, fraction)


def kept(weights: Normal) -> Tensor:
    """Which weights of a pruned posterior remain; boolean, same shape."""
    return weights.scale > 2 * REMOVED_SCALE


def _least(importance: Tensor, fraction: float) -> Tensor:
    gone = torch.zeros(len(importance), dtype=torch.bool, device=importance.device)
    gone[importance.argsort(stable=True)[: round(fraction * len(importance))]] = True
    return gone


def predict_pruned(
    model: nn.Module,
    rankings: Mapping[str, Importance],
    x: np.ndarray | Tensor | Windows,
    fractions: Sequence[float],
    *,
    samples: int,
    generator: torch.Generator,
    batch_size: int = BATCH_SIZE,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Logits of ``model`` pruned by each ranking to each fraction: {ranking: (F, S, N, C)} float32.

    As ``predict`` of each pruned posterior with the same draws, so that all differ by the pruning alone. The
    convolutions, which no pruning touches, are evaluated once per draw.
    """
    q, names = frozen(model), [name.removesuffix(".weight") for name in fully_connected(posterior(model))]
    pruned = {r: [prune(q, importance, fraction) for fraction in fractions] for r, importance in rankings.items()}
    masks = {r: [{n: kept(p[f"{n}.weight"]) for n in names} for p in posteriors] for r, posteriors in pruned.items()}
    if isinstance(x, np.ndarray):
        x = network_input(x, dtype=q[f"{names[0]}.weight"].mean.dtype, device=q[f"{names[0]}.weight"].mean.device)
    rows: dict[str, list[Tensor]] = {ranking: [] for ranking in rankings}
    with torch.inference_mode():
        for _ in bar(range(samples), desc="prune", unit="draw", leave=False, show=progress):
            with one_draw(model, generator) as draw:
                features = torch.cat([_head_input(model, x[i : i + batch_size]) for i in range(0, len(x), batch_size)])
            for ranking, kept_by_fraction in masks.items():
                rows[ranking].append(torch.stack([_pruned_head(draw, mask, features) for mask in kept_by_fraction]))
    return {ranking: torch.stack(logits, 1).float().cpu().numpy() for ranking, logits in rows.items()}


def _head_input(model: nn.Module, x: Tensor | Windows) -> Tensor:
    """What enters the first fully-connected layer; (N, D)."""
    with recorded({"fc1": model.fc1}) as seen:
        model(x)
    return seen["fc1"][0]


def _pruned_head(draw: Draw, mask: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """Logits of the fully-connected layers of one draw without the weights outside ``mask``."""
    x = features
    for i, (name, remaining) in enumerate(mask.items()):
        x = F.linear(F.relu(x) if i else x, draw[f"{name}.weight"] * remaining, draw[f"{name}.bias"])
    return x


# Which curvature a posterior holds


def regimes(q: Posterior, prior_scale: float, *, factor: float = 10.0) -> dict[str, dict[str, float]]:
    """Shares of the weights, by tensor, where likelihood or prior sets the scale of a converged Gaussian posterior.

    There 1 / scale^2 = H / T + 1 / prior_scale^2. "likelihood": H / T exceeds ``factor`` / prior_scale^2, and SNR^2 / 2
    ranks as saliency does; "prior": it stays below 1 / (``factor`` prior_scale^2), and SNR ranks as magnitude does;
    "between": neither. {name: {regime: share}}, each name summing to 1.
    """
    shares = {}
    for name in fully_connected(q):
        excess = (prior_scale / q[name].scale.double()).square() - 1
        likelihood, prior = (excess > factor), (excess < 1 / factor)
        each = (likelihood, ~likelihood & ~prior, prior)
        shares[name] = {regime: float(part.double().mean()) for regime, part in zip(REGIMES, each, strict=True)}
    return shares


# A smaller file and a sparse product


def export(q: Posterior, path: Path, *, sparse: bool = True) -> int:
    """Write ``compact`` of ``q``, compressed and atomically, and return the file's bytes. ``path`` ends in .npz."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **compact(q, sparse=sparse))
    return path.stat().st_size


def compact(q: Posterior, *, sparse: bool = True) -> dict[str, np.ndarray]:
    """Means and log scales of ``q`` as float16 arrays by name.

    ``sparse`` keeps, of each fully-connected tensor, one bit per weight and the numbers of those that remain; otherwise
    every number is kept.
    """
    arrays = {}
    for name, weights in q.items():
        mean, rho = (part.detach().cpu().numpy().astype(np.float16) for part in (weights.mean, weights.scale.log()))
        if sparse and name in fully_connected(q):
            mask = kept(weights).cpu().numpy()
            arrays[f"{name}.kept"], arrays[f"{name}.shape"] = np.packbits(mask), np.array(mask.shape)
            mean, rho = mean[mask], rho[mask]
        arrays |= {f"{name}.mean": mean, f"{name}.rho": rho}
    return arrays


def restored(arrays: Mapping[str, np.ndarray]) -> Posterior:
    """The posterior that ``compact`` made these arrays of, in float32; removed weights are as ``prune`` left them.

    Raises KeyError for a missing array.
    """
    q = {}
    for name in [key.removesuffix(".mean") for key in arrays if key.endswith(".mean")]:
        mean, scale = (torch.from_numpy(arrays[f"{name}.{part}"].astype(np.float32)) for part in ("mean", "rho"))
        scale = scale.exp()
        if f"{name}.kept" in arrays:
            shape = tuple(arrays[f"{name}.shape"].tolist())
            mask = np.unpackbits(arrays[f"{name}.kept"], count=math.prod(shape)).astype(bool).reshape(shape)
            mask, parts = torch.from_numpy(mask), (mean, scale)
            mean, scale = torch.zeros(shape), torch.full(shape, REMOVED_SCALE)
            mean[mask], scale[mask] = parts
        q[name] = Normal(mean, scale)
    return q


Head = list[tuple[np.ndarray | csr_array, np.ndarray]]


def mean_head(q: Posterior, *, sparse: bool) -> Head:
    """The fully-connected layers at the posterior mean, in order: [(weight (D', D), bias (D',)), ...].

    ``sparse`` gives weights in compressed sparse rows, else dense arrays.
    """
    form = csr_array if sparse else np.ascontiguousarray
    names = [name.removesuffix(".weight") for name in fully_connected(q)]
    arrays = {name: q[name].mean.detach().cpu().numpy() for name in q}
    return [(form(arrays[f"{name}.weight"]), arrays[f"{name}.bias"]) for name in names]


def apply_head(head: Head, features: np.ndarray) -> np.ndarray:
    """Logits of the fully-connected layers, ReLU between them; features (N, D) -> (N, C)."""
    x = features.T
    for i, (weight, bias) in enumerate(head):
        x = weight @ (np.maximum(x, 0) if i else x) + bias[:, None]
    return x.T


def head_input(model: nn.Module, x: Tensor | Windows) -> np.ndarray:
    """What enters the first fully-connected layer at the posterior mean; (N, D)."""
    with posterior_mean(model), torch.inference_mode():
        return _head_input(model, x).cpu().numpy()
