"""Files, arrays, a mosaic, a catalogue: each source in its order, a bad one in one line, nothing read too early."""

import gzip
import os
import pickle
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image

from radio_bnn.data.cutouts import preprocess
from radio_bnn.data.simulate import draw_cutout
from radio_bnn.sky.sources import FLAGS, Source, sources

RAW = draw_cutout(200, seed=3).astype(np.float32)
INPUT = preprocess(RAW)


def wcs_at(ra=150.0, dec=30.0, crpix=(150.5, 150.5), scale=1.8):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], crpix
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return wcs


def save(path, raw=RAW, **position):
    fits.PrimaryHDU(raw, wcs_at(**position).to_header()).writeto(path)
    return path


def usable(source: Source) -> bool:
    return source.image is not None and source.message == ""


def test_the_ten_cutouts_of_first_are_used_or_refused_for_what_they_lack(first_cutouts):
    found = list(sources(first_cutouts))
    assert [source.name for source in found] == [path.name.removesuffix(".fits.gz") for path in first_cutouts]
    assert [source.ra for source in found] == pytest.approx([float(s.name[4:11]) for s in found], abs=1e-3)
    [refused] = [source for source in found if not usable(source)]
    assert refused.name.startswith("100_036.061+000.563") and refused.flags == ("missing_data",)
    assert "44 % of the central 150 x 150" in refused.message
    assert {flag for source in found if usable(source) for flag in source.flags} <= {"blended"}


def test_every_kind_of_file_gives_the_same_image(tmp_path):
    plain = save(tmp_path / "plain.fits")
    (tmp_path / "zipped.fits.gz").write_bytes(gzip.compress(plain.read_bytes()))
    tiles = fits.CompImageHDU(RAW, wcs_at().to_header(), compression_type="GZIP_2", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), tiles]).writeto(tmp_path / "tiles.fits.fz")
    fits.PrimaryHDU(RAW[None, None], WCS(fits.Header(wcs_at().to_header())).to_header()).writeto(tmp_path / "cube.fit")
    Image.fromarray(INPUT).save(tmp_path / "input.png")
    found = sources(tmp_path)
    assert found.names == ("cube", "input", "plain", "tiles", "zipped")
    for source in found:
        assert usable(source) and np.array_equal(source.image, INPUT), source.name
        assert "resampled" not in source.flags
    assert np.isnan(found[1].ra) and (found[2].ra, found[2].dec) == pytest.approx((150, 30))


def test_folders_patterns_and_lists_are_expanded_in_their_order(tmp_path):
    for folder, name in (("x", "b"), ("x", "a"), ("y", "a")):
        (tmp_path / folder).mkdir(exist_ok=True)
        save(tmp_path / folder / f"{name}.fits")
    (tmp_path / "x" / "notes.md").write_text("not an image")
    (tmp_path / "list.txt").write_text("# mine\n\nx/b.fits\nnowhere.fits\n")
    assert sources(tmp_path / "x").names == ("a", "b")
    assert sources([tmp_path / "y", str(tmp_path / "*" / "a.fits")]).names == ("a", "a_2", "a_3")
    found = sources(tmp_path / "list.txt")
    assert found.names == ("b", "nowhere") and usable(found[0])
    assert found[1].image is None and found[1].message.endswith("no such file; expected a FITS or PNG cutout")


def test_a_sequence_that_can_be_begun_anywhere_and_sent_to_another_process(tmp_path):
    found = sources([save(tmp_path / f"{k}.fits", ra=150.0 + k) for k in range(3)])
    other = pickle.loads(pickle.dumps(found))
    assert len(found) == 3 and found.names == ("0", "1", "2")
    assert found[-1].ra == other[2].ra == pytest.approx(152)
    assert np.array_equal(found[1].image, other[1].image)
    with pytest.raises(IndexError):
        found[3]


def test_nothing_is_read_before_it_is_asked_for(tmp_path, monkeypatch):
    paths = [save(tmp_path / "a.fits"), save(tmp_path / "b.fits")]
    found = sources(paths)
    paths[0].unlink()
    paths[1].write_bytes(b"changed")
    assert found[0].message.endswith("no such file; expected a FITS or PNG cutout")
    assert "not a complete FITS image" in found[1].message and found[1].message.startswith(str(paths[1]))


def bad_files(folder):
    folder.mkdir(exist_ok=True)
    header = wcs_at().to_header()
    fits.PrimaryHDU(np.full((300, 300), np.nan), header).writeto(folder / "nan.fits")
    fits.PrimaryHDU(np.ones((300, 300)), header).writeto(folder / "constant.fits")
    fits.PrimaryHDU(np.ones((3, 300, 300)), header).writeto(folder / "cube.fits")
    fits.PrimaryHDU(np.ones(300), header).writeto(folder / "spectrum.fits")
    fits.PrimaryHDU(None, header).writeto(folder / "empty.fits")
    fits.PrimaryHDU(RAW).writeto(folder / "nowhere.fits")
    fits.PrimaryHDU(RAW + 1.0, header).writeto(folder / "grey.fits")
    fits.PrimaryHDU(np.full((300, 300), 1e308), header).writeto(folder / "huge.fits")
    fits.PrimaryHDU(RAW, fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": "x"})).writeto(
        folder / "text.fits"
    )
    Image.new("RGB", (300, 300)).save(folder / "colour.png")
    Image.fromarray(RAW.astype(np.uint8)).save(folder / "scale.png")
    bits = bytearray(gzip.compress(save(folder / "whole.fits").read_bytes()))
    bits[len(bits) // 2] ^= 16
    (folder / "bit.fits.gz").write_bytes(bits)
    (folder / "words.fits").write_text("these are words")
    (folder / "picture.jpg").write_bytes(b"\xff\xd8")
    return sorted(path for path in folder.iterdir())


def test_a_bad_file_is_one_line_and_the_others_go_on(tmp_path):
    messages = {
        "nan": "100 % of the central|every pixel is NaN",
        "constant": "no signal above 3 sigma within 75 pixels",
        "cube": "the image has axes .3, 300, 300., expected two",
        "spectrum": "the image has axes .300,., expected two",
        "empty": "the FITS file holds no image",
        "nowhere": "nothing says how wide its pixels are",
        "grey": "the sky lies at 1 where its noise is",
        "huge": "the brightest pixel is 1e.308",
        "text": "no valid WCS .CDELT1 is 'x', expected a number",
        "colour": "a PNG of mode RGB, expected 8-bit greyscale",
        "scale": "nothing says how wide its pixels are",
        "bit": "not a complete FITS image, truncated or damaged",
        "words": "not a complete FITS image, truncated or another format",
        "picture.jpg": "[.]jpg is not a known image type",
        "whole": "^$",
    }
    paths = bad_files(tmp_path / "bad")
    found = {source.name: source for source in sources(paths)}
    assert found.keys() == messages.keys()
    for path, (name, source) in zip(paths, found.items(), strict=True):
        assert source.message == "" or source.message.startswith(f"{path}: "), name
        assert "\n" not in source.message
        assert (source.image is None) == (name != "whole"), name
        assert re.search(messages[name], source.message), (name, source.message)
    assert found["nan"].flags == ("missing_data",) and found["constant"].flags == ("no_signal",)


def test_what_the_system_will_not_read_is_a_line_too(tmp_path, monkeypatch):
    """Root may read every file, so the refusal is put in its place."""
    path = save(tmp_path / "a.fits")
    found = sources([path, save(tmp_path / "b.fits")])
    opened = type(path).open

    def refuse(self, *args, **options):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **options)

    monkeypatch.setattr(type(path), "open", refuse)
    assert found[0].message == f"{path}: Permission denied" and usable(found[1])


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.fits")
    [source] = sources(tmp_path / "a.fits")
    assert source.message.endswith("no such file; expected a FITS or PNG cutout")


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    """A field of noise with two drawn galaxies in it, and their positions."""
    pixels = np.random.default_rng(1).normal(scale=float(RAW.std()) / 50, size=(900, 1000)).astype(np.float32)
    wcs = wcs_at(crpix=(500.0, 450.0))
    pixels[100:400, 120:420] = RAW
    pixels[500:800, 600:900] = draw_cutout(100, seed=5).astype(np.float32)
    path = tmp_path_factory.mktemp("sky") / "mosaic.fits"
    fits.PrimaryHDU(pixels, wcs.to_header()).writeto(path)
    centres = [(120 + 149.5, 100 + 149.5), (600 + 149.5, 500 + 149.5)]
    return path, pixels, [tuple(map(float, wcs.pixel_to_world_values(*c))) for c in centres]


def test_the_mosaic_gives_what_the_cutouts_give(tmp_path, mosaic):
    path, pixels, places = mosaic
    table = Table({"name": ["a", "b"], "ra": [p[0] for p in places], "dec": [p[1] for p in places]})
    table.write(tmp_path / "sources.csv")
    fits.PrimaryHDU(pixels[100:400, 120:420], wcs_at().to_header()).writeto(tmp_path / "a.fits")
    fits.PrimaryHDU(pixels[500:800, 600:900], wcs_at().to_header()).writeto(tmp_path / "b.fits")
    cut = sources(tmp_path / "[ab].fits")
    for catalogue in (tmp_path / "sources.csv", table):
        found = sources(image=path, catalogue=catalogue)
        assert found.names == cut.names == ("a", "b")
        for one, two in zip(found, cut, strict=True):
            assert usable(one) and np.array_equal(one.image, two.image) and one.flags == two.flags
    assert np.array_equal(found[0].image, INPUT)
    assert (found[0].ra, found[0].dec) == places[0]
    assert np.array_equal(sources(image=path, positions=[places[1]])[0].image, cut[1].image)


def test_a_position_within_a_pixel_moves_the_cut_by_whole_pixels(mosaic):
    path, pixels, places = mosaic
    step = 0.0005
    shifted = [(places[0][0], places[0][1] + k * step) for k in (0.4, 1.0)]
    same, next_row = sources(image=path, positions=shifted)
    assert np.array_equal(same.image, INPUT)
    assert np.array_equal(next_row.image, preprocess(pixels[101:401, 120:420]))


def test_positions_at_and_beyond_the_border_are_flagged(mosaic):
    path, pixels, places = mosaic
    corner = wcs_at(crpix=(500.0, 450.0)).pixel_to_world_values(110.0, 449.5)
    far = [(150.0, -30.0), (330.0, -30.0), (151.5, 30.0)]
    table = Table({"ra": [corner[0], *(p[0] for p in far), np.nan], "dec": [corner[1], *(p[1] for p in far), 1.0]})
    edge, *outside, unplaced = sources(image=path, catalogue=table)
    assert "edge" in edge.flags and "missing_data" not in edge.flags
    for source in outside:
        assert source.image is None and source.flags == ("edge",)
        assert source.message == "the position lies outside the image"
    assert unplaced.image is None and "no valid position" in unplaced.message and unplaced.flags == ()


def test_flags_come_in_their_order(mosaic):
    path, _, _ = mosaic
    rim = wcs_at(crpix=(500.0, 450.0)).pixel_to_world_values(3.0, 449.5)
    [source] = sources(image=path, positions=[tuple(map(float, rim))])
    assert source.flags == ("missing_data", "edge") and "47 %" in source.message or "48 %" in source.message
    assert list(source.flags) == [flag for flag in FLAGS if flag in source.flags]


def test_other_pixels_show_nearly_the_same_galaxy(tmp_path):
    from scipy.ndimage import zoom

    fine = zoom(RAW.astype(float), 1.2, order=3)
    save(tmp_path / "fine.fits", fine, crpix=(180.5, 180.5), scale=300 * 1.8 / 360)
    [source] = sources(tmp_path / "fine.fits")
    assert "resampled" in source.flags
    assert np.corrcoef(source.image.ravel(), INPUT.ravel())[0, 1] > 0.98


def test_arrays(tmp_path):
    stack = np.stack([INPUT, np.rot90(INPUT)])
    found = sources(stack)
    assert found.names == ("image_0", "image_1") and np.array_equal(found[1].image, stack[1])
    assert np.array_equal(sources(INPUT)[0].image, INPUT)
    raw = sources([RAW, RAW.astype(float)], pixel_scale=1.8)
    assert all(np.array_equal(source.image, INPUT) for source in raw)
    assert np.array_equal(sources(np.ma.masked_invalid(RAW), pixel_scale=1.8)[0].image, INPUT)
    bad = sources(np.stack([RAW + 0j, RAW]), pixel_scale=1.8)[0]
    assert bad.image is None and bad.message == "the pixels are of type complex64, expected real numbers"


BAD_CALLS = {
    "nothing": ({}, "expected one of three"),
    "two": ({"inputs": "a.fits", "positions": "1 2"}, "expected one of three"),
    "no files": ({"inputs": []}, "no cutout was given"),
    "a number": ({"inputs": [3]}, "3 is not a cutout"),
    "an array of one axis": ({"inputs": np.zeros(4)}, "is not a cutout"),
    "four axes": ({"inputs": np.zeros((1, 1, 300, 300))}, "axes .1, 1, 300, 300., expected"),
    "no scale": ({"inputs": np.zeros((300, 300))}, "give pixel_scale, in arcsec"),
    "a scale": ({"inputs": "a.fits", "pixel_scale": -1.8}, "the pixel scale is -1.8"),
    "a mosaic without positions": ({"inputs": "a.fits", "image": "b.fits"}, "a mosaic and its columns go with"),
    "no such pattern": ({"inputs": "nowhere/*.fits"}, "no file is called like this"),
    "a catalogue of numbers": ({"catalogue": 5}, "the catalogue is int, expected an astropy table"),
    "no positions": ({"catalogue": Table({"x": [1.0]})}, "no columns with positions"),
    "equal names": ({"catalogue": Table({"ra": [1.0, 2], "dec": [1.0, 2], "name": ["a", "a"]})}, "2 rows are called"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_a_bad_call_is_an_error_at_once(call, message):
    with pytest.raises(ValueError, match=message):
        sources(**call)


def test_what_is_not_there_is_an_error_at_once(tmp_path, mosaic):
    for call in (
        {"inputs": tmp_path / "a.fits"},
        {"catalogue": tmp_path / "a.csv", "image": mosaic[0]},
        {"positions": "1 2", "image": tmp_path / "a.fits"},
    ):
        with pytest.raises(FileNotFoundError, match="a[.](fits|csv)"):
            sources(**call)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    for name, message in {
        "empty": "no cutouts in it",
        "empty.txt": "list is empty",
        "binary.txt": "not a text",
    }.items():
        with pytest.raises(ValueError, match=message):
            sources(tmp_path / name)
