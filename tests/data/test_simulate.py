"""The simulator: counts, determinism, the physics of the recipe, and the comparison with other images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from radio_bnn.data import cutouts, load
from radio_bnn.data import simulate as sim
from radio_bnn.data.cutouts import circular_mask, preprocess
from radio_bnn.data.galaxies import COUNTS
from radio_bnn.paper.realism import FEATURES, distinguish, features

FEW = {
    100: (12, 3),
    102: (2, 1),
    104: (1, 0),
    110: (8, 2),
    200: (12, 3),
    201: (1, 1),
    210: (8, 2),
    300: (2, 1),
    310: (2, 0),
}


@pytest.fixture(scope="module")
def galaxies():
    return sim.simulate(counts=FEW, seed=3)


@pytest.fixture(scope="module")
def population():
    """Labels and latents without images: 4000 galaxies in MiraBest's proportions."""
    drawn = sim.draw_labelled({c: sum(n) for c, n in sim.scaled_counts(4000).items()}, np.random.default_rng(0))
    return np.array([code for code, _ in drawn]), np.array([latent.ratio for _, latent in drawn])


def noise_free_halves(source):
    """Brightest distance from the core (arcsec) on the side x > 0 and on the side x < 0, core left out."""
    image = sim.render(source[1:])
    right, left = image[:, 150:], image[:, 149::-1]
    spots = [np.unravel_index(half.argmax(), half.shape) for half in (right, left)]
    return [1.8 * np.hypot(x + 0.5, y - 149.5) for y, x in spots]


def test_the_same_seed_gives_the_same_galaxies_and_another_seed_others():
    galaxies, again, other = (sim.simulate(counts={100: (2, 1), 210: (1, 2), 300: (1, 0)}, seed=s) for s in (3, 3, 4))
    for field in ("images", "code", "in_test_batch", "name", "ra", "dec", "redshift", "size", "ratio", "p_fri"):
        np.testing.assert_array_equal(getattr(again, field), getattr(galaxies, field))
    assert not np.array_equal(other.images, galaxies.images)


def test_every_class_has_its_number_in_train_and_test(galaxies):
    for code in COUNTS:
        of_class = galaxies.code == code
        found = (of_class & ~galaxies.in_test_batch).sum(), (of_class & galaxies.in_test_batch).sum()
        assert found == FEW.get(code, (0, 0))
    assert np.unique(galaxies.name).size == len(galaxies)
    assert not np.array_equal(galaxies.code, np.sort(galaxies.code))


def test_images_are_what_the_preprocessing_promises(galaxies):
    assert galaxies.images.shape == (len(galaxies), 150, 150) and galaxies.images.dtype == np.uint8
    assert (galaxies.images.max((1, 2)) == 255).all()
    assert not galaxies.images[:, ~circular_mask()].any()
    assert np.median(galaxies.images, axis=(1, 2)).max() == 0


def test_the_catalogue_stays_in_the_ranges_of_mirabest(galaxies):
    assert ((galaxies.ratio >= 0) & (galaxies.ratio <= 1)).all()
    assert ((galaxies.size >= 6) & (galaxies.size <= 270)).all()
    assert ((galaxies.redshift >= 0.03) & (galaxies.redshift <= 0.55)).all()
    assert ((galaxies.dec >= -8) & (galaxies.dec <= 64)).all()


def test_p_fri_falls_with_the_ratio_and_is_even_at_one_half():
    ratio = np.linspace(0, 1, 101)
    p = sim.probability_fri(ratio)
    assert (np.diff(p) < 0).all()
    assert p[50] == pytest.approx(0.5)
    np.testing.assert_allclose(p + p[::-1], 1)


def test_the_annotators_agree_as_often_as_the_binomial_says():
    latent = sim.Latent("standard", (0.45, 0.45), (0.5, 0.5))
    rng, n = np.random.default_rng(0), 4000
    codes = np.array([sim.annotate(latent, rng) for _ in range(n)])
    p = float(sim.probability_fri(0.45))
    fri, unanimous = binom.sf(2, 5, p), p**5 + (1 - p) ** 5
    for found, expected in (((codes < 200).mean(), fri), ((codes % 100 == 0).mean(), unanimous)):
        assert abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / n)


def test_confident_galaxies_lie_farther_from_one_half(population):
    code, ratio = population
    certainty, confident = np.abs(sim.probability_fri(ratio) - 0.5), code // 10 % 10 == 0
    for morphology in (1, 2):
        of = code // 100 == morphology
        assert certainty[of & confident].mean() > certainty[of & ~confident].mean() + 0.1


def test_labels_follow_the_ratio(population):
    code, ratio = population
    assert ratio[code // 100 == 1].mean() < 0.4 < 0.6 < ratio[code // 100 == 2].mean()


@pytest.mark.parametrize("ratio", [0.7, 0.8, 0.9])
def test_the_brightest_points_of_an_frii_lie_at_its_ratio(ratio):
    rng = np.random.default_rng(1)
    latent = sim.Latent("standard", (ratio, ratio), (0.5, 0.5))
    measured = [sum(noise_free_halves(sim.draw_source(latent, 200.0, 100.0, rng))) / 200 for _ in range(41)]
    assert np.median(measured) == pytest.approx(ratio, abs=sim.BEAM / 100)


def test_a_hybrid_is_bright_near_the_core_on_one_side_and_at_the_edge_on_the_other():
    rng = np.random.default_rng(2)
    latent = sim.Latent("hybrid", (0.25, 0.85), (0.5, 0.5))
    measured = np.median([noise_free_halves(sim.draw_source(latent, 200.0, 100.0, rng)) for _ in range(41)], axis=0)
    assert measured[0] / 100 < 0.5 < measured[1] / 100
    assert latent.ratio == pytest.approx(0.55)


def test_a_double_double_has_an_inner_pair_of_lobes():
    rng = np.random.default_rng(5)
    outer, inner = (
        sim.draw_source(sim.Latent(k, (0.9, 0.9), (0.5, 0.5)), 200.0, 1.0, rng) for k in ("standard", "double-double")
    )
    assert len(inner) - 1 == 2 * (len(outer) - 1)


@pytest.mark.parametrize(
    "kind, ratio", [("standard", 0.3), ("standard", 0.8), ("wide-angle tail", 0.3), ("double-double", 0.9)]
)
def test_rendering_conserves_flux(kind, ratio):
    source = sim.draw_source(sim.Latent(kind, (ratio, ratio), (0.5, 0.5)), 60.0, 80.0, np.random.default_rng(0))
    assert source[:, 2].sum() == pytest.approx(80)
    beam_area = 2 * np.pi * (sim.BEAM / 1.8) ** 2
    assert sim.render(source).sum() / beam_area == pytest.approx(80, rel=1e-3)


def test_tails_are_swept_to_one_side_and_more_so_in_a_head_tail():
    def sweep(kind):
        rng = np.random.default_rng(0)
        sources = [sim.draw_source(sim.Latent(kind, (0.3, 0.3), (0.5, 0.5)), 100.0, 1.0, rng) for _ in range(40)]
        return np.mean([np.average(s[:, 1], weights=s[:, 2]) for s in sources])

    assert abs(sweep("standard")) < 5 < 10 < sweep("wide-angle tail") < sweep("head-tail")


def test_noise_has_the_level_and_the_correlation_of_the_beam():
    rng = np.random.default_rng(0)
    fields = np.array([sim.draw_noise(rng) for _ in range(60)])
    assert fields.std(axis=(1, 2)).mean() == pytest.approx(sim.NOISE, rel=0.05)
    pixels = sim.BEAM / 1.8
    neighbour = (fields[..., 1:] * fields[..., :-1]).mean() / (fields**2).mean()
    assert neighbour == pytest.approx(np.exp(-1 / (2 * pixels**2)), abs=0.05)


def test_features_do_not_depend_on_the_position_angle():
    source = sim.draw_source(sim.Latent("standard", (0.3, 0.3), (0.5, 0.5)), 80.0, 100.0, np.random.default_rng(0))
    noise = 0.15 * np.random.default_rng(1).standard_normal((300, 300))
    images = [preprocess(sim.render(sim.rotate(source, a)) + noise) for a in np.radians([0, 31, 90, 200])]
    names, values = features(np.array(images))
    for name, tolerance in (
        ("extent", 0.02),
        ("elongation", 0.05),
        ("concentration", 0.05),
        ("pixels in the largest island", 0.1),
    ):
        column = values[:, names.index(name)]
        np.testing.assert_allclose(column, column[0], rtol=tolerance)


def test_quarter_turns_about_the_centre_leave_every_feature_unchanged(galaxies):
    odd = galaxies.images[:8, 1:, 1:]
    np.testing.assert_allclose(features(odd)[1], features(np.rot90(odd, axes=(1, 2)))[1], rtol=1e-9, atol=1e-9)


def test_features_of_a_known_image():
    image = np.zeros((1, 150, 150), np.uint8)
    image[0, 70:81, 75] = 255
    image[0, 10, 10] = 51
    names, values = features(image)
    found = dict(zip(names, values[0], strict=True))
    assert names == FEATURES
    assert found["non-zero pixels"] == 12
    assert (found["islands"], found["islands of one pixel"], found["islands of 8 pixels or more"]) == (2, 1, 1)
    assert found["faintest non-zero pixel"] == 51
    assert found["extent"] == pytest.approx(np.sqrt(10), abs=1e-3)
    assert found["asymmetry"] == 0
    assert found["offset of the centroid"] == pytest.approx(0, abs=1e-12)
    assert not features(np.zeros((1, 150, 150), np.uint8))[1].any()


def test_halves_of_one_population_cannot_be_told_apart_but_specks_can(galaxies):
    even, odd = galaxies[::2][:30], galaxies[1::2][:30]
    four_sigma = 4 * np.sqrt(61 / (12 * 30 * 30))  # of the AUROC of a classifier that guesses
    assert abs(distinguish(even, odd, trees=10, folds=3)["auroc"] - 0.5) < four_sigma
    rng = np.random.default_rng(0)
    specks = np.where(rng.random(odd.images.shape) < 0.01, 255, odd.images).astype(np.uint8)
    told = distinguish(even, replace(odd, images=specks), trees=10, folds=3)
    assert told["auroc"] > 0.95
    assert set(told["importance"]) == set(FEATURES)
    assert (np.diff(list(told["importance"].values())) <= 0).all()
    with pytest.raises(ValueError, match="at least 5"):
        distinguish(even, odd[:3])


@pytest.mark.parametrize("n", [1, 7, 100, 1256, 5003])
def test_scaled_counts_have_the_size_asked_for(n):
    counts = sim.scaled_counts(n)
    assert sum(map(sum, counts.values())) == n
    assert list(counts) == list(COUNTS)
    assert all(abs(got - n * real / 1256) < 1 for c in COUNTS for got, real in zip(counts[c], COUNTS[c], strict=True))


def test_scaled_counts_of_the_real_size_are_the_real_counts():
    assert sim.scaled_counts(1256) == COUNTS


@pytest.fixture(scope="module")
def votes():
    """A population as it comes, without images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sim, "observe", lambda *_: None)
        patch.setattr(cutouts, "preprocess", lambda _: np.zeros((150, 150), np.uint8))
        return {s: sim.voted(4000, labellers=s, seed=1) for s in (1, 10)}


def test_a_first_vote_has_the_probability_of_the_ratio_and_agreement_that_of_asking_all(votes):
    for s, galaxies in votes.items():
        p, fri = galaxies.p_fri, galaxies.morphology == 1
        for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
            inside = (p >= low) & (p < high)
            error = np.sqrt((p[inside] * (1 - p[inside])).sum()) / inside.sum()
            assert abs(fri[inside].mean() - p[inside].mean()) < 4 * error + 1e-9
        agree = p**s + (1 - p) ** s
        assert galaxies.confident.mean() == pytest.approx(agree.mean(), abs=0.02)
    assert votes[1].confident.all() and 0.3 < votes[10].confident.mean() < 0.9


def test_one_galaxy_in_eight_is_in_the_test_batch_and_nobody_is_no_labeller(votes):
    assert votes[10].in_test_batch.mean() == pytest.approx(1 / 8, abs=0.002)
    assert set(votes[10].code) == {100, 110, 200, 210}
    with pytest.raises(ValueError, match="n=0 and labellers=3 must be at least 1"):
        sim.voted(0, labellers=3)
    with pytest.raises(ValueError, match="voted is another simulated population"):
        load("mirabest", voted=(10, 2))


def test_a_population_as_it_comes_is_divided_and_trained_on_by_fold():
    confident, everyone = (load("simulated", voted=(120, 10), fold=0, train_on=t) for t in ("confident", "labelled"))
    assert len(everyone["train"]) > len(confident["train"]) and not everyone["train"].confident.all()
    assert confident["train"].confident.all() and len(confident["hybrid"]) == 0


@pytest.mark.parametrize(
    "counts, message",
    [
        ({999: (1, 0)}, "unknown class code 999"),
        ({100: (-1, 2)}, r"counts\[100\] is \(-1, 2\)"),
        ({100: (1.5, 2)}, "two integers"),
        ({100: (1,)}, "two integers"),
        ({100: 3}, "two integers"),
        ({100: (0, 0)}, "no galaxy"),
        ({}, "no galaxy"),
    ],
)
def test_impossible_counts_are_one_clear_error(counts, message):
    with pytest.raises(ValueError, match=message):
        sim.simulate(counts=counts)


def test_a_class_that_nobody_is_put_into_is_an_error(monkeypatch):
    monkeypatch.setattr(sim, "annotate", lambda latent, rng: 200)
    with pytest.raises(ValueError, match=r"class 100 .* cannot be filled: 2 of 2"):
        sim.simulate(counts={100: (1, 1)})


def test_no_galaxies_is_not_a_size():
    with pytest.raises(ValueError, match="n is 0"):
        sim.scaled_counts(0)


def test_a_drawn_cutout_is_a_raw_field_that_the_pipeline_accepts():
    from radio_bnn.data import cutouts
    from radio_bnn.data.simulate import draw_cutout

    raw = draw_cutout(200, seed=1)
    assert raw.shape == (300, 300) and (raw < 0).any()
    assert cutouts.preprocess(raw).max() == 255
    np.testing.assert_array_equal(raw, draw_cutout(200, seed=1))
    with pytest.raises(ValueError, match="999"):
        draw_cutout(999)
