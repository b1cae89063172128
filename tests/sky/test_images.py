"""Any pixels of the sky become those of FIRST: closed forms of Gaussian sources, and what is left alone bit for bit."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from radio_bnn.data import load
from radio_bnn.data.cutouts import Unusable, circular_mask, preprocess
from radio_bnn.data.simulate import draw_cutout
from radio_bnn.sky.images import Sky, as_input, celestial_wcs, cutout, is_blended

# East and north of the centre in arcsec, flux density: all within what MiraBest's network sees.
POINTS = ((-51.3, 12.1, 3.0), (20.7, 60.2, 1.0), (80.5, -70.9, 2.0), (0.4, -0.8, 5.0))
WIDTH = 8 * np.log(2)


def header_of(shape, cd, **keywords):
    """TAN about (150, 30) in the middle of the image, ``cd`` in arcsec."""
    height, width = shape
    names = {f"CD{i + 1}_{j + 1}": cd[i][j] / 3600 for i in (0, 1) for j in (0, 1)}
    plane = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 30.0}
    middle = {"CRPIX1": (width + 1) / 2, "CRPIX2": (height + 1) / 2}
    return fits.Header({"NAXIS": 2, "NAXIS1": width, "NAXIS2": height} | plane | middle | names | keywords)


def sky_of(pixels, header):
    return Sky(pixels, header, celestial_wcs(header))


def turned(scale, degrees, mirrored=False):
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c if mirrored else -c, s], [s if not mirrored else -s, c]])


def gaussians(shape, cd, major=5.4, minor=None, angle=0.0):
    """Points seen by an elliptical beam, brightness per beam, on the pixels of such a header."""
    minor = minor or major
    y, x = np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2
    east, north = np.tensordot(np.asarray(cd), np.stack([x, y]), axes=1)
    u, v = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    image = np.zeros(shape)
    for e, n, flux in POINTS:
        along, across = u * (east - e) + v * (north - n), v * (east - e) - u * (north - n)
        image += flux * np.exp(-WIDTH / 2 * (np.square(along / major) + np.square(across / minor)))
    return image


STANDARD = turned(1.8, 0.0)
TRUTH = gaussians((300, 300), STANDARD)


@pytest.mark.parametrize("shape", [(300, 300), (301, 340), (305, 302)])
def test_what_is_as_first_already_is_only_cut_out(shape):
    image = np.random.default_rng(0).normal(size=shape)
    found = cutout(sky_of(image, header_of(shape, STANDARD)))
    top, left = (shape[0] - 300) // 2, (shape[1] - 300) // 2
    assert found.flags == () and np.array_equal(found.raw, image[top : top + 300, left : left + 300])
    assert (found.ra, found.dec) == pytest.approx((150, 30))


def test_a_simulated_cutout_keeps_its_input_bit_for_bit():
    raw = draw_cutout(200, seed=3)
    image, flags, message = as_input(cutout(sky_of(raw, header_of(raw.shape, STANDARD))).raw)
    assert np.array_equal(image, preprocess(raw)) and flags == [] and message == ""


SAME_SCALE = {
    "CDELT": {"CDELT1": -0.0005, "CDELT2": 0.0005},
    "PC": {"CDELT1": 0.0005, "CDELT2": 0.001, "PC1_1": -1.0, "PC2_2": 0.5},
    "arcsec": {"CDELT1": -1.8, "CDELT2": 1.8, "CUNIT1": "arcsec", "CUNIT2": "arcsec"},
    "half a degree turned": {"CDELT1": -0.0005, "CDELT2": 0.0005, "CROTA2": 0.5},
    "four axes": {"CDELT1": -0.0005, "CDELT2": 0.0005, "CTYPE3": "FREQ", "CTYPE4": "STOKES", "NAXIS": 4},
}


@pytest.mark.parametrize("keywords", SAME_SCALE.values(), ids=SAME_SCALE.keys())
def test_the_scale_is_that_of_the_whole_wcs(keywords):
    header = header_of((300, 300), STANDARD)
    for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        del header[name]
    header.update(keywords)
    found = cutout(sky_of(TRUTH, header))
    assert found.flags == () and np.array_equal(found.raw, TRUTH)


PIXELS = {
    "1.5 arcsec": ((401, 380), turned(1.5, 0.0)),
    "1 arcsec, turned": ((801, 800), turned(1.0, 30.0)),
    "turned": ((460, 450), turned(1.8, -40.0)),
    "mirrored": ((400, 400), turned(1.6, 0.0, mirrored=True)),
    "unequal": ((500, 400), np.array([[-2.0, 0.0], [0.0, 1.2]])),
    "sheared": ((500, 500), np.array([[-1.5, 0.3], [0.1, 1.6]])),
    "north to the left": ((400, 400), turned(1.5, 90.0)),
}


@pytest.mark.parametrize(("shape", "cd"), PIXELS.values(), ids=PIXELS.keys())
def test_other_pixels_show_the_same_brightness_at_first_s(shape, cd):
    found = cutout(sky_of(gaussians(shape, cd), header_of(shape, cd)))
    assert found.flags == ("resampled",)
    assert abs(found.raw - TRUTH).max() < 0.01 * TRUTH.max()
    assert found.raw.sum() == pytest.approx(TRUTH.sum(), rel=1e-3)


def test_axes_may_be_exchanged():
    header = header_of((300, 300), STANDARD)
    for name in ("CTYPE", "CRVAL", "CRPIX"):
        header[f"{name}1"], header[f"{name}2"] = header[f"{name}2"], header[f"{name}1"]
    header["CD1_1"], header["CD2_2"] = header["CD2_2"], header["CD1_1"]
    found = cutout(sky_of(np.ascontiguousarray(TRUTH.T), header))
    assert found.flags == ("resampled",)
    np.testing.assert_allclose(found.raw[1:-1, 1:-1], TRUTH[1:-1, 1:-1], atol=1e-6)


def test_galactic_images_are_turned_north_up():
    wcs = WCS(naxis=2)
    centre = WCS(header_of((300, 300), STANDARD)).pixel_to_world(149.5, 149.5).galactic
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["GLON-TAN", "GLAT-TAN"], [centre.l.deg, centre.b.deg], [250.5, 250.5]
    wcs.wcs.cdelt = [-1.6 / 3600, 1.6 / 3600]
    columns, rows = np.meshgrid(np.arange(500), np.arange(500))
    x, y = WCS(header_of((300, 300), STANDARD)).world_to_pixel(wcs.pixel_to_world(columns, rows))
    image = sum(
        f * np.exp(-WIDTH / 2 * ((149.5 - x - e / 1.8) ** 2 + (y - 149.5 - n / 1.8) ** 2) / 9) for e, n, f in POINTS
    )
    found = cutout(Sky(image, {}, wcs))
    assert found.flags == ("resampled",)
    assert abs(found.raw - TRUTH).max() < 0.01 * TRUTH.max()


def test_a_finer_beam_is_widened_and_a_point_keeps_its_peak_per_beam():
    shape, cd = (701, 700), turned(1.0, 20.0)
    image = gaussians(shape, cd, major=4.0, minor=3.0, angle=35.0)
    beam = {"BMAJ": 4.0 / 3600, "BMIN": 3.0 / 3600, "BPA": 35.0}
    found = cutout(sky_of(image, header_of(shape, cd, BUNIT="JY/BEAM", **beam)))
    assert found.flags == ("resampled",)
    assert abs(found.raw - TRUTH).max() < 0.01 * TRUTH.max()
    other = cutout(sky_of(image, header_of(shape, cd, BUNIT="MJy/sr", **beam)))
    np.testing.assert_allclose(other.raw * 5.4**2 / 12.0, found.raw, rtol=1e-9)


def told(header, *lines):
    for line in lines:
        header["HISTORY"] = line
    return header


def test_the_beam_of_a_clean_that_only_the_history_tells_of_is_that_of_the_keywords():
    """As AIPS writes it, and FIRST's images carry it; of several CLEANs the last one made the image."""
    shape, cd = (701, 700), turned(1.0, 20.0)
    image = gaussians(shape, cd, major=4.0, minor=3.0, angle=35.0)
    beam = {"BMAJ": 4.0 / 3600, "BMIN": 3.0 / 3600, "BPA": 35.0}
    expected = cutout(sky_of(image, header_of(shape, cd, BUNIT="JY/BEAM", **beam)))
    lines = [
        "AIPS   IMNAME='J0851+3200  '",
        "AIPS   CLEAN BMAJ=  9.0000E-03 BMIN=  8.0000E-03 BPA=  10.00",
        "AIPS   CLEAN NITER=     4093 PRODUCT=1   / NORMAL",
        f"AIPS   CLEAN BMAJ={4.0 / 3600:12.8E} BMIN={3.0 / 3600:12.8E} BPA=  35.00",
    ]
    header = fits.Header.fromstring(told(header_of(shape, cd, BUNIT="JY/BEAM"), *lines).tostring())
    found = cutout(sky_of(image, header))
    assert found.flags == ("resampled",)
    np.testing.assert_allclose(found.raw, expected.raw, rtol=1e-6, atol=1e-6)
    first = told(header_of(TRUTH.shape, STANDARD), "AIPS   CLEAN BMAJ=  1.5000E-03 BMIN=  1.5000E-03 BPA=   0.00")
    assert cutout(sky_of(TRUTH, first)).flags == ()


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("AIPS   CLEAN BMAJ=  4.1667E-03 BMIN=  4.1667E-03 BPA=   0.00", ("coarse_beam",)),
        ("AIPS   CLEAN BMAJ= ********** BMIN=  4.1667E-03 BPA=   0.00", ()),
        ("AIPS   CLEAN BMAJ=  0.0000E+00 BMIN=  0.0000E+00 BPA=   0.00", ()),
        ("we would CLEAN with BMAJ= 15 arcsec", ()),
    ],
)
def test_histories_are_told_apart_and_keywords_come_first(line, flags):
    header = told(header_of(TRUTH.shape, STANDARD), line)
    assert cutout(sky_of(TRUTH, header)).flags == flags
    header["BMAJ"] = 5.4 / 3600
    assert cutout(sky_of(TRUTH, header)).flags == ()


def test_only_the_finer_axis_is_widened():
    shape, cd = (701, 700), turned(1.0, 0.0)
    image = gaussians(shape, cd, major=6.0, minor=4.0, angle=70.0)
    beam = {"BMAJ": 6.0 / 3600, "BMIN": 4.0 / 3600, "BPA": 70.0, "BUNIT": "Jy/beam"}
    found = cutout(sky_of(image, header_of(shape, cd, **beam)))
    truth = gaussians((300, 300), STANDARD, major=6.0, minor=5.4, angle=70.0)
    assert found.flags == ("resampled",) and abs(found.raw - truth).max() < 0.01 * truth.max()


@pytest.mark.parametrize(
    ("major", "flags"), [(5.4, ()), (6.8, ()), (15.0, ("coarse_beam",)), (0.0, ()), (4.0, ("resampled",))]
)
def test_beams_are_told_apart(major, flags):
    found = cutout(sky_of(TRUTH, header_of(TRUTH.shape, STANDARD, BMAJ=major / 3600)))
    assert found.flags == flags
    assert np.array_equal(found.raw, TRUTH) == ("resampled" not in flags)


def test_wide_pixels_mean_a_coarse_beam():
    found = cutout(sky_of(np.zeros((120, 120)), header_of((120, 120), turned(5.0, 0.0))))
    assert found.flags == ("resampled", "coarse_beam")


@pytest.mark.parametrize("shift", [0, 1])
def test_a_point_of_one_fine_pixel_does_not_fall_between_ours(shift):
    image = np.zeros((950, 950))
    image[475 + shift, 475 + shift] = 1.0
    found = cutout(sky_of(image, header_of(image.shape, turned(0.6, 0.0))))
    width = 3.6**2 - 1.2**2
    assert found.raw.sum() * 1.8**2 == pytest.approx(0.6**2, rel=0.02)
    assert found.raw.max() > 0.5 * 0.6**2 * WIDTH / (2 * np.pi * width)


def test_one_missing_pixel_stays_one():
    shape, cd = (400, 400), turned(1.5, 10.0)
    image = gaussians(shape, cd)
    holed = image.copy()
    holed[200, 230] = np.nan
    whole, found = (cutout(sky_of(x, header_of(shape, cd))).raw for x in (image, holed))
    unknown = np.isnan(found) & ~np.isnan(whole)
    assert 1 <= unknown.sum() <= 4
    rows, columns = np.nonzero(unknown)
    near = np.hypot(*(np.indices((300, 300)) - np.array([rows.mean(), columns.mean()])[:, None, None])) < 12
    np.testing.assert_allclose(found[~near], whole[~near], atol=1e-6)


def test_what_lies_outside_is_unknown_and_said():
    small = cutout(sky_of(np.ones((280, 260)), header_of((280, 260), STANDARD)))
    assert small.flags == ("edge",) and np.isnan(small.raw).sum() == 90000 - 280 * 260
    turned_small = cutout(sky_of(np.ones((300, 300)), header_of((300, 300), turned(1.8, 45.0))))
    assert turned_small.flags == ("edge", "resampled") and 0 < np.isnan(turned_small.raw).mean() < 0.25


def test_a_scale_that_the_caller_gives():
    assert np.array_equal(cutout(Sky(TRUTH), pixel_scale=1.8).raw, TRUTH)
    shape, cd = (400, 400), turned(1.5, 0.0)
    found = cutout(Sky(gaussians(shape, cd)), pixel_scale=1.5)
    assert found.flags == ("resampled",) and np.isnan([found.ra, found.dec]).all()
    assert abs(found.raw - TRUTH).max() < 0.01 * TRUTH.max()


REFUSED = {
    "no scale": (Sky(TRUTH), None, "it has no celestial WCS"),
    "another scale": (sky_of(TRUTH, header_of(TRUTH.shape, STANDARD)), 1.5, 'pixels of 1.8" by its WCS and of 1.5" by'),
    "degrees": (
        sky_of(TRUTH, header_of(TRUTH.shape, turned(3600, 0))),
        None,
        'pixels of 3.6e\\+03" x 3.6e\\+03", expected squares',
    ),
    "beam": (sky_of(TRUTH, header_of(TRUTH.shape, STANDARD, BMAJ="wide")), None, "'wide'.*expected three numbers"),
    "too fine": (Sky(np.broadcast_to(0.0, (10**5, 10**5))), 0.05, "are 11120 x 11120 of them, expected at most 4096"),
    "infinite": (Sky(np.full((400, 400), np.inf)), 1.5, "some pixels are infinite"),
}


@pytest.mark.parametrize(("sky", "scale", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_brought_to_first_is_refused_with_its_numbers(sky, scale, message):
    with pytest.raises(Unusable, match=message):
        cutout(sky, pixel_scale=scale)


WRONG = [
    ({"CD1_1": "text"}, "no valid WCS .CD1_1 is 'text', expected a number"),
    ({"CRVAL2": True}, "no valid WCS .CRVAL2 is True"),
    ({"CD1_1": 0.0}, 'pixels of 3.6e\\+03" x 1.8", expected squares'),  # wcslib takes an axis of zeros for one left out
    ({"CD1_1": 1e-9, "CD1_2": 1e-9, "CD2_1": 1e-9, "CD2_2": 1e-9}, 'pixels of .* x .*", expected squares'),
    ({"CTYPE2": "RA---TAN"}, "no valid WCS"),
]


@pytest.mark.parametrize(("keywords", "message"), WRONG)
def test_a_wcs_that_is_wrong_is_refused(keywords, message):
    header = header_of((300, 300), STANDARD)
    header.update(keywords)
    with pytest.raises(Unusable, match=message):
        cutout(sky_of(TRUTH, header))


def test_missing_data_is_flagged_and_above_a_tenth_refused():
    raw = draw_cutout(200, seed=3)
    raw[:20] = np.nan
    assert as_input(raw)[1] == []  # the network doesn't see it
    raw[75:85] = np.nan
    image, flags, message = as_input(raw)
    assert image is not None and "missing_data" in flags and message == ""
    raw[85:95] = np.nan
    image, flags, message = as_input(raw)
    assert image is None and flags.count("missing_data") >= 1 and message.startswith("13 % of the central 150 x 150")


def test_no_signal_is_flagged():
    noise = np.random.default_rng(0).normal(size=(300, 300)).clip(-3, 2.5)
    assert as_input(noise)[:2] == (None, ["no_signal"])
    assert as_input(np.zeros((150, 150), np.uint8))[:2] == (None, ["no_signal"])


def test_a_source_far_from_the_central_one_blends_and_a_lobe_does_not():
    image = np.zeros((150, 150), np.uint8)
    image[70:80, 70:80] = 200
    image[70:80, 90:100] = 200  # 10 pixels, 18 arcsec away
    assert not is_blended(image)
    image[20:26, 75:81] = 60
    assert not is_blended(image)  # 5 % of the light
    image[20:26, 75:81] = 200
    assert is_blended(image) and as_input(image)[1] == ["blended"]


def test_most_of_mirabest_is_not_blended(mirabest_archive):
    images = load("mirabest", fold=0).galaxies.images
    assert 0.1 < np.mean([is_blended(image) for image in images[::5]]) < 0.25  # 0.174 of all


def test_the_mask_is_where_the_points_are():
    assert all(circular_mask()[int(74.5 + n / 1.8), int(74.5 - e / 1.8)] for e, n, _ in POINTS)
