"""Training: Adam on the objective, model selection on validation galaxies, bit-exact resume."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from radio_bnn import metrics
from radio_bnn.augment import View, network_input, orbit_of, training_view
from radio_bnn.config import Config
from radio_bnn.data.galaxies import Galaxies, Splits
from radio_bnn.elbo import Terms, minibatch_terms
from radio_bnn.files import replacing
from radio_bnn.layers import posterior
from radio_bnn.models import build
from radio_bnn.predict import autocast, predict
from radio_bnn.priors import make_prior
from radio_bnn.progress import bar
from radio_bnn.seeds import generator

SELECTION_DRAWS = 20
HISTORY = ("epoch", "train_nll", "kl_per_weight", "mean_rho", "validation_nll", "validation_error")


@dataclass
class Fit:
    """A trained network: ``model`` holds the selected weights; ``history`` one list per name of ``HISTORY``.

    ``train_nll`` and ``validation_nll`` in nats per galaxy, ``validation_error`` in percent, ``kl_per_weight`` in
    nats; ``selected_epoch`` counts from 1.
    """

    config: Config
    model: nn.Module
    history: dict[str, list[float]]
    selected_epoch: int


@dataclass
class State:
    """Everything that a resumed run needs to continue as if it had never stopped."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    streams: dict[str, torch.Generator]
    epoch: int = 0
    rate: float = 1.0
    stalled: int = 0
    lowest: float = math.inf
    best: float = math.inf
    best_epoch: int = 0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in HISTORY})


PLAIN = ("epoch", "rate", "stalled", "lowest", "best", "best_epoch", "best_weights", "history")


def device_name(device: str) -> str:
    """ "cpu" or "cuda"; "auto" is CUDA where there is one. Raises RuntimeError for CUDA that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError(f"device={device!r}, but PyTorch sees no CUDA GPU: use device='cpu' or 'auto'")
    return device


def selection_half(validation: Galaxies) -> Galaxies:
    """The first half of the validation galaxies, which selects the network; the other half calibrates."""
    return validation[: len(validation) // 2]


def fit(
    config: Config,
    splits: Splits,
    *,
    device: str = "auto",
    checkpoint: Path | None = None,
    checkpoint_every: int = 10,
    progress: bool = True,
) -> Fit:
    """Train the network of ``config`` on ``splits["train"]`` and return the selected one.

    With ``checkpoint`` the state is written there every ``checkpoint_every`` epochs, atomically, and a later call
    continues from it bit for bit (same machine, same thread count). Raises FloatingPointError, naming the epoch,
    when the loss stops being finite, and ValueError for a checkpoint of another config.
    """
    device = device_name(device)
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    state = start(config, device=device)
    if checkpoint is not None and checkpoint.exists():
        _restore(state, checkpoint, config)
    train, half = splits["train"], selection_half(splits["validation"])
    view = training_view(config.augmentation, train.images, generator=state.streams["view"], dtype=dtype, device=device)
    labels = torch.as_tensor(train.labels, device=device)
    validation = network_input(half.images, dtype=dtype, device=device)
    with bar(total=config.epochs, initial=state.epoch, unit="epoch", desc="train", show=progress) as shown:
        while state.epoch < config.epochs:
            epoch_terms = _epoch(state, view, labels, config, device)
            _validate(state, config, epoch_terms, validation, half.labels)
            if checkpoint is not None and (state.epoch % checkpoint_every == 0 or state.epoch == config.epochs):
                _save(state, checkpoint, config)
            shown.update()
    state.model.load_state_dict(state.best_weights)
    return Fit(config, state.model, state.history, state.best_epoch)


def learning_rate_factor(schedule: str, step: int, steps: int, rate: float = 1.0) -> float:
    """The factor on both learning rates at ``step`` of ``steps``.

    "warmup_cosine": linear over the first 5 %, then (1 + cos(pi t)) / 2 with t from 0 to 1; else ``rate``.
    """
    if schedule != "warmup_cosine":
        return rate
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def start(config: Config, *, device: str) -> State:
    """The state before the first step: initialised network, optimiser, random streams."""
    model = build(config, generator(config.seed, "init")).to(device)
    rho = [p for n, p in model.named_parameters() if n.endswith("_rho")]
    mean = [p for n, p in model.named_parameters() if not n.endswith("_rho")]
    groups = [{"params": mean, "lr": config.learning_rate, "base": config.learning_rate}]
    if rho:
        groups.append({"params": rho, "lr": config.rho_learning_rate, "base": config.rho_learning_rate})
    optimizer = torch.optim.Adam(groups, betas=(0.9, config.adam_beta2), weight_decay=config.weight_decay, fused=True)
    streams = {name: generator(config.seed, name) for name in ("order", "view")}
    streams["noise"] = generator(config.seed, "noise", device=device)
    return State(model, optimizer, streams)


def _epoch(state: State, view: View, labels: torch.Tensor, config: Config, device: str) -> dict[str, float]:
    n, sums = len(labels), torch.zeros(2, dtype=torch.float64, device=device)
    batches = torch.randperm(n, generator=state.streams["order"]).to(device).split(config.batch_size)
    for i, index in enumerate(batches):
        factor = learning_rate_factor(
            config.schedule, state.epoch * len(batches) + i, config.epochs * len(batches), state.rate
        )
        for group in state.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        terms = step(state, view, index, labels, config)
        sums += torch.stack([terms.nll.detach(), terms.kl.detach()])
    nll, kl = (sums / torch.tensor([n, len(batches)], device=device)).tolist()
    state.epoch += 1
    if not (math.isfinite(nll) and math.isfinite(kl)):
        raise FloatingPointError(
            f"the loss is not finite in epoch {state.epoch} (nll {nll}, kl {kl}): lower learning_rate "
            f"({config.learning_rate}) or rho_learning_rate ({config.rho_learning_rate}), or use another prior"
        )
    return {"train_nll": nll, "kl": kl}


def step(state: State, view: View, index: torch.Tensor, labels: torch.Tensor, config: Config) -> Terms:
    """One step of the optimiser on the training images at ``index`` (B,)."""
    prior = make_prior(config.prior, scale=config.prior_scale, summed="summed_mixture" in config.as_released)
    with autocast(config.precision, device=labels.device.type):
        terms = minibatch_terms(
            state.model,
            view(index),
            labels[index],
            prior,
            config,
            n_train=len(labels),
            generator=state.streams["noise"],
        )
    state.optimizer.zero_grad(set_to_none=True)
    terms.loss.backward()
    state.optimizer.step()
    return terms


def _validate(state: State, config: Config, terms: dict[str, float], validation, labels: np.ndarray) -> None:
    last = state.epoch == config.epochs
    if not last and state.epoch % config.validate_every and config.schedule != "plateau":
        return
    logits = _selection_logits(state.model, config, state.epoch, validation)
    scores = {"nll": metrics.nll(logits, labels), "single_sample_error": metrics.error(logits[:1], labels)}
    _remember(state, config, terms, scores["nll"], metrics.error(logits, labels))
    if config.schedule == "plateau":
        _plateau(state, scores["nll"])
    if config.selection == "last":
        better = last
    elif "stale_selection" in config.as_released:
        better = _stale(state, config, validation, labels)
    else:
        better = scores[config.selection] < state.best
        state.best = min(state.best, scores[config.selection])
    if better or not state.best_weights:
        state.best_epoch = state.epoch
        state.best_weights = {k: v.detach().clone() for k, v in state.model.state_dict().items()}


def _stale(state: State, config: Config, validation, labels: np.ndarray) -> bool:
    """As released (audit A3): score the network saved so far, and let that score decide to save the current one."""
    if not state.best_weights:
        return True
    saved = build(config, generator(config.seed, "init")).to(next(state.model.parameters()).device)
    saved.load_state_dict(state.best_weights)
    score = metrics.error(_selection_logits(saved, config, state.epoch, validation)[:1], labels)
    better = score < state.best
    state.best = min(state.best, score)
    return better


def _selection_logits(model: nn.Module, config: Config, epoch: int, validation) -> np.ndarray:
    device = next(model.parameters()).device
    single = config.method == "map" or config.selection == "single_sample_error"
    draws = 1 if single else SELECTION_DRAWS
    noise = generator(config.seed, "validate", epoch=epoch, device=device)
    return predict(model, validation, samples=draws, generator=noise, orbit=orbit_of(config.augmentation))


def _remember(state: State, config: Config, terms: dict[str, float], nll: float, error: float) -> None:
    q = posterior(state.model)
    weights = sum(p.mean.numel() for p in q.values())
    rho = sum(float(p.scale.detach().log().sum()) for p in q.values())
    row = (state.epoch, terms["train_nll"], terms["kl"] / max(weights, 1), rho / max(weights, 1), nll, error)
    for name, value in zip(HISTORY, row, strict=True):
        state.history[name].append(value)


def _plateau(state: State, score: float, *, factor: float = 0.95, patience: int = 3) -> None:
    """Multiply the learning rate by 0.95 after more than 3 validations without improvement (relative 1e-4)."""
    if score < state.lowest * (1 - 1e-4):
        state.lowest, state.stalled = score, 0
    else:
        state.stalled += 1
    if state.stalled > patience:
        state.rate, state.stalled = state.rate * factor, 0


def _save(state: State, path: Path, config: Config) -> None:
    content: dict[str, Any] = {name: getattr(state, name) for name in PLAIN}
    content |= {
        "config": config.to_dict(),
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }
    content["streams"] = {name: g.get_state() for name, g in state.streams.items()}
    with replacing(path) as partial:
        torch.save(content, partial)


def _restore(state: State, path: Path, config: Config) -> None:
    try:
        content = torch.load(path, weights_only=True, map_location=next(state.model.parameters()).device)
    except Exception as problem:
        raise ValueError(f"checkpoint {path.name} cannot be read ({problem}): delete it to start again") from problem
    if content["config"] != config.to_dict():
        raise ValueError(f"checkpoint {path.name} belongs to another config: delete it or use another path")
    for name in PLAIN:
        setattr(state, name, content[name])
    state.model.load_state_dict(content["model"])
    state.optimizer.load_state_dict(content["optimizer"])
    for name, g in state.streams.items():
        g.set_state(content["streams"][name].cpu())
