"""A cutout becomes the image that MiraBest holds, or one clear error."""

import gzip
import re

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from radio_bnn.data.cutouts import circular_mask, preprocess, preprocessing_steps, read_cutout
from radio_bnn.data.mirabest import read


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
    ours = {path.name.removesuffix(".fits.gz"): read_cutout(path) for path in first_cutouts}
    assert len(ours.keys() & published.keys()) == 9
    assert {name: int((image != published[name]).sum()) for name, image in ours.items() if name in published} == (
        dict.fromkeys(ours.keys() & published.keys(), 0)
    )


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
    cutout = np.clip(np.nan_to_num(raw) + 20, 0, 255).astype(np.uint8)
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
