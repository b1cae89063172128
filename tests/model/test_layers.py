import pytest
import torch
import torch.nn.functional as F
from scenarios import network
from torch import nn

from radio_bnn.model import layers
from radio_bnn.model.layers import (
    BayesConv2d,
    BayesLinear,
    Dropout,
    draw_weights,
    local_draw,
    one_draw,
    posterior,
    posterior_mean,
)
from radio_bnn.seeds import generator


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(BayesConv2d(1, 2, 3), nn.Flatten(), BayesLinear(2 * 16, 3)).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.uniform_(-1.5, -0.5) if name.endswith("rho") else p.normal_()
    return model


X = torch.randn(5, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_one_draw_serves_every_forward_of_its_scope():
    model = small()
    with one_draw(model, generator(0, "noise")):
        torch.testing.assert_close(model(X), model(X), rtol=0, atol=0)
    assert not torch.equal(model(X), model(X))


def test_the_yielded_draw_is_what_the_forward_uses():
    model = small()
    with one_draw(model, generator(0, "noise")) as draw:
        by_hand = nn.functional.conv2d(X, draw["0.weight"], draw["0.bias"]).flatten(1)
        torch.testing.assert_close(model(X), nn.functional.linear(by_hand, draw["2.weight"], draw["2.bias"]))


def test_a_scope_ends_also_after_an_error():
    model = small()
    with pytest.raises(RuntimeError, match="inside"), one_draw(model):
        raise RuntimeError("inside")
    assert not torch.equal(model(X), model(X))


def test_the_same_seed_draws_the_same_weights_and_streams_differ():
    model = small()
    outputs = []
    for seed, stream in ((0, "noise"), (0, "noise"), (0, "predict"), (1, "noise")):
        with one_draw(model, generator(seed, stream)):
            outputs.append(model(X))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[3])


def test_posterior_mean_is_the_deterministic_network():
    model = small()
    with posterior_mean(model):
        mean = model(X)
    by_hand = nn.functional.conv2d(X, model[0].weight_mean, model[0].bias_mean).flatten(1)
    torch.testing.assert_close(mean, nn.functional.linear(by_hand, model[2].weight_mean, model[2].bias_mean))


def moments(outputs: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    stacked = torch.stack(outputs)
    return stacked.mean(0), stacked.var(0)


def test_local_reparameterisation_has_the_moments_of_a_weight_draw():
    """For one linear layer, outputs are Gaussian with mean x M + b and variance x^2 S^2 + s_b^2, exactly."""
    layer, x = small()[2], torch.randn(1, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    q = posterior(layer)
    mean = nn.functional.linear(x, *(q[f".{k}"].mean for k in ("weight", "bias")))
    variance = nn.functional.linear(x**2, q[".weight"].scale ** 2, q[".bias"].scale ** 2)
    n, noise = 20000, generator(3, "noise")
    for scope, repeat in ((local_draw, 1), (one_draw, n)):
        outputs = []
        with torch.no_grad():
            for _ in range(repeat):
                with scope(layer, noise):
                    outputs.append(layer(x.expand(n // repeat, -1)))
        sample = torch.cat(outputs)
        standard_error = (variance / n).sqrt()
        assert ((sample.mean(0) - mean).abs() < 4 * standard_error).all()
        assert ((sample.var(0) / variance - 1).abs() < 4 * (2 / n) ** 0.5).all()


def test_posterior_names_every_weight_of_the_network():
    q = posterior(network())
    assert sum(p.mean.numel() for p in q.values()) == 232_444
    assert sum(p.mean.numel() for k, p in q.items() if k.startswith("fc") and k.endswith("weight")) == 198_408
    assert all((p.scale > 0).all() for p in q.values())


def test_draw_weights_has_the_moments_of_q():
    q = posterior(small())
    noise = generator(0, "noise")
    draws = [draw_weights(q, noise)["2.bias"] for _ in range(4000)]
    mean, variance = moments(draws)
    scale = q["2.bias"].scale
    assert ((mean - q["2.bias"].mean).abs() < 4 * scale / 4000**0.5).all()
    assert ((variance / scale**2 - 1).abs() < 4 * (2 / 4000) ** 0.5).all()


def test_gradients_reach_mean_and_rho():
    model = small()
    for scope in (one_draw, local_draw):
        model.zero_grad()
        with scope(model, generator(0, "noise")):
            model(X).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_dropout_keeps_the_mean_and_one_draw_is_one_network():
    layer, x = Dropout(0.5), torch.ones(4000, 10, dtype=torch.float64)
    with local_draw(layer, generator(0, "noise")):
        mean = layer(x).mean(0)
    assert ((mean - 1).abs() < 4 / 4000**0.5).all()
    with one_draw(layer, generator(0, "noise")):
        y = layer(x)
        assert (y == y[0]).all()
        assert torch.equal(y, layer(x))
    with posterior_mean(layer):
        assert torch.equal(layer(x), x)


IN_BFLOAT16 = {
    "conv2d": (((4, 3, 9, 8), (5, 3, 5, 5), (5,)), (4, 5, 7, 6), {"padding": 1}),
    "linear": (((7, 75), (6, 75), (6,)), (7, 6), {}),
}


@pytest.mark.parametrize("name", IN_BFLOAT16)
def test_in_bfloat16_products_of_rounded_numbers_are_rounded_once_whatever_the_processor(monkeypatch, name):
    monkeypatch.setattr(layers, "has_bfloat16", lambda: False)
    shapes, of_output, options = IN_BFLOAT16[name]
    g = torch.Generator().manual_seed(3)
    given = [torch.randn(*shape, generator=g) for shape in shapes]
    upstream = torch.randn(*of_output, generator=g).bfloat16()

    def both(tensors, operation):
        tensors = [t.clone().requires_grad_() for t in tensors]
        y = operation(*tensors, **options)
        y.backward(upstream.to(y.dtype))
        return [y.detach(), *(t.grad for t in tensors)]

    with torch.autocast("cpu", torch.bfloat16):
        found = both(given, getattr(layers, name))
    exact = both([t.bfloat16().double() for t in given], getattr(F, name))
    sizes = both([t.bfloat16().double().abs() for t in given], getattr(F, name))[0]
    assert found[0].dtype == torch.bfloat16 and {t.dtype for t in found[1:]} == {torch.float32}
    half_a_place, summing = 2.0**-8, 75 * 2.0**-24
    assert ((found[0].double() - exact[0]).abs() <= half_a_place * exact[0].abs() + summing * sizes).all()
    for one, true in zip(found[1:], exact[1:], strict=True):
        torch.testing.assert_close(one.double(), true, rtol=half_a_place, atol=1e-5)


@pytest.mark.parametrize("name", IN_BFLOAT16)
def test_without_bfloat16_an_operation_is_torchs(name):
    shapes, _, options = IN_BFLOAT16[name]
    g = torch.Generator().manual_seed(4)
    given = [torch.randn(*shape, generator=g) for shape in shapes]
    assert torch.equal(getattr(layers, name)(*given, **options), getattr(F, name)(*given, **options))
