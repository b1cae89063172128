import numpy as np
import pytest
import torch
from scenarios import images, network

from radio_bnn.inference import prune as pruning
from radio_bnn.inference.predict import predict
from radio_bnn.inference.prune import fully_connected, prune, signal_to_noise
from radio_bnn.model.inputs import network_input
from radio_bnn.model.layers import Normal, load_posterior, one_draw, posterior, posterior_mean, recorded
from radio_bnn.seeds import generator

Q = {
    "conv1.weight": Normal(torch.tensor([0.0]), torch.tensor([1.0])),
    "fc1.weight": Normal(torch.tensor([[0.1, -0.4], [2.0, 0.0]]), torch.tensor([[0.1, 0.1], [0.5, 0.3]])),
    "fc2.weight": Normal(torch.tensor([-0.6, 0.2]), torch.tensor([0.2, 0.1])),
    "fc2.bias": Normal(torch.tensor([0.0]), torch.tensor([1.0])),
}


def test_signal_to_noise_by_hand():
    snr = signal_to_noise(Q)
    torch.testing.assert_close(snr["fc1.weight"], torch.tensor([[1.0, 4.0], [4.0, 0.0]]))
    torch.testing.assert_close(snr["fc2.weight"], torch.tensor([3.0, 2.0]))


def test_the_least_important_half_of_all_fully_connected_weights_goes():
    pruned = prune(Q, signal_to_noise(Q), 0.5)
    torch.testing.assert_close(pruned["fc1.weight"].mean, torch.tensor([[0.0, -0.4], [2.0, 0.0]]))
    torch.testing.assert_close(pruned["fc2.weight"].mean, torch.tensor([-0.6, 0.0]))
    assert (pruned["fc2.weight"].scale[1] < 1e-9) and pruned["fc2.weight"].scale[0] == Q["fc2.weight"].scale[0]
    assert pruned["conv1.weight"] is Q["conv1.weight"] and pruned["fc2.bias"] is Q["fc2.bias"]
    assert Q["fc2.weight"].mean[1] == torch.tensor(0.2)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_exactly_the_asked_share_goes(fraction):
    q = {k: Normal(m.detach(), s.detach()) for k, (m, s) in posterior(network()).items()}
    pruned = prune(q, signal_to_noise(q), fraction)
    gone = sum(int((pruned[n].scale < 1e-9).sum()) for n in fully_connected(q))
    assert gone == round(fraction * 198_408)


def test_a_posterior_survives_being_loaded_into_a_network():
    q = {k: Normal(m.detach() + 1, s.detach() * 2) for k, (m, s) in posterior(network()).items()}
    for name, found in posterior(load_posterior(network(seed=1), q)).items():
        torch.testing.assert_close(found.mean.detach(), q[name].mean)
        torch.testing.assert_close(found.scale.detach(), q[name].scale)


def test_a_fraction_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="fraction=1.2"):
        prune(Q, signal_to_noise(Q), 1.2)


def test_decibels_and_their_counts_by_hand():
    edges = np.array([-10.0, 0.0, 10.0, 20.0])
    q = {"fc1.weight": Normal(torch.tensor([0.5, 2.0, -50.0, 0.0, 1e9]), torch.ones(5)), "fc1.bias": Q["fc2.bias"]}
    counts = pruning.signal_to_noise_counts(q, edges)
    assert {k: v.tolist() for k, v in counts.items()} == {"fc1.weight": [2, 1, 2]}


def per_example_fisher(model, weights, x, labels):
    """F by autograd with respect to ``weights``, one galaxy and one class at a time."""
    sums = [0] * len(weights)
    for i in range(len(x)):
        log_p = model(x[i : i + 1])[0].log_softmax(-1)
        for c in (0, 1):
            share = log_p[c].exp().detach() if labels is None else float(labels[i] == c)
            gradients = torch.autograd.grad(log_p[c], weights, retain_graph=True)
            sums = [total + share * g.square() / len(x) for total, g in zip(sums, gradients, strict=True)]
    return sums


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 1])])
@pytest.mark.parametrize("draws", [0, 2])
def test_the_fisher_information_is_that_of_per_example_autograd(labels, draws):
    model, x = network(), network_input(images(3), dtype=torch.float64)
    names = fully_connected(posterior(model))
    found = pruning.fisher_information(model, x, labels, draws=draws, generator=generator(3, "fisher"), batch_size=2)
    noise, expected = generator(3, "fisher"), []
    for _ in range(max(draws, 1)):
        with one_draw(model, noise) if draws else posterior_mean(model):
            weights = [model.get_submodule(name.removesuffix(".weight"))._drawn[0] for name in names]
            expected.append(per_example_fisher(model, weights, x, labels))
    assert list(found) == names
    for k, name in enumerate(names):
        wanted = torch.stack([e[k] for e in expected]).mean(0)
        torch.testing.assert_close(found[name], wanted, rtol=1e-8, atol=1e-14)
        assert wanted.max() > 1e-6


def test_the_true_fisher_information_is_the_curvature_of_the_last_layer():
    """For logits linear in w, E_y g g^T equals the Hessian of the negative log-likelihood, whatever the label."""
    model, x = network(), network_input(images(4), dtype=torch.float64)
    found = pruning.fisher_information(model, x)["fc3.weight"]
    with recorded({"fc3": model.fc3}) as seen, posterior_mean(model):
        p = model(x).softmax(-1)
    taken = seen["fc3"][0].square()
    torch.testing.assert_close(found, ((p * (1 - p)).T @ taken / 4).detach())


def frozen_network(seed: int = 0):
    model = network(seed)
    return model, pruning.frozen(model)


@pytest.fixture(scope="module")
def ranked():
    model, q = frozen_network()
    fisher = pruning.fisher_information(model, network_input(images(3), dtype=torch.float64))
    return model, q, pruning.importances(q, fisher, generator=generator(0, "random ranking"))


def test_rankings_know_every_weight_and_nothing_negative(ranked):
    _, q, rankings = ranked
    assert list(pruning.IMPORTANCE) == list(pruning.TITLES)
    assert list(rankings) == [name for name in pruning.IMPORTANCE if name not in pruning.OPTIONAL]
    for importance in rankings.values():
        for name in fully_connected(q):
            assert importance[name].shape == q[name].mean.shape and (importance[name] >= 0).all()
    torch.testing.assert_close(
        rankings["fisher"]["fc3.weight"], q["fc3.weight"].mean.square() * rankings["fisher_alone"]["fc3.weight"] / 2
    )


def test_the_released_ranking_is_the_order_of_the_second_moment_whatever_the_means():
    moment = {"fc1.weight": torch.tensor([[3.0, 1e-30], [2.0, 5.0]]), "fc2.weight": torch.tensor([4.0, 1.0])}
    moment |= {"conv1.weight": torch.tensor([0.0]), "fc2.bias": torch.tensor([0.0])}
    q = {name: Normal(mean, torch.ones_like(mean)) for name, (mean, _) in Q.items()}
    found = pruning.importances(q, {}, moment, generator=generator(0, "random ranking"))["released_fisher"]
    flat = torch.cat([moment[name].flatten() for name in fully_connected(q)])
    for k in range(len(flat) + 1):
        gone = removed(prune(q, found, k / len(flat))).nonzero().flatten()
        assert gone.tolist() == sorted(flat.argsort()[:k].tolist())


@pytest.mark.parametrize("ranking", ["snr", "fisher", "fisher_alone", "magnitude", "random"])
def test_what_is_gone_at_a_share_is_gone_at_every_larger_one(ranked, ranking):
    _, q, rankings = ranked
    gone = [removed(prune(q, rankings[ranking], share)) for share in (0.0, 0.3, 0.9, 0.999)]
    for fewer, more in zip(gone, gone[1:], strict=False):
        assert (more | ~fewer).all() and more.sum() > fewer.sum()


@pytest.mark.parametrize("ranking", ["snr", "random"])
def test_predictions_of_all_fractions_are_those_of_the_pruned_posteriors(ranked, ranking):
    model, q, rankings = ranked
    pixels, fractions = images(3, seed=5), (0.0, 0.5, 1.0)
    chosen = {ranking: rankings[ranking]}
    options = {"samples": 2, "batch_size": 2}
    found = pruning.predict_pruned(
        model, chosen, pixels, fractions, generator=generator(1, "predict"), progress=False, **options
    )
    for fraction, logits in zip(fractions, found[ranking], strict=True):
        alone = load_posterior(network(), prune(q, rankings[ranking], fraction))
        np.testing.assert_allclose(
            logits, predict(alone, pixels, generator=generator(1, "predict"), **options), rtol=1e-5, atol=1e-6
        )
    assert not np.allclose(found[ranking][0], found[ranking][2])


def test_per_layer_pruning_takes_the_same_share_of_every_layer(ranked):
    _, q, rankings = ranked
    for name, weights in prune(q, rankings["snr"], 0.25, per_layer=True).items():
        if name in fully_connected(q):
            assert int((~pruning.kept(weights)).sum()) == round(0.25 * weights.mean.numel())


def removed(q) -> torch.Tensor:
    return torch.cat([~pruning.kept(q[name]).flatten() for name in fully_connected(q)])


def test_the_mixed_rule_removes_by_magnitude_first_and_then_by_importance(ranked):
    _, q, rankings = ranked
    importance, magnitude = rankings["fisher_alone"], rankings["magnitude"]
    mixed = removed(pruning.prune_mixed(q, importance, 0.5, share=0.4))
    by_magnitude = removed(prune(q, magnitude, 0.5 * 0.6))
    assert mixed.sum() == round(0.5 * len(mixed)) and (mixed | ~by_magnitude).all()
    flat = torch.cat([importance[name].flatten() for name in fully_connected(q)])
    assert flat[mixed & ~by_magnitude].max() <= flat[~mixed].min()
    for share, alone in ((0.0, magnitude), (1.0, importance)):
        assert (removed(pruning.prune_mixed(q, importance, 0.5, share=share)) == removed(prune(q, alone, 0.5))).all()
    with pytest.raises(ValueError, match="share=2"):
        pruning.prune_mixed(q, importance, 0.5, share=2)


def test_regimes_follow_the_two_curvatures():
    """1 / scale^2 = H / T + 1 / prior^2 with H / T of 100, 1 and 1/100 times the curvature of the prior."""
    curvature = torch.tensor([100.0, 1.0, 0.01, 0.01]) / 0.1**2
    q = {"fc1.weight": Normal(torch.zeros(4), (curvature + 1 / 0.1**2) ** -0.5)}
    assert pruning.regimes(q, 0.1) == {"fc1.weight": {"likelihood": 0.25, "between": 0.25, "prior": 0.5}}


def read_export(path):
    """The posterior in a file that ``export`` wrote, decoded here on its own."""
    q = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in (key.removesuffix(".mean") for key in arrays.files if key.endswith(".mean")):
            mean, rho = (torch.from_numpy(arrays[f"{name}.{part}"].astype(np.float32)) for part in ("mean", "rho"))
            q[name] = Normal(mean, rho.exp())
            if f"{name}.kept" in arrays:
                shape = tuple(arrays[f"{name}.shape"])
                mask = torch.from_numpy(np.unpackbits(arrays[f"{name}.kept"], count=int(np.prod(shape)))).bool()
                full = Normal(torch.zeros(len(mask)), torch.full((len(mask),), pruning.REMOVED_SCALE))
                q[name] = Normal(*(f.masked_scatter(mask, p).view(shape) for f, p in zip(full, q[name], strict=True)))
    return q


@pytest.mark.parametrize("sparse", [True, False])
def test_an_exported_posterior_comes_back(tmp_path, ranked, sparse):
    _, q, rankings = ranked
    pruned = prune(q, rankings["snr"], 0.6)
    assert pruning.export(pruned, tmp_path / "q.npz", sparse=sparse) == (tmp_path / "q.npz").stat().st_size
    found = read_export(tmp_path / "q.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["q.npz"] and set(found) == set(pruned)
    for name, (mean, scale) in pruned.items():
        torch.testing.assert_close(found[name].mean.double(), mean, rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(found[name].scale.double(), scale, rtol=5e-3, atol=1e-12)
        assert (pruning.kept(found[name]) == pruning.kept(pruned[name])).all()


@pytest.mark.parametrize("sparse", [True, False])
def test_a_compact_posterior_is_restored(tmp_path, ranked, sparse):
    _, q, rankings = ranked
    pruned = prune(q, rankings["snr"], 0.6)
    pruning.export(pruned, tmp_path / "q.npz", sparse=sparse)
    with np.load(tmp_path / "q.npz", allow_pickle=False) as arrays:
        found = pruning.restored(arrays)
    for name, (mean, scale) in read_export(tmp_path / "q.npz").items():
        assert found[name].mean.dtype == torch.float32
        torch.testing.assert_close(found[name].mean, mean.float(), rtol=0, atol=0)
        torch.testing.assert_close(found[name].scale, scale.float(), rtol=1e-6, atol=0)


def test_the_sparse_file_shrinks_with_the_pruned_share(tmp_path, ranked):
    _, q, rankings = ranked
    sizes = [pruning.export(prune(q, rankings["snr"], f), tmp_path / "q.npz") for f in (0.0, 0.5, 0.9)]
    assert sizes == sorted(sizes, reverse=True) and sizes[2] < sizes[0] / 2


@pytest.mark.parametrize("sparse", [True, False])
def test_the_head_gives_the_logits_of_the_posterior_mean(ranked, sparse):
    _, q, rankings = ranked
    model = load_posterior(network(), prune(q, rankings["snr"], 0.7))
    x = network_input(images(3), dtype=torch.float64)
    with posterior_mean(model), torch.inference_mode():
        expected = model(x).numpy()
    head = pruning.mean_head(posterior(model), sparse=sparse)
    np.testing.assert_allclose(pruning.apply_head(head, pruning.head_input(model, x)), expected, rtol=1e-9)
