"""What the networks make of an image: probabilities of the classes, their uncertainty, and whether to trust them.

Every number of a galaxy depends on its image alone. All galaxies see the same draws, which a seed fixes, and every
forward has the same number of images, some of them empty if need be: matrix products of one shape round alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from radio_bnn.data.galaxies import IMAGE_SIZE
from radio_bnn.evaluation.conformal import mean_p_values
from radio_bnn.evaluation.predictive import (
    check_fraction,
    expected_entropy,
    mutual_information,
    predictive_entropy,
    predictive_mean,
    softmax,
)
from radio_bnn.evaluation.shift import squared_distance
from radio_bnn.inference.likelihood import LIKELIHOODS
from radio_bnn.inference.predict import on_threads
from radio_bnn.inference.prune import Posterior
from radio_bnn.model.inputs import normalise
from radio_bnn.model.layers import Conv2d, Linear, draw_weights, given, recorded
from radio_bnn.model.lenet import LeNet
from radio_bnn.model.sparse import Windows, windows
from radio_bnn.seeds import generator
from radio_bnn.sky.posteriors import VIEWS, Ensemble

BATCH = 16  # as quick per image as any, and not much for one image alone
BINS = 20  # of the histogram of the draws
ALPHA = 0.1
UNLIKE = 0.05  # a galaxy is unlike the training set where fewer of the held-out ones are as far from it
SETS = {(True, False): "FRI", (False, True): "FRII", (True, True): "ask", (False, False): "none"}


@dataclass(frozen=True)
class Judgement:
    """What the networks say of one galaxy; entropies in nats, ``histogram`` (BINS,) of P(FRI) over all draws.

    label: a class; "ask" where both are plausible at the conformal level, "none" where neither is. unlikeness: the
    squared distance of the last features from those of the training galaxies, the mean of the networks;
    unlikeness_rank: the share of held-out galaxies that are nearer.
    """

    p_fri: float
    p_frii: float
    label: str
    predictive_entropy: float
    mutual_information: float
    expected_entropy: float
    unlikeness: float
    unlikeness_rank: float
    unlike_training: bool
    histogram: tuple[int, ...]


def judge(
    ensemble: Ensemble, images: np.ndarray, *, view: str = "upright", alpha: float = ALPHA, device: str = "cpu"
) -> list[Judgement]:
    """What the networks say of images (N, 150, 150) uint8, each on its own.

    ``view`` "orbit" averages the probabilities over the eight views of D4. ``alpha`` is the level of the conformal
    sets, which hold the true class of a galaxy like MiraBest's confident ones with a probability of at least
    1 - 2 ``alpha``, and in practice about 1 - ``alpha``.
    """
    check_fraction("alpha", alpha)
    with on_threads(1):
        batches = _batches(images, device)
        made = [
            forward(network.posterior, batches, number=k, draws=ensemble.draws, view=view)
            for k, network in enumerate(ensemble.networks)
        ]
    logits, features = (np.stack(parts) for parts in zip(*made, strict=True))
    # One galaxy at a time, since numpy sums arrays of other shapes in another order.
    return [_judgement(ensemble, logits[:, :, i], features[:, i], view, alpha) for i in range(len(images))]


def _judgement(ensemble: Ensemble, logits: np.ndarray, features: np.ndarray, view: str, alpha: float) -> Judgement:
    """logits (K, S, C) and features (K, D) of one galaxy."""
    every = logits.reshape(-1, 1, logits.shape[-1])
    p, of_draws = predictive_mean(every)[0], softmax(every)[:, 0, 0]
    plausible = mean_p_values(ensemble.scores[view], [1 - predictive_mean(own[:, None])[0] for own in logits]) > alpha
    pairs = list(zip(ensemble.networks, features, strict=True))
    distance = [squared_distance(network.spread, own[None].astype(float))[0] for network, own in pairs]
    nearer = [np.mean(network.distance < d) for (network, _), d in zip(pairs, distance, strict=True)]
    as_far = mean_p_values([network.distance for network, _ in pairs], distance)
    return Judgement(
        *map(float, p),
        SETS[tuple(plausible.tolist())],
        *(float(of(every)[0]) for of in (predictive_entropy, mutual_information, expected_entropy)),
        unlikeness=float(np.mean(distance)),
        unlikeness_rank=float(np.mean(nearer)),
        unlike_training=bool(as_far <= UNLIKE),
        histogram=tuple(np.histogram(of_draws, BINS, (0, 1))[0].tolist()),
    )


# Forwards


def predictions(
    q: Posterior, images: np.ndarray, *, number: int, draws: int, view: str = "upright", device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (S, N, C) of network ``number`` and its last features (N, D); images (N, 150, 150) uint8. One thread."""
    with on_threads(1):
        logits, features = forward(q, _batches(images, device), number=number, draws=draws, view=view)
    return logits[:, : len(images)], features[: len(images)]


@torch.inference_mode()
def forward(
    q: Posterior, batches: Sequence[Tensor | Windows], *, number: int, draws: int, view: str
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (S, N, C) of the ``draws`` that belong to network ``number``, and last features (N, D) at its mean."""
    like = next(iter(batches))
    device = (like.rows if isinstance(like, Windows) else like).device
    model, noise, logits = LeNet(Conv2d, Linear), generator(number, "classify"), []
    for _ in range(draws):
        with given(model, {name: w.to(device) for name, w in draw_weights(q, noise).items()}):
            logits.append(torch.cat([LIKELIHOODS[VIEWS[view]].forward(model, x) for x in batches]))
    features = []
    with given(model, {name: w.mean.to(device) for name, w in q.items()}), recorded({"fc3": model.fc3}) as seen:
        for x in batches:
            model(x)
            features.append(seen["fc3"][0])
    return torch.stack(logits).cpu().numpy(), torch.cat(features).cpu().numpy()


def _batches(images: np.ndarray, device: str) -> list[Tensor | Windows]:
    """Network input of BATCH images each, the last one filled up with empty images; sparse windows on a CPU."""
    empty = np.zeros((-len(images) % BATCH, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    x, background = normalise(np.concatenate([images, empty])), normalise(np.zeros((1, 1, 1), np.uint8)).item()
    parts = x.split(BATCH)
    return [windows(part, background) for part in parts] if device == "cpu" else [part.to(device) for part in parts]
