"""Every number of a galaxy depends on its image alone, and is that of an independent computation."""

import dataclasses

import numpy as np
import pytest
import torch
from scenarios import galaxies
from scipy.special import entr, expit

from radio_bnn.evaluation.shift import squared_distance
from radio_bnn.model.inputs import network_input, orbit
from radio_bnn.model.layers import Conv2d, Linear, draw_weights, given
from radio_bnn.model.lenet import LeNet
from radio_bnn.seeds import generator
from radio_bnn.sky.judgement import BATCH, judge, predictions

IMAGES = galaxies(0).images[:20]


@pytest.fixture(scope="module")
def judged(ensemble):
    return judge(ensemble, IMAGES)


def test_numbers_do_not_depend_on_what_is_judged_with_a_galaxy(ensemble, judged):
    """Bit for bit, alone, in another place, and among more than a batch of others."""
    assert len(IMAGES) > BATCH
    assert judge(ensemble, IMAGES[7:8]) == judged[7:8]
    order = np.random.default_rng(0).permutation(len(IMAGES))[:9]
    assert judge(ensemble, IMAGES[order]) == [judged[i] for i in order]


def test_logits_are_those_of_the_engine_with_the_same_weights(ensemble):
    q = ensemble.networks[1].posterior
    found, _ = predictions(q, IMAGES[:3], number=1, draws=2)
    model, noise = LeNet(Conv2d, Linear), generator(1, "classify")
    for logits in found:
        with given(model, draw_weights(q, noise)), torch.inference_mode():
            np.testing.assert_allclose(logits, model(network_input(IMAGES[:3])), rtol=1e-4, atol=1e-5)


def test_uncertainties_by_hand(ensemble, judged):
    p = np.concatenate(
        [
            expit((x[..., 0] - x[..., 1]).astype(float))
            for k, n in enumerate(ensemble.networks)
            for x in [predictions(n.posterior, IMAGES[:1], number=k, draws=2)[0]]
        ]
    )[:, 0]
    first, entropy = judged[0], entr(p) + entr(1 - p)
    assert first.p_fri == pytest.approx(p.mean(), abs=1e-6) and first.p_fri + first.p_frii == pytest.approx(1)
    assert first.predictive_entropy == pytest.approx(entr(p.mean()) + entr(1 - p.mean()), abs=1e-6)
    assert first.expected_entropy == pytest.approx(entropy.mean(), abs=1e-6)
    parts = first.mutual_information + first.expected_entropy
    assert parts == pytest.approx(first.predictive_entropy, abs=1e-6)
    assert sum(first.histogram) == len(p) and first.histogram == tuple(np.histogram(p, 20, (0, 1))[0])


def test_label_and_rank_by_hand(ensemble, judged):
    """Counted in loops, network by network."""
    for i in (0, 5):
        p_values, distances, nearer, as_far = np.zeros(2), [], [], []
        for k, n in enumerate(ensemble.networks):
            logits, features = predictions(n.posterior, IMAGES[i : i + 1], number=k, draws=2)
            p = expit((logits[:, 0, 0] - logits[:, 0, 1]).astype(float)).mean()
            for c, score in enumerate((1 - p, p)):
                p_values[c] += (1 + sum(s >= score for s in n.scores("upright"))) / (len(n.labels) + 1) / 2
            d = squared_distance(n.spread, features.astype(float))[0]
            distances.append(d)
            nearer.append(np.mean([x < d for x in n.distance]))
            as_far.append((1 + sum(x >= d for x in n.distance)) / (len(n.distance) + 1))
        plausible = [name for name, value in zip(("FRI", "FRII"), p_values, strict=True) if value > 0.1]
        assert judged[i].label == {0: "none", 2: "ask"}.get(len(plausible), *plausible[:1])
        assert judged[i].unlikeness == pytest.approx(np.mean(distances), rel=1e-6)
        assert judged[i].unlikeness_rank == pytest.approx(np.mean(nearer))
        assert judged[i].unlike_training == (np.mean(as_far) <= 0.05)


def test_labels_follow_the_level(ensemble):
    """At a level of nearly 0 everything is plausible; the higher it is, the less."""
    sizes = {"ask": 2, "FRI": 1, "FRII": 1, "none": 0}
    found = [[sizes[j.label] for j in judge(ensemble, IMAGES[:4], alpha=a)] for a in (0.001, 0.3, 0.999)]
    assert found[0] == [2] * 4 and (np.diff(found, axis=0) <= 0).all() and sum(found[2]) < 8


def test_with_the_orbit_a_turned_galaxy_keeps_its_probability(ensemble):
    turned = np.stack([IMAGES[3], np.rot90(IMAGES[3]), IMAGES[3][::-1].T])
    p = [j.p_fri for j in judge(ensemble, turned, view="orbit")]
    assert np.ptp(p) < 1e-5 < np.ptp([j.p_fri for j in judge(ensemble, turned)])


def test_the_orbit_is_the_mean_of_the_probabilities_of_eight_views(ensemble):
    q = ensemble.networks[0].posterior
    logits, _ = predictions(q, IMAGES[:1], number=0, draws=1, view="orbit")
    model = LeNet(Conv2d, Linear)
    with given(model, draw_weights(q, generator(0, "classify"))), torch.inference_mode():
        p = torch.stack([model(view).softmax(-1) for view in orbit(network_input(IMAGES[:1]))]).mean(0)
    np.testing.assert_allclose(np.exp(logits[0]), p, rtol=1e-4)


def test_no_thread_setting_is_left_behind(ensemble):
    before = torch.get_num_threads()
    judge(ensemble, IMAGES[:1])
    assert torch.get_num_threads() == before


def test_a_level_outside_0_to_1_is_refused(ensemble):
    with pytest.raises(ValueError, match="alpha is 1"):
        judge(ensemble, IMAGES[:1], alpha=1)


def test_a_judgement_is_made_of_plain_numbers(judged):
    kinds = {type(x) for j in judged for x in dataclasses.astuple(j)}
    assert kinds == {float, str, bool, tuple} and type(judged[0].histogram[0]) is int
