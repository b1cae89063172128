import math

import numpy as np
import pytest
import torch
from scenarios import closeness, images, network

from radio_bnn.augment import (
    D4,
    d4_element,
    log_mean_probs,
    mean_logits,
    network_input,
    orbit,
    orbit_forward,
    orbit_of,
    rotate,
    training_view,
)
from radio_bnn.config import CHOICES
from radio_bnn.data.galaxies import normalise
from radio_bnn.layers import one_draw
from radio_bnn.seeds import generator
from radio_bnn.sparse import Windows


def test_right_angles_are_exact():
    pixels = images(2)
    turned = rotate(pixels, np.full(2, math.pi / 2))
    np.testing.assert_allclose(turned, np.rot90(pixels, axes=(1, 2)), atol=1e-2)


def test_rotation_keeps_the_background_and_the_flux_of_a_centred_source():
    pixels = np.zeros((1, 150, 150), np.uint8)
    pixels[0, 60:90, 65:85] = 100
    turned = rotate(pixels, np.array([0.7]))
    assert turned.min() == 0
    assert (turned == 0).mean() > 0.9
    assert turned.sum() == pytest.approx(pixels.sum(), rel=1e-3)


def test_d4_is_a_group_of_eight_different_images():
    x = normalise(images(1), torch.float64)
    orbit = [d4_element(x, k) for k in range(8)]
    assert len({tuple(o.flatten().tolist()) for o in orbit}) == 8
    for element in range(8):
        turned = d4_element(x, element)
        assert any(torch.equal(d4_element(turned, inverse), x) for inverse in range(8))
    assert torch.equal(torch.sort(orbit[5].flatten()).values, torch.sort(x.flatten()).values)


def test_views_select_and_draw_by_their_generator():
    pixels, index = images(6, signal=0.001), torch.tensor([4, 1])
    plain = training_view("none", pixels, generator=generator(0, "view"))(index)
    assert isinstance(plain, Windows) and len(plain) == 2
    first, again, other = (
        training_view("rotation", pixels, generator=generator(seed, "view"))(index) for seed in (0, 0, 1)
    )
    assert torch.equal(first.rows, again.rows)
    assert first.rows.shape != other.rows.shape or not torch.equal(first.rows, other.rows)
    view = training_view("d4", pixels, generator=generator(0, "view"))
    assert len({tuple(view(index).site.tolist()) for _ in range(40)}) == 8
    orbit_view = training_view("orbit_logits", pixels, generator=generator(0, "view"))(index)
    assert torch.equal(orbit_view.rows, plain.rows)


def dense_orbit(pixels: np.ndarray) -> list[torch.Tensor]:
    """The eight views made by numpy, without the package's own turns or windows."""
    flipped = pixels[:, :, ::-1]
    views = [np.rot90(p, k, axes=(1, 2)) for p in (pixels, flipped) for k in range(4)]
    return [normalise(np.ascontiguousarray(view), torch.float64) for view in views]


BY_HAND = {
    "logits": lambda views: sum(views) / 8,
    "probs": lambda views: (sum(torch.softmax(view, -1) for view in views) / 8).log(),
}


@pytest.mark.parametrize("average", BY_HAND)
def test_the_orbit_average_is_the_average_over_eight_turned_images(average):
    model, pixels = network(), images(3)
    with one_draw(model, generator(0, "noise")), torch.no_grad():
        found = orbit_forward(model, network_input(pixels, dtype=torch.float64), average)
        by_hand = BY_HAND[average]([model(view) for view in dense_orbit(pixels)])
    assert closeness(found, by_hand) < 1e-12


@pytest.mark.parametrize("average", BY_HAND)
@pytest.mark.parametrize("element", D4)
def test_the_orbit_average_is_invariant_and_the_network_is_not(average, element):
    model, x = network(), network_input(images(2), dtype=torch.float64)
    with one_draw(model, generator(0, "noise")), torch.no_grad():
        turned = d4_element(x, element)
        assert closeness(orbit_forward(model, turned, average), orbit_forward(model, x, average)) < 1e-12
        if element:
            assert closeness(model(turned), model(x)) > 1e-6


def test_averages_of_equal_views_are_the_view_and_of_unequal_views_differ():
    view = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    same, opposed = view.expand(8, 1, 2), torch.stack([view, -2 * view] * 4)
    torch.testing.assert_close(mean_logits(same), view)
    torch.testing.assert_close(log_mean_probs(same), view.log_softmax(-1))
    assert (mean_logits(opposed).softmax(-1) - log_mean_probs(opposed).exp()).abs().max() > 0.05


def test_every_orbit_of_a_config_has_its_average():
    orbits = [orbit_of(name) for name in CHOICES["augmentation"]]
    assert orbits == ["none", "none", "none", "logits", "probs"]
    with pytest.raises(ValueError, match="orbit='mean'.*logits"):
        orbit_forward(network(), network_input(images(1), dtype=torch.float64), "mean")


def test_an_orbit_starts_with_the_image_and_has_eight_views():
    pixels = torch.as_tensor(images(1))
    views = orbit(pixels)
    assert torch.equal(views[0], pixels)
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8
