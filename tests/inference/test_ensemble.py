from dataclasses import replace

import numpy as np
import torch
from scenarios import closeness, images, splits

from radio_bnn.config import Config
from radio_bnn.evaluation import metrics
from radio_bnn.inference.predict import predict_as_trained
from radio_bnn.inference.resolve import resolve
from radio_bnn.inference.train import fit
from radio_bnn.seeds import generator

SPLITS = splits()
CONFIG = Config.preview(data="simulated", method="ensemble", members=3, epochs=2, batch_size=8)


def trained(config: Config):
    return fit(config, SPLITS, device="cpu", progress=False).model


def logits_of(config: Config, model, samples: int = 50) -> np.ndarray:
    return predict_as_trained(resolve(config), model, images(4), samples=samples, generator=generator(0, "predict"))


def test_the_first_member_is_the_map_network_of_the_same_seed_trained_alone():
    alone = trained(replace(CONFIG, method="map"))
    together = trained(CONFIG)
    for name, value in alone.state_dict().items():
        assert torch.equal(together.members[0].state_dict()[name], value), name


def test_a_prediction_is_every_member_once():
    model = trained(CONFIG)
    found = logits_of(CONFIG, model)
    assert found.shape == (3, 4, 2)
    for k, member in enumerate(model.members):
        by_itself = logits_of(replace(CONFIG, method="map"), member)
        assert closeness(torch.tensor(found[k]), torch.tensor(by_itself[0])) < 1e-6
    assert len(np.unique(found[:, 0, 0])) == 3


def test_the_mixture_scores_at_least_as_well_as_its_members_do_on_average():
    """Jensen: -log of a mean of probabilities is at most the mean of -log."""
    model, y = trained(replace(CONFIG, epochs=5)), np.array([0, 1, 0, 1])
    logits = logits_of(CONFIG, model)
    assert metrics.nll(logits, y) <= np.mean([metrics.nll(row[None], y) for row in logits]) + 1e-12
