"""Shifted images: lengths that scale, angles that add up, noise of the level asked for, and fields without a galaxy."""

import numpy as np
import pytest

from radio_bnn.data import shifts
from radio_bnn.data.ruler import measure


def doubles(n: int = 4) -> np.ndarray:
    """A bright double across the middle of each image, of growing size."""
    images = np.zeros((n, 150, 150), np.uint8)
    for k, image in enumerate(images):
        half = 12 + 3 * k
        image[73:77, 75 - half : 75 + half] = 60
        for x in (75 - half, 75 + half - 4):
            image[73:77, x : x + 4] = 255
    return images


IMAGES, RNG = doubles(), np.random.default_rng


@pytest.mark.parametrize(
    ("title", "factor"), [("pixels of 1.5 times the width", 2 / 3), ("pixels of 2/3 of the width", 1.5)]
)
def test_lengths_scale_with_the_pixels(title, factor):
    found = shifts.SHIFTS[title](IMAGES, RNG(0))
    assert found.shape == IMAGES.shape and found.dtype == np.uint8
    for before, after in zip(IMAGES, found, strict=True):
        assert measure(after).extent == pytest.approx(factor * measure(before).extent, abs=1.8 * 3)


def test_two_turns_by_45_degrees_are_a_right_angle_and_lengths_stay():
    once = shifts.turned(IMAGES, RNG(0))
    twice = shifts.turned(once, RNG(0)).astype(float)
    exact = np.rot90(IMAGES, 1, axes=(1, 2)).astype(float)
    assert np.corrcoef(twice.ravel(), exact.ravel())[0, 1] > 0.9
    for before, after in zip(IMAGES, once, strict=True):
        assert measure(after).extent == pytest.approx(measure(before).extent, abs=1.8 * 4)
    assert once[:, 75, 75].min() > 0 and once[:, 0, 0].max() == 0


def test_noise_is_clipped_where_it_is_faint_and_lights_few_pixels():
    found = shifts.noisier(np.zeros((40, 150, 150), np.uint8), RNG(0))
    lit = (found > 0).mean()
    assert 0.0004 < lit < 0.004  # beyond three standard deviations lie 0.00135, in a circle of 0.785 of the image
    bright = shifts.noisier(IMAGES, RNG(1))
    assert (bright.max(axis=(1, 2)) == 255).all()
    assert not np.array_equal(bright, shifts.noisier(IMAGES, RNG(2)))
    assert np.array_equal(bright, shifts.noisier(IMAGES, RNG(1)))


def test_an_empty_field_has_nothing_at_its_centre_and_a_point_source_nothing_around_it():
    fields, sources = shifts.empty(IMAGES, RNG(0)), shifts.points(IMAGES, RNG(0))
    assert len(fields) == len(sources) == len(IMAGES)
    for image in sources:
        assert image[73:77, 73:77].max() == 255 and measure(image).extent < 30
    assert np.mean([image[70:80, 70:80].mean() for image in fields]) < 40
