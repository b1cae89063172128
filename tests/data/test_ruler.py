"""The Fanaroff-Riley ruler: lengths that are known, the two classes, and where it has nothing to measure."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from radio_bnn.data import load
from radio_bnn.data.galaxies import IMAGE_SIZE, PIXEL_ARCSEC
from radio_bnn.data.ruler import LINK_ARCSEC, islands, measure, source

MIDDLE = IMAGE_SIZE // 2


def bar(peaks: tuple[int, int], half: int = 20, width: int = 1) -> np.ndarray:
    """A faint bar across the middle, ``2 half + 1`` pixels long, with bright pixels so far from the centre."""
    image = np.zeros((IMAGE_SIZE + 1, IMAGE_SIZE + 1), np.uint8)
    image[MIDDLE - width : MIDDLE + width + 1, MIDDLE - half : MIDDLE + half + 1] = 10
    for offset in peaks:
        image[MIDDLE, MIDDLE + offset] = 255
    return image


@pytest.mark.parametrize(("peaks", "apart"), [((-20, 20), 40), ((-3, 4), 7), ((-10, 2), 12)])
def test_a_bar_has_the_lengths_that_it_was_drawn_with(peaks, apart):
    found = measure(bar(peaks))
    assert found.peaks == pytest.approx(apart * PIXEL_ARCSEC, rel=1e-12)
    assert found.extent == pytest.approx(41 * PIXEL_ARCSEC, rel=1e-12)
    assert found.ratio == pytest.approx(apart / 41)


def test_a_right_angle_and_a_mirror_change_nothing():
    image = bar((-18, 7), width=2)
    image[MIDDLE - 3, MIDDLE + 5] = 90
    straight = measure(image)
    for other in (np.rot90(image), np.rot90(image, 2), image[:, ::-1], image.T):
        assert measure(other) == pytest.approx(straight, rel=1e-9)
    assert measure(2 * (image // 2)).peaks == straight.peaks  # brightness has no unit


def test_far_islands_are_other_sources_and_near_ones_the_same():
    def two(gap: int) -> np.ndarray:
        image = bar((0, 5), half=5)
        image[MIDDLE - 1 : MIDDLE + 2, MIDDLE + 5 + gap : MIDDLE + 15 + gap] = 50
        return image

    inside, outside = int(LINK_ARCSEC / PIXEL_ARCSEC) - 1, int(LINK_ARCSEC / PIXEL_ARCSEC) + 3
    assert measure(two(inside)).extent == pytest.approx((15 + inside + 5) * PIXEL_ARCSEC)
    assert measure(two(outside)).extent == pytest.approx(11 * PIXEL_ARCSEC)
    assert measure(two(outside), link=100.0).extent == pytest.approx((15 + outside + 5) * PIXEL_ARCSEC)
    assert measure(two(outside), within=PIXEL_ARCSEC * 5).extent == pytest.approx(11 * PIXEL_ARCSEC)


def test_noise_of_a_pixel_is_no_source_and_an_empty_field_has_no_length():
    empty = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    assert measure(empty) == (0, 0) and measure(empty).ratio == 0 and not source(empty).any()
    empty[10, 10] = 255
    assert not islands(empty).any() and measure(empty) == (0, 0)
    assert measure(empty, within=200.0) == (0, PIXEL_ARCSEC)  # nothing is left out, and a point has one side


def test_what_lies_on_one_side_of_the_centre_is_halved_in_its_own_middle():
    image = np.zeros((IMAGE_SIZE + 1, IMAGE_SIZE + 1), np.uint8)
    image[MIDDLE - 1 : MIDDLE + 2, MIDDLE + 5 : MIDDLE + 26] = 10
    image[MIDDLE, [MIDDLE + 5, MIDDLE + 25]] = 255
    assert measure(image) == pytest.approx((20 * PIXEL_ARCSEC, 21 * PIXEL_ARCSEC))


def test_it_follows_the_ratio_that_simulated_galaxies_were_drawn_with():
    galaxies = load("simulated", counts={100: (80, 1), 200: (80, 1)}).galaxies
    found = np.array([measure(image).ratio for image in galaxies.images])
    assert np.corrcoef(found, galaxies.ratio)[0, 1] > 0.4
    assert roc_auc_score(galaxies.code // 100, found) > 0.7


def test_the_classes_of_mirabest_are_told_apart_alike_whatever_is_linked(mirabest_archive):
    galaxies = load("mirabest", fold=0)["test"]
    ranked = [
        roc_auc_score(galaxies.morphology, [measure(x, link=link).ratio for x in galaxies.images])
        for link in (LINK_ARCSEC / 2, LINK_ARCSEC, 2 * LINK_ARCSEC)
    ]
    assert min(ranked) > 0.8 and max(ranked) - min(ranked) < 0.05
