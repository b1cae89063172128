"""The sparse convolutions give the dense network's numbers, in float64, for logits and every gradient."""

import pytest
import torch
from scenarios import BACKGROUND, closeness, images, network
from torch import nn

from radio_bnn.model import layers, sparse
from radio_bnn.model.inputs import d4_element, normalise
from radio_bnn.model.layers import Conv2d, one_draw
from radio_bnn.model.sparse import AT_ONCE, Windows, conv_pool_relu, prepare, windows
from radio_bnn.seeds import generator

LIMIT = 1e-11


def border(side: int = 150):
    pixels = images(4, side=side)
    pixels[0] = 0
    pixels[1, [0, 0, -1, -1, side // 2], [0, -1, 0, -1, 0]] = 255
    pixels[2] = 0
    pixels[2, 0], pixels[2, :, -1] = 200, 90
    return pixels


CASES = {
    "mostly background": images(AT_ONCE + 3),
    "content at the border": border(),
    "151 x 151": border(151),
    "empty": images(3, signal=0.0),
    "full": images(2, signal=1.0),
    "even by odd": border(152)[:, :, :151],
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", ["vi", "ml"])
@pytest.mark.parametrize("dense_above", [-1, 1])
def test_logits_and_all_gradients_equal_the_dense_network(monkeypatch, name, method, dense_above):
    monkeypatch.setattr(sparse, "SECOND_DENSE_ABOVE", dense_above)
    dense = normalise(CASES[name], torch.float64)
    outputs, gradients = [], []
    for x in (dense, windows(dense, BACKGROUND)):
        model = network(method=method)
        with one_draw(model, generator(0, "noise")):
            logits = model(x)
        nn.functional.cross_entropy(logits, torch.arange(len(logits)) % 2).backward()
        outputs.append(logits.detach())
        gradients.append([p.grad for p in model.parameters()])
    assert closeness(outputs[1], outputs[0]) <= LIMIT
    assert all(closeness(a, b) <= LIMIT for a, b in zip(gradients[1], gradients[0], strict=True))


def test_the_second_layer_rounds_as_its_convolution_does_where_there_are_no_instructions(monkeypatch):
    monkeypatch.setattr(layers, "has_bfloat16", lambda: False)
    monkeypatch.setattr(sparse, "SECOND_DENSE_ABOVE", 1)
    conv, images_in = network(method="ml").float().conv2, windows(normalise(CASES["mostly background"]), BACKGROUND)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        below = conv_pool_relu(network(method="ml").float().conv1, images_in)
        found, dense = conv_pool_relu(conv, below), conv_pool_relu(conv, below.dense())
    assert len(found.values) > 0
    assert found.values.dtype == dense.dtype == torch.bfloat16
    # both sums of the same products in float32, each rounded once: a unit in the last of eight digits
    assert torch.allclose(found.dense().float(), dense.float(), rtol=2**-7, atol=1e-6)


def test_images_that_were_predicted_can_be_trained_on(monkeypatch):
    monkeypatch.setattr(sparse, "SECOND_DENSE_ABOVE", 1)
    gradients = []
    for predicted in (False, True):
        x, model = windows(normalise(images(2), torch.float64), BACKGROUND), network(method="ml")
        if predicted:
            with torch.inference_mode():
                model(x)
        model(x).sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(map(torch.equal, *gradients))


def test_only_windows_with_signal_are_kept():
    pixels = images(1, signal=0.0)
    pixels[0, 75, 75] = 9
    x = windows(normalise(pixels, torch.float64), BACKGROUND)
    assert len(x.rows) == 9
    assert (x.rows != BACKGROUND).sum() == 9


def test_images_that_are_not_mostly_background_stay_dense():
    full, empty = (normalise(images(2, signal=s), torch.float64) for s in (1.0, 0.0))
    assert isinstance(prepare(full, BACKGROUND), torch.Tensor)
    assert isinstance(prepare(empty, BACKGROUND), Windows)


def test_indexing_selects_images_in_order():
    x = windows(normalise(images(5), torch.float64), BACKGROUND)
    conv = Conv2d(1, 6, 5, padding=1).double()
    nn.init.normal_(conv.weight, generator=generator(0, "init"))
    index = torch.tensor([3, 0, 3, 4])
    whole = conv_pool_relu(conv, x).dense()
    assert closeness(conv_pool_relu(conv, x[index]).dense(), whole[index]) < LIMIT
    assert closeness(conv_pool_relu(conv, x[1:3]).dense(), whole[1:3]) < LIMIT


@pytest.mark.parametrize("element", range(8))
def test_d4_acts_on_windows_as_on_images(element):
    dense = normalise(border(), torch.float64)
    model = network(method="ml")
    sparse = d4_element(windows(dense, BACKGROUND), element)
    assert closeness(model(sparse), model(d4_element(dense, element))) <= LIMIT


def test_d4_of_odd_images_is_refused():
    x = windows(normalise(border(151), torch.float64), BACKGROUND)
    with pytest.raises(ValueError, match="even side, not 151 x 151"):
        x.transformed(1, False)
