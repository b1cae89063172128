"""Training: Adam on the objective, model selection on validation galaxies, bit-exact resume."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from radio_bnn.config import HISTORY, Config
from radio_bnn.data.galaxies import Galaxies, Splits, validation_halves
from radio_bnn.evaluation import metrics
from radio_bnn.inference import checkpoint as checkpoints
from radio_bnn.inference.likelihood import targets
from radio_bnn.inference.method import Batch, Problem, State
from radio_bnn.inference.predict import predict_as_trained
from radio_bnn.inference.resolve import resolve
from radio_bnn.model.inputs import View, network_input, training_view
from radio_bnn.model.layers import posterior
from radio_bnn.model.sparse import Windows
from radio_bnn.progress import bar
from radio_bnn.seeds import generator

SELECTION_SAMPLES = 20


@dataclass
class Fit:
    """A trained network: ``model`` holds the selected weights; ``history`` one list per name of ``HISTORY``.

    ``train_nll`` and ``validation_nll`` in nats per galaxy, ``validation_error`` in percent, ``kl_per_weight`` in
    nats; ``selected_epoch`` counts from 1; ``second_moment`` is Adam's at the last step, by
    weight; ``earlier_seconds`` took the parts of the training that were interrupted.
    """

    config: Config
    model: nn.Module
    history: dict[str, list[float]]
    selected_epoch: int
    second_moment: dict[str, Tensor] = field(default_factory=dict)
    earlier_seconds: float = 0.0


@dataclass
class Training:
    """How far a training is: beside the method's State, all that a resumed run needs to continue as if uninterrupted.

    ``streams`` are those of the order and the views of the images; ``rate`` the plateau schedule's factor.
    """

    state: State
    streams: dict[str, torch.Generator]
    epoch: int = 0
    rate: float = 1.0
    stalled: int = 0
    lowest: float = math.inf
    best: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in HISTORY})


PLAIN = ("epoch", "rate", "stalled", "lowest", "best", "best_epoch", "seconds", "best_weights", "history")


def device_name(device: str) -> str:
    """ "cpu" or "cuda"; "auto" is CUDA where there is one. Raises RuntimeError for CUDA that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError(f"device={device!r}, but PyTorch sees no CUDA GPU: use device='cpu' or 'auto'")
    return device


def fit(
    config: Config,
    splits: Splits,
    *,
    device: str = "auto",
    start_from: Mapping[str, torch.Tensor] | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 10,
    progress: bool = True,
) -> Fit:
    """Train the network of ``config`` on ``splits["train"]`` and return the selected one.

    ``start_from`` holds the parameters to start from by name, which a ``config`` with a ``path`` needs.
    With ``checkpoint`` the state is written there every ``checkpoint_every`` epochs, atomically, and a later call
    continues from it bit for bit (same machine, same thread count). Raises FloatingPointError, naming the epoch,
    when the loss stops being finite; CheckpointError, a ValueError, for a checkpoint that is damaged or of another
    config, code or data; NoRoomError, an OSError, where none can be written because the disk is full.
    """
    device = device_name(device)
    training = start(config, start_from, device=device)
    subject = {} if checkpoint is None else checkpoints.subject(config, splits, start_from)
    if checkpoint is not None:
        with suppress(FileNotFoundError):  # none yet, or another process has just finished the same training
            _restore(training, checkpoint, subject)
    earlier, started = training.seconds, time.perf_counter()
    with bar(total=config.epochs, initial=training.epoch, unit="epoch", desc="train", show=progress) as shown:
        for last in _epochs(training, splits, device):
            if checkpoint is not None and (training.epoch % checkpoint_every == 0 or last):
                training.seconds = earlier + time.perf_counter() - started
                _save(training, checkpoint, subject)
            shown.update()
    model = training.state.model
    model.load_state_dict(training.best_weights)
    _finish(training.state, splits["train"], device)
    moment = training.state.second_moment()
    return Fit(config, model, training.history, training.best_epoch, moment, earlier)


def _finish(state: State, train: Galaxies, device: str) -> None:
    """What the method does with all training galaxies, upright, once its network is trained."""
    config, finish = state.problem.config, state.problem.method.finish
    if finish is not None:
        x = network_input(train.images, dtype=_dtype(config), device=device)
        finish(state, x, torch.as_tensor(targets(config.likelihood, train), device=device))


def _dtype(config: Config) -> torch.dtype:
    return torch.float64 if config.precision == "float64" else torch.float32


def _epochs(training: Training, splits: Splits, device: str) -> Iterator[bool]:
    """Train and validate epoch by epoch; yields after each whether it was the last."""
    config = training.state.problem.config
    dtype, train, held_out = _dtype(config), splits["train"], splits["validation"]
    stale = "stale_selection" in config.as_released
    half = held_out if stale else held_out[validation_halves(len(held_out))[0]]
    noise = training.streams["view"]
    view = training_view(config.augmentation, train.images, generator=noise, dtype=dtype, device=device)
    labels = torch.as_tensor(targets(config.likelihood, train), device=device)
    validation = network_input(half.images, dtype=dtype, device=device)
    while training.epoch < config.epochs:
        _validate(training, _epoch(training, view, labels), validation, half.labels)
        yield training.epoch == config.epochs


def learning_rate_factor(schedule: str, step: int, steps: int, rate: float = 1.0, *, rho: bool = False) -> float:
    """The factor on the learning rate of the means, or of ``rho``, at ``step`` of ``steps``.

    "warmup_cosine": linear over the first 5 %, then (1 + cos(pi t)) / 2 with t from 0 to 1. "ramp": the same, for rho
    times a factor that is 0 over the first 5 % and rises linearly to 1 at 30 %. Else ``rate``.
    """
    if schedule == "ramp" and rho:
        ramp = min(max((step / steps - 0.05) / 0.25, 0.0), 1.0)
        return ramp * learning_rate_factor("warmup_cosine", step, steps)
    if schedule not in ("warmup_cosine", "ramp"):
        return rate
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def start(config: Config, start_from: Mapping[str, torch.Tensor] | None = None, *, device: str) -> Training:
    """A training before its first step; with a ``path`` it starts from the parameters ``start_from``."""
    if (start_from is None) != (not config.path):
        raise ValueError(f"path={config.path}: start_from must hold the network at its last temperature, if it has any")
    problem = resolve(config)
    streams = {name: generator(config.seed, name, epoch=len(config.path)) for name in ("order", "view")}
    training = Training(problem.method.start(problem, device=device), streams)
    if start_from is not None:
        training.state.model.load_state_dict(start_from)
    return training


def _epoch(training: Training, view: View, labels: torch.Tensor) -> dict[str, float]:
    state, config = training.state, training.state.problem.config
    n, sums = len(labels), torch.zeros(2, dtype=torch.float64, device=labels.device)
    order = torch.randperm(n, generator=training.streams["order"]).to(labels.device)
    batches = order.split(config.batch_size)
    steps, done = config.epochs * len(batches), training.epoch * len(batches)
    for i, index in enumerate(batches):
        for group in state.optimizer.param_groups:
            factor = learning_rate_factor(config.schedule, done + i, steps, training.rate, rho=group["rho"])
            group["lr"] = group["base"] * factor
        terms = state.problem.method.step(state, Batch(view(index), labels[index], n))
        sums += torch.stack([terms.nll.detach(), terms.kl.detach()])
    nll, kl = (sums / torch.tensor([n, len(batches)], device=labels.device)).tolist()
    training.epoch += 1
    if not (math.isfinite(nll) and math.isfinite(kl)):
        raise FloatingPointError(
            f"the loss is not finite in epoch {training.epoch} (nll {nll}, kl {kl}): lower learning_rate "
            f"({config.learning_rate}) or rho_learning_rate ({config.rho_learning_rate}), or use another prior"
        )
    return {"train_nll": nll, "kl": kl}


def _validate(training: Training, terms: dict[str, float], validation: Tensor | Windows, labels: np.ndarray) -> None:
    state, config = training.state, training.state.problem.config
    last = training.epoch == config.epochs
    if not last and training.epoch % config.validate_every and config.schedule != "plateau":
        return
    logits = _selection_logits(state.problem, state.model, training.epoch, validation)
    scores = {"nll": metrics.nll(logits, labels), "single_sample_error": metrics.error(logits[:1], labels)}
    _remember(training, terms, scores["nll"], metrics.error(logits, labels))
    if config.schedule == "plateau":
        _plateau(training, scores["nll"])
    if config.selection == "last":
        better = last
    elif "stale_selection" in config.as_released:
        better = _stale(training, validation, labels)
    else:
        better = scores[config.selection] < training.best
        training.best = min(training.best, scores[config.selection])
    if better or not training.best_weights:
        training.best_epoch = training.epoch
        training.best_weights = {k: v.detach().clone() for k, v in state.model.state_dict().items()}


def _stale(training: Training, validation: Tensor | Windows, labels: np.ndarray) -> bool:
    """As released (audit A3): score the network saved so far, and let that score decide to save the current one.

    All validation galaxies score, one draw of the weights for each batch. At first the current network is scored.
    """
    problem, scored = training.state.problem, training.state.model
    config, device = problem.config, next(scored.parameters()).device
    if training.best_weights:
        scored = copy.deepcopy(scored)
        scored.load_state_dict(training.best_weights)
    noise = generator(config.seed, "stale", epoch=training.epoch, device=device)
    batches = [validation[i : i + config.batch_size] for i in range(0, len(validation), config.batch_size)]
    logits = [predict_as_trained(problem, scored, x, samples=1, generator=noise) for x in batches]
    score = metrics.error(np.concatenate(logits, axis=1), labels)
    better = score < training.best
    training.best = min(training.best, score)
    return better


def _selection_logits(problem: Problem, model: nn.Module, epoch: int, validation: Tensor | Windows) -> np.ndarray:
    config, device = problem.config, next(model.parameters()).device
    samples = 1 if config.selection == "single_sample_error" else SELECTION_SAMPLES
    noise = generator(config.seed, "validate", epoch=epoch, device=device)
    return predict_as_trained(problem, model, validation, samples=samples, generator=noise)


def _remember(training: Training, terms: dict[str, float], nll: float, error: float) -> None:
    q = posterior(training.state.model)
    weights = sum(p.mean.numel() for p in q.values())
    rho = sum(float(p.scale.detach().log().sum()) for p in q.values())
    row = (training.epoch, terms["train_nll"], terms["kl"] / max(weights, 1), rho / max(weights, 1), nll, error)
    for name, value in zip(HISTORY, row, strict=True):
        training.history[name].append(value)


def _plateau(training: Training, score: float, *, factor: float = 0.95, patience: int = 3) -> None:
    """Multiply the learning rate by 0.95 after more than 3 validations without improvement (relative 1e-4)."""
    if score < training.lowest * (1 - 1e-4):
        training.lowest, training.stalled = score, 0
    else:
        training.stalled += 1
    if training.stalled > patience:
        training.rate, training.stalled = training.rate * factor, 0


def _save(training: Training, path: Path, subject: Mapping[str, Any]) -> None:
    content: dict[str, Any] = {name: getattr(training, name) for name in PLAIN}
    content |= {"state": training.state.state_dict(), **subject}
    content["streams"] = {name: g.get_state() for name, g in training.streams.items()}
    checkpoints.write(path, content)


def _restore(training: Training, path: Path, subject: Mapping[str, Any]) -> None:
    state = training.state
    content = checkpoints.read(path, of=subject, device=next(state.model.parameters()).device)
    for name in PLAIN:
        setattr(training, name, content[name])
    state.load_state_dict(content["state"])
    for name, g in training.streams.items():
        g.set_state(content["streams"][name].cpu())
