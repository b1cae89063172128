import pytest
import torch
from scenarios import network

from radio_bnn.layers import Normal, load_posterior, posterior
from radio_bnn.prune import fully_connected, prune, signal_to_noise

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
