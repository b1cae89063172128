import torch
from scenarios import closeness, images, network
from torch import nn

from radio_bnn.config import Config
from radio_bnn.inference.vi import network as bayesian
from radio_bnn.model.inputs import normalise
from radio_bnn.model.layers import posterior_mean
from radio_bnn.seeds import generator


def test_the_network_is_the_papers_layer_by_layer():
    """An independent spelling in plain PyTorch, ReLU before pooling, gives the same logits."""
    model = network(method="ml")
    layers = []
    for conv in (model.conv1, model.conv2, model.conv3, model.conv4):
        layers += [conv, nn.ReLU(), nn.MaxPool2d(2)]
    plain = nn.Sequential(*layers, nn.Flatten(), model.fc1, nn.ReLU(), model.fc2, nn.ReLU(), model.fc3)
    x = normalise(images(3), torch.float64)
    assert closeness(model(x), plain(x)) < 1e-13
    assert sum(p.numel() for p in model.parameters()) == 232_444


def test_published_initialisation_is_uniform_within_its_bounds():
    model = bayesian(Config.published(), generator(0, "init"))
    mean, rho = model.fc1.weight_mean, model.fc1.weight_rho
    assert -0.1 <= mean.min() < -0.0999 and 0.0999 < mean.max() <= 0.1
    assert -5 <= rho.min() < -4.999 and -4.001 < rho.max() <= -4


def test_he_initialisation_has_variance_two_over_fan_in():
    model = bayesian(Config.preview(), generator(0, "init"))
    weight = model.fc1.weight_mean
    n = weight.numel()
    assert abs(weight.var() * 1568 / 2 - 1) < 4 * (2 / n) ** 0.5
    assert (model.fc1.bias_mean == 0).all()


def test_the_start_of_the_fully_connected_means_can_be_scaled():
    plain, scaled = (bayesian(Config.preview(init_fc_scale=f), generator(0, "init")) for f in (1.0, 0.25))
    for name, parameter in plain.named_parameters():
        factor = 0.25 if name.startswith("fc") and name.endswith("weight_mean") else 1
        assert torch.equal(scaled.get_parameter(name), factor * parameter), name


def test_the_seed_decides_the_start_and_methods_share_the_network():
    a, b, c = (bayesian(Config.preview(), generator(seed, "init")) for seed in (0, 0, 1))
    assert torch.equal(a.fc1.weight_mean, b.fc1.weight_mean)
    assert not torch.equal(a.fc1.weight_mean, c.fc1.weight_mean)
    x = normalise(images(2), torch.float64)
    dropout = network(method="dropout")
    assert not torch.equal(dropout(x), dropout(x))
    with posterior_mean(dropout):
        assert torch.equal(dropout(x), dropout(x))
