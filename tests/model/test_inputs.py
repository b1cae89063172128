import math

import numpy as np
import pytest
import torch
from scenarios import images

from radio_bnn.model.inputs import d4_element, normalise, orbit, rotate, training_view
from radio_bnn.model.sparse import Windows
from radio_bnn.seeds import generator


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


def test_an_orbit_starts_with_the_image_and_has_eight_views():
    pixels = torch.as_tensor(images(1))
    views = orbit(pixels)
    assert torch.equal(views[0], pixels)
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8
