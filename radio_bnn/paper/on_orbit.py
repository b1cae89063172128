"""Predictions on the orbit of networks trained without it, which C8a reads, and in one view of those trained on it."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from radio_bnn.evaluation.predictive import predictive_mean
from radio_bnn.inference.likelihood import LIKELIHOODS
from radio_bnn.inference.predict import predict
from radio_bnn.inference.resolve import resolve
from radio_bnn.model.inputs import orbit
from radio_bnn.runs import execute
from radio_bnn.runs.records import Posterior, Record, check_galaxies, expect, expect_names, samples_of
from radio_bnn.seeds import generator

ARRAYS = ("difference_test", "labels_test", "galaxy_test")


class OnOrbit(Record):
    """What a run predicts for its test galaxies with logits averaged over the orbit of D4.

    Arrays: difference_test (S, N) float16, averaged logits of FRI minus of FRII; labels_test (N,) uint8 with 0 FRI,
    1 FRII; galaxy_test (N,) uint16, the place of each galaxy among the names of its data set in ascending order.
    """

    kind = "on_orbit"

    @property
    def logits(self) -> np.ndarray:
        """Test logits (S, N, 2), float64, with the stored differences; equal in every score."""
        difference = self.arrays["difference_test"].astype(np.float64)
        return np.stack([difference, np.zeros_like(difference)], axis=-1)

    @property
    def labels(self) -> np.ndarray:
        """The labels of the test galaxies (N,), int64."""
        return self.arrays["labels_test"].astype(np.int64)

    @property
    def galaxies(self) -> np.ndarray:
        """Which galaxies they are (N,)."""
        return self.arrays["galaxy_test"]

    def check(self) -> None:
        """Raise ValueError or KeyError unless shapes and galaxies are whole and fit."""
        expect_names(self.arrays, ARRAYS)
        labels, galaxies = self.arrays["labels_test"], self.galaxies
        check_galaxies(self, {"test": labels})
        shape = (samples_of(self.config), len(labels))
        expect("difference_test", self.arrays["difference_test"], shape, np.float16)
        expect("galaxy_test", galaxies, (len(labels),), np.uint16)
        if len(np.unique(galaxies)) != len(labels):
            raise ValueError("galaxy_test names a galaxy twice")


class OneView(OnOrbit):
    """What a run that was trained on the orbit predicts for its test galaxies in one view, as they are."""

    kind = "one_view"


def largest_change(model: nn.Module, images: np.ndarray, likelihood: str, *, samples: int) -> float:
    """The largest difference of a predictive probability, 0..1, between any two of a galaxy's eight views.

    images (N, H, W) uint8. 0 up to rounding for an orbit likelihood: the average over D4 permutes its terms.
    """
    views = [view.numpy() for view in orbit(torch.as_tensor(images))]
    found = [
        predictive_mean(
            predict(model, view, samples=samples, likelihood=LIKELIHOODS[likelihood], generator=generator(0, "predict"))
        )
        for view in views
    ]
    return float(np.ptp(found, axis=0).max())


def measure(posterior: Posterior) -> OnOrbit:
    """Predict the test galaxies on the orbit, one draw of the weights for all views, on one thread.

    As many samples, and in the same precision, as ``posterior.config`` says.
    """
    return _measured(OnOrbit, posterior, "orbit_logits")


def measure_one(posterior: Posterior) -> OneView:
    """``measure`` without the orbit: every test galaxy in one view."""
    return _measured(OneView, posterior, "categorical")


def _measured(kind: type[OnOrbit], posterior: Posterior, likelihood: str) -> OnOrbit:
    config, started = posterior.config, time.perf_counter()
    splits, model = execute.load_data(config), execute.network(posterior)
    with execute.one_thread():
        logits = predict(
            model,
            splits["test"].images,
            samples=samples_of(config),
            generator=generator(config.seed, "predict"),
            scope=resolve(config).method.scope,
            likelihood=LIKELIHOODS[likelihood],
            precision=config.precision,
        )
    arrays = execute.made_arrays({"test": logits}, splits)
    made = execute.described(config, splits, device="cpu", seconds=time.perf_counter() - started)
    return kind(config, made, {name: arrays[name] for name in ARRAYS})
