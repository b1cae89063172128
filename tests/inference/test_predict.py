import numpy as np
import pytest
import torch
from scenarios import closeness, images, network
from scipy.special import softmax

from radio_bnn.inference.likelihood import LIKELIHOODS
from radio_bnn.inference.predict import predict
from radio_bnn.inference.resolve import METHODS
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import one_draw
from radio_bnn.seeds import generator

X = images(7)


def run(model, x=X, **options):
    return predict(model, x, generator=generator(0, "predict"), **{"samples": 4, **options})


@pytest.mark.parametrize("method", ["vi", "dropout"])
def test_any_batch_size_gives_the_same_numbers(method):
    model = network(method=method)
    reference = torch.tensor(run(model, batch_size=7))
    for batch_size in (1, 3, 100):
        assert closeness(torch.tensor(run(model, batch_size=batch_size)), reference) < 1e-12


def test_each_sample_is_one_network():
    """A galaxy shown twice gets the same logits within a sample; samples differ."""
    logits = run(network(), X[[0, 0, 1]])
    np.testing.assert_array_equal(logits[:, 0], logits[:, 1])
    assert len(np.unique(logits[:, 0, 0])) == 4


def test_samples_are_the_draws_of_the_generator():
    model = network()
    logits, noise = run(model), generator(0, "predict")
    x = network_input(X, dtype=torch.float64)
    for sample in logits:
        with one_draw(model, noise), torch.no_grad():
            np.testing.assert_allclose(model(x).numpy(), sample, rtol=1e-12)


def test_a_vanishing_posterior_predicts_one_network():
    logits = run(network(init_rho_low=-60.0, init_rho_high=-60.0))
    np.testing.assert_allclose(logits, np.broadcast_to(logits[:1], logits.shape), rtol=1e-12)


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="samples=0"):
        run(network(), samples=0)


@pytest.mark.parametrize("orbit", ["orbit_logits", "orbit_probs"])
def test_orbit_predictions_are_invariant_and_average_the_views_draw_by_draw(orbit):
    model, turned = network(), np.ascontiguousarray(np.rot90(X[:3, :, ::-1], axes=(1, 2)))
    reference = run(model, X[:3], likelihood=LIKELIHOODS[orbit])
    assert closeness(torch.tensor(run(model, turned, likelihood=LIKELIHOODS[orbit])), torch.tensor(reference)) < 1e-12
    views = [run(model, np.ascontiguousarray(v)) for v in _views(X[:3])]
    if orbit == "orbit_logits":
        np.testing.assert_allclose(reference, np.mean(views, axis=0), rtol=1e-10)
    else:
        np.testing.assert_allclose(np.exp(reference), softmax(views, axis=-1).mean(0), rtol=1e-10)


def _views(pixels):
    return [np.rot90(p, k, axes=(1, 2)) for p in (pixels, pixels[:, :, ::-1]) for k in range(4)]


@pytest.mark.parametrize("method", ["vi", "dropout", "ensemble"])
def test_blocks_replay_the_draws_bit_for_bit_and_leave_the_generator_where_one_block_does(method, monkeypatch):
    model, ends = network(method=method), []
    scope = METHODS[method].scope

    def predicted(block):
        monkeypatch.setattr("radio_bnn.inference.predict.BLOCK", block)
        noise = generator(0, "predict")
        logits = predict(model, X, samples=3, generator=noise, scope=scope, batch_size=2)
        ends.append(noise.get_state())
        return logits

    whole = predicted(100)
    for block in (1, 2, 4):
        np.testing.assert_array_equal(predicted(block), whole)
    assert all(torch.equal(end, ends[0]) for end in ends)
    np.testing.assert_array_equal(run(model, network_input(X, dtype=torch.float64), samples=2, scope=scope), run(
        model, samples=2, scope=scope
    ))  # fmt: skip


def test_images_are_prepared_a_block_at_a_time(monkeypatch):
    prepared = []
    monkeypatch.setattr("radio_bnn.inference.predict.BLOCK", 4)
    monkeypatch.setattr(
        "radio_bnn.inference.predict.network_input", lambda x, **o: prepared.append(len(x)) or network_input(x, **o)
    )
    run(network(), batch_size=2)
    assert prepared == [4, 3], "once each, whatever the number of draws"


@pytest.mark.parametrize("orbit", [None, "orbit_probs"])
def test_no_images_have_no_logits(orbit):
    for x in (X[:0], network_input(X[:0], dtype=torch.float64)):
        assert run(network(), x, likelihood=LIKELIHOODS[orbit or "categorical"]).shape == (4, 0, 2)


def test_prediction_takes_the_threads_that_it_is_given_and_gives_them_back():
    before, seen = torch.get_num_threads(), []
    model = network()
    model.fc3.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    run(model, samples=1)
    run(model, samples=1, threads=2)
    assert seen == [1, 2] and torch.get_num_threads() == before
    with pytest.raises(ValueError, match="threads=0 must be at least 1"):
        run(model, threads=0)
