"""A cutout becomes the image that MiraBest holds, or one clear error."""

import gzip
import re

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from radio_bnn.data import cutouts
from radio_bnn.data.cutouts import Unusable, circular_mask, network_input, preprocess, preprocessing_steps, read_cutout
from radio_bnn.data.mirabest import read
from radio_bnn.data.simulate import draw_cutout

INCOMPLETE = "100_036.061+000.563_0.1400_0093.07.fits.gz"  # on the builders' list of cutouts with missing data


@pytest.fixture
def raw():
    """Unit noise with a bright double source, a source outside the circle, and a strip that was not observed."""
    image = np.random.default_rng(0).normal(size=(300, 300))
    image[145:150, 120:130] = 50.0
    image[152:157, 170:180] = 80.0
    image[80, 80] = 500.0
    image[:10] = np.nan
    return image


def save_fits(path, data, **header):
    fits.PrimaryHDU(data, fits.Header(header)).writeto(path)
    return path


def clipped_std(raw):
    """Standard deviation after dropping, five times, what lies over three of them from the median."""
    kept = raw[~np.isnan(raw)]
    for _ in range(5):
        kept = kept[np.abs(kept - np.median(kept)) <= 3 * kept.std()]
    return kept.std()


def test_fits_cutouts_are_bit_equal_to_mirabest(mirabest_archive, first_cutouts):
    galaxies = read(mirabest_archive)[0]
    published = dict(zip(galaxies.name, galaxies.images, strict=True))
    ours = {path.name.removesuffix(".fits.gz"): read_cutout(path) for path in first_cutouts if path.name != INCOMPLETE}
    assert len(ours.keys() & published.keys()) == 9
    assert {name: int((image != published[name]).sum()) for name, image in ours.items() if name in published} == (
        dict.fromkeys(ours.keys() & published.keys(), 0)
    )


def test_the_cutout_that_the_builders_of_mirabest_left_out_is_refused(first_cutouts):
    [path] = [path for path in first_cutouts if path.name == INCOMPLETE]
    with pytest.raises(Unusable, match="44 % of the central 150 x 150 pixels were not observed") as error:
        read_cutout(path)
    assert error.value.flag == "missing_data"


def test_steps_follow_the_definition(raw):
    steps = preprocessing_steps(raw)
    assert list(steps) == ["raw", "clipped", "cropped", "masked", "scaled"]
    assert np.array_equal(steps["raw"], raw, equal_nan=True)
    assert np.array_equal(steps["clipped"], np.where(raw > 3 * clipped_std(raw), raw, 0))
    assert np.array_equal(steps["cropped"], steps["clipped"][75:225, 75:225])
    assert np.array_equal(steps["masked"], steps["cropped"] * circular_mask())
    assert np.array_equal(steps["scaled"], np.floor(255 * steps["masked"] / steps["masked"].max()))
    assert np.array_equal(preprocess(raw), steps["scaled"])


def test_circle_reaches_75_pixels_from_its_centre_and_no_farther():
    circle = circular_mask()
    assert circle[75, 0] and circle[0, 75] and circle[30, 15]  # (45, 60, 75) is a right triangle
    assert not (circle[0, 74] or circle[29, 15] or circle[30, 14])


def test_only_the_circle_shines(raw):
    image = preprocess(raw)
    rows, columns = np.nonzero(image)
    assert np.hypot(rows - 75, columns - 75).max() <= 75
    assert (image.min(), image.max()) == (0, 255)
    assert (image[70:75, 45:55] == 255 * 50 // 80).all()


def test_image_is_invariant_to_the_unit_of_brightness(raw):
    assert np.array_equal(preprocess(raw), preprocess(raw * 2**-10))


def test_larger_cutout_is_cut_to_its_centre(raw):
    larger = np.pad(raw, ((7, 8), (3, 3)), constant_values=1e6)
    assert np.array_equal(preprocess(larger), preprocess(raw))


def test_degenerate_fits_axes_and_gzip_do_not_matter(tmp_path, raw):
    plain = save_fits(tmp_path / "a.fits", raw[None, None].astype(np.float32), CDELT2=0.0005)
    zipped = tmp_path / "a.fits.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert np.array_equal(read_cutout(plain), preprocess(raw.astype(np.float32)))
    assert np.array_equal(read_cutout(zipped), read_cutout(plain))


def test_png_of_an_input_is_taken_as_it_is_and_a_cutout_is_preprocessed(tmp_path, raw):
    image = preprocess(raw)
    Image.fromarray(image).save(tmp_path / "input.png")
    cutout = np.clip(np.nan_to_num(raw), 0, 255).astype(np.uint8)
    Image.fromarray(cutout).save(tmp_path / "cutout.png")
    assert np.array_equal(read_cutout(tmp_path / "input.png"), image)
    assert np.array_equal(read_cutout(tmp_path / "cutout.png"), preprocess(cutout))


BAD_ARRAYS = {
    "all NaN": (np.full((300, 300), np.nan), "every pixel is NaN"),
    "infinite": (np.full((300, 300), np.inf), "some pixels are infinite"),
    "constant": (np.ones((300, 300)), "no signal above 3 sigma"),
    "too small": (np.zeros((200, 300)), "200 x 300 pixels, expected at least 300 x 300"),
    "cube": (np.zeros((3, 300, 300)), re.escape("axes (3, 300, 300)")),
    "spectrum": (np.zeros(300), re.escape("axes (300,)")),
}


@pytest.mark.parametrize(("array", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_images_are_refused_with_the_file_named(tmp_path, array, message):
    path = save_fits(tmp_path / "bad.fits", array)
    with pytest.raises(ValueError, match=message) as error:
        read_cutout(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.png"])
@pytest.mark.parametrize("content", [b"", b"not an image at all " * 200], ids=["empty", "text"])
def test_what_is_no_image_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="not a complete (FITS|PNG) image"):
        read_cutout(tmp_path / name)


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.98])
@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.png"])
def test_truncated_files_are_refused(tmp_path, raw, name, kept):
    path = tmp_path / name
    if name == "a.png":
        Image.fromarray(np.nan_to_num(raw * 3).clip(0, 255).astype(np.uint8)).save(path)
    else:
        save_fits(path, raw)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match="not a complete (FITS|PNG) image"):
        read_cutout(path)


def test_fits_without_an_image_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        read_cutout(save_fits(tmp_path / "empty.fits", None))


def test_other_pixel_scale_is_refused(tmp_path, raw):
    with pytest.raises(ValueError, match='pixels of 1", expected 1.8"'):
        read_cutout(save_fits(tmp_path / "vlass.fits", raw, CDELT2=1 / 3600))


def test_unfit_png_is_refused(tmp_path):
    Image.new("RGB", (300, 300)).save(tmp_path / "colour.png")
    Image.new("L", (150, 150), 7).save(tmp_path / "flat.png")
    Image.new("L", (64, 64)).save(tmp_path / "small.png")
    for name, message in {"colour": "mode RGB", "flat": "every pixel is 7", "small": "64 x 64 pixels"}.items():
        with pytest.raises(ValueError, match=message):
            read_cutout(tmp_path / f"{name}.png")


def test_unknown_type_and_missing_file(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match=re.escape(".jpg is not a known image type")):
        read_cutout(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match=re.escape("b.fits: no such file")):
        read_cutout(tmp_path / "b.fits")


@pytest.mark.parametrize("missing", [0.02, 0.0999, 0.1001, 0.44])
def test_more_than_a_tenth_missing_in_the_middle_is_refused(raw, missing):
    raw[75:225, 75:225].flat[: int(missing * 150 * 150)] = np.nan
    if missing < 0.1:
        assert np.array_equal(network_input(raw), preprocess(raw))
    else:
        with pytest.raises(Unusable, match=f"{100 * missing:.0f} % of the central") as error:
            network_input(raw)
        assert error.value.flag == "missing_data"


@pytest.mark.parametrize("pedestal", [-20.0, -0.6, 0.6, 3.0, 1e4])
def test_a_sky_that_is_not_at_zero_is_refused_with_its_level(tmp_path, raw, pedestal):
    """It lights every pixel, or hides what is faint, and ``preprocess`` lets it pass."""
    with pytest.raises(Unusable, match="the sky lies at") as error:
        read_cutout(save_fits(tmp_path / "grey.fits", raw + pedestal))
    said = float(re.search(r"the sky lies at (\S+) where", str(error.value))[1])
    assert said == pytest.approx(pedestal, rel=0.01, abs=0.01)


def test_no_simulated_sky_is_taken_for_a_pedestal():
    for seed in range(3):
        for code in (100, 102, 200):
            raw = draw_cutout(code, seed=seed)
            assert np.array_equal(network_input(raw), preprocess(raw))


def test_grey_png_is_refused(tmp_path, raw):
    Image.fromarray(np.clip(np.nan_to_num(raw) + 20, 0, 255).astype(np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(Unusable, match="the sky lies at 20 where its noise is"):
        read_cutout(tmp_path / "grey.png")


ODD = {
    "complex": (np.ones((300, 300), complex), "of type complex128, expected real numbers"),
    "texts": (np.full((300, 300), "1"), "expected real numbers"),
    "truths": (np.ones((300, 300), bool), "of type bool, expected real numbers"),
    "huge": (np.full((300, 300), 1e300), "the brightest pixel is 1e\\+300, expected a brightness between"),
    "tiny": (np.full((300, 300), 1e-300), "the brightest pixel is 1e-300"),
    "nothing": (np.zeros((0, 0)), "the image is 0 x 0 pixels"),
    "zero": (np.zeros((300, 300)), "no signal"),
}


@pytest.mark.parametrize(("array", "message"), ODD.values(), ids=ODD.keys())
def test_odd_numbers_are_refused(array, message):
    with pytest.raises(Unusable, match=message):
        preprocess(array)


def test_masks_are_missing_and_integers_are_numbers(raw):
    masked = np.ma.masked_invalid(raw)
    assert np.array_equal(preprocess(masked), preprocess(raw))
    whole = np.nan_to_num(100 * raw).astype(np.int16)
    assert np.array_equal(preprocess(whole), preprocess(whole.astype(float)))


def test_a_bomb_is_refused_by_what_it_declares(tmp_path, monkeypatch):
    header = fits.Header({"SIMPLE": True, "BITPIX": -64, "NAXIS": 2, "NAXIS1": 24000, "NAXIS2": 24000})
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(gzip.compress(header.tostring().encode() + bytes(2**20)))
    with pytest.raises(Unusable, match="declared as 24000 x 24000 pixels, expected a cutout of at most 4096 x 4096"):
        read_cutout(path)
    for sides in ((100_000, 100_000), (0, 300)):
        fits.Header({**header, "NAXIS1": sides[0], "NAXIS2": sides[1]}).tofile(tmp_path / f"{sides[0]}.fits")
    with pytest.raises(Unusable, match="declared as 100000 x 100000 pixels"):
        read_cutout(tmp_path / "100000.fits")
    with pytest.raises(Unusable, match="the FITS file holds no image"):
        read_cutout(tmp_path / "0.fits")
    # One that hides its size in an extension, or declares none, ends at the limit.
    monkeypatch.setattr(cutouts, "MAX_BYTES", 2**20)
    path.write_bytes(gzip.compress(bytes(2**22)))
    with pytest.raises(Unusable, match="holds more than 1 MiB"):
        read_cutout(path)
    Image.new("L", (5000, 4000)).save(tmp_path / "bomb.png")
    with pytest.raises(Unusable, match="declared as 4000 x 5000 pixels"):
        read_cutout(tmp_path / "bomb.png")


def test_a_tile_compressed_bomb_is_refused_unopened(tmp_path):
    path = tmp_path / "bomb.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((4200, 4200), np.uint8))]).writeto(path)
    with pytest.raises(Unusable, match="declared as 4200 x 4200 pixels"):
        read_cutout(path)


@pytest.mark.parametrize("hdu", [fits.ImageHDU, fits.CompImageHDU])
def test_an_image_in_an_extension_is_found(tmp_path, raw, hdu):
    raw = np.rint(np.nan_to_num(raw)).astype(np.int32)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.zeros(3))])
    path = tmp_path / "a.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), table, hdu(raw)]).writeto(path)
    assert np.array_equal(read_cutout(path), preprocess(raw))


@pytest.mark.parametrize("name", ["a.fits.gz", "a.png"])
def test_no_flipped_bit_gives_another_image(tmp_path, raw, name):
    path = tmp_path / name
    if name == "a.png":
        Image.fromarray(preprocess(raw)).save(path)
    else:
        path.write_bytes(gzip.compress(save_fits(tmp_path / "a.fits", raw.astype(np.float32)).read_bytes()))
    content, truth = path.read_bytes(), read_cutout(path)
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(content), 30):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert np.array_equal(read_cutout(path), truth)  # a bit of gzip's header, of the time it was made
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error)
    assert refused >= 28


@pytest.mark.parametrize("checksum", [True, "datasum"])
@pytest.mark.parametrize("kind", [fits.ImageHDU, fits.CompImageHDU])
def test_checksums_of_fits_are_honoured(tmp_path, raw, kind, checksum):
    path = tmp_path / "a.fits"
    image = np.rint(np.nan_to_num(raw)).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), kind(image)]).writeto(path, checksum=checksum)
    assert np.array_equal(read_cutout(path), preprocess(image))
    content = bytearray(path.read_bytes())
    content[2 * len(content) // 3] ^= 4
    path.write_bytes(content)
    found = "not a complete FITS image" if kind is fits.CompImageHDU else "its FITS checksum .* is not that"
    with pytest.raises(Unusable, match=f"{found}|its FITS checksum .* is not that"):
        read_cutout(path)


def test_a_nan_of_any_kind_is_missing(raw):
    bits = raw.astype(np.float32).view(np.uint32)
    bits[:10] = 0x7F800001  # a signalling one, as a damaged or an old file holds
    assert np.array_equal(preprocess(bits.view(np.float32)), preprocess(raw.astype(np.float32)))


def test_text_for_the_pixel_scale_is_refused(tmp_path, raw):
    with pytest.raises(Unusable, match="the pixel scale of the header is 'wide', expected a number"):
        read_cutout(save_fits(tmp_path / "a.fits", raw, CDELT2="wide"))
