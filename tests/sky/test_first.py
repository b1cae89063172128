"""Cutouts by position from a service like FIRST's, on this machine: once each, kept whole or not at all."""

import io
import re
import threading
from urllib.parse import parse_qs

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from werkzeug import Response

from radio_bnn import cli
from radio_bnn.data.cutouts import preprocess
from radio_bnn.data.simulate import draw_cutout
from radio_bnn.sky import posteriors
from radio_bnn.sky import sources as module
from radio_bnn.sky.first import First
from radio_bnn.sky.sources import sources
from radio_bnn.sky.stream import request

RAW = draw_cutout(200, seed=3).astype(np.float32)
PLACES = [(162.5, 30.5), (10.0, -5.0)]


def answer(ra, dec):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---SIN", "DEC--SIN"], [ra, dec], [150.5, 150.5]
    wcs.wcs.cdelt = [-0.0005, 0.0005]
    content = io.BytesIO()
    fits.PrimaryHDU(RAW, wcs.to_header()).writeto(content)
    return content.getvalue()


class Service:
    """What FIRST's would answer, and what it was asked."""

    def __init__(self):
        self.asked, self.bad = [], {}

    def __call__(self, request):
        form = {key: value[0] for key, value in parse_qs(request.get_data(as_text=True)).items()}
        hours, dec = map(float, form["RA"].split())
        place = round(hours * 15, 5), round(dec, 5)
        self.asked.append((place, float(form["ImageSize"])))
        return self.bad.get(place, lambda: Response(answer(*place), mimetype="image/fits"))()


@pytest.fixture
def service(httpserver, monkeypatch):
    found = Service()
    httpserver.expect_request("/firstcutout").respond_with_handler(found)
    monkeypatch.delenv("RADIO_BNN_OFFLINE", raising=False)
    address = httpserver.url_for("/firstcutout")
    monkeypatch.setattr(module, "First", lambda folder, timeout: First(folder, timeout, server=address))
    return found


def test_a_position_is_fetched_once_and_read_as_a_cutout_is(tmp_path, service):
    found = sources(positions=PLACES, cache=tmp_path)
    assert service.asked == []
    for source, place in zip(found, PLACES, strict=True):
        assert np.array_equal(source.image, preprocess(RAW)) and (source.ra, source.dec) == place
        assert "resampled" not in source.flags and source.message == ""
    assert service.asked == [(place, 9.0) for place in PLACES]  # arcmin: 300 pixels
    again = sources(positions=PLACES, cache=tmp_path)
    assert np.array_equal(again[0].image, found[0].image) and len(service.asked) == 2


REFUSED = {
    "no coverage": (Response("<html>No field in the\ncatalog</html>"), "no image there; it answered: No field in the"),
    "an error": (Response("busy", status=503), "FIRST did not answer .HTTPError.; call again"),
    "half an image": (Response(answer(*PLACES[0])[:200_000]), "not a complete FITS image"),
    "nothing": (Response(b""), "it answered: nothing"),
}


@pytest.mark.parametrize(("bad", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_image_is_one_line_and_not_kept(tmp_path, service, bad, message):
    service.bad[PLACES[0]] = lambda: bad
    first, second = sources(positions=PLACES, cache=tmp_path)
    assert first.image is None and re.search(message, first.message) and "\n" not in first.message
    assert second.image is not None
    assert [path.name for path in tmp_path.iterdir()] == ["10.00000-5.00000.fits"]
    service.bad.clear()
    resumed = sources(positions=PLACES, cache=tmp_path)
    assert all(source.image is not None for source in resumed) and len(service.asked) == 3


def test_a_service_that_is_silent_ends_with_the_time_out(tmp_path, service):
    over = threading.Event()
    service.bad[PLACES[0]] = lambda: Response(b"" if over.wait(60) else b"late")
    [found] = list(sources(positions=[PLACES[0]], cache=tmp_path, timeout=0.2))
    over.set()
    assert found.image is None and "FIRST did not answer (ReadTimeout" in found.message


def test_no_service_at_all(tmp_path, monkeypatch):
    monkeypatch.delenv("RADIO_BNN_OFFLINE", raising=False)
    with pytest.raises(ValueError, match="FIRST did not answer .ConnectionError"):
        First(tmp_path, server="http://127.0.0.1:9/").around(1.0, 2.0)


def test_offline_means_offline_but_what_is_there_serves(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_OFFLINE", "1")
    (tmp_path / "162.50000+30.50000.fits").write_bytes(answer(*PLACES[0]))
    first, second = sources(positions=PLACES, cache=tmp_path)
    assert first.image is not None
    assert second.image is None and "RADIO_BNN_OFFLINE forbids a download" in second.message


def test_a_damaged_file_says_what_to_do(tmp_path, service):
    path = tmp_path / "162.50000+30.50000.fits"
    path.write_bytes(b"damaged")
    assert f"{path}: not a complete FITS image" in (said := sources(positions=[PLACES[0]], cache=tmp_path)[0].message)
    assert said.endswith("remove it to fetch it again")


def test_what_cannot_work_is_refused_at_once(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="the time-out is 0, expected seconds"):
        First(tmp_path, 0)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        First(tmp_path / "file")
    monkeypatch.setattr("radio_bnn.sky.first.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs astroquery: pip install 'radio-bnn.first.'"):
        First(tmp_path)


def test_the_command_keeps_and_waits_as_it_is_told(tmp_path, service, capsys, monkeypatch):
    waited = []
    served = module.First
    monkeypatch.setattr(module, "First", lambda folder, timeout: waited.append(timeout) or served(folder, timeout))
    call = ["classify", "--position", "162.5 30.5", "--cache", str(tmp_path / "kept"), "-o", str(tmp_path / "a.ecsv")]
    assert cli.main([*call, "--timeout", "7"]) == 0 and waited == [7.0]
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["162.50000+30.50000.fits"]
    assert cli.main([*call, "--overwrite", "--timeout", "0"]) == 1
    assert "the time-out is 0.0, expected seconds, more than 0" in capsys.readouterr().err


def test_another_time_out_and_a_fuller_cache_continue_the_same_call(tmp_path, service):
    """Whoever waits longer after a failure, with what was fetched until then, asks for the same rows."""
    options = {"orbit": False, "alpha": 0.1, "device": "cpu", "posteriors": posteriors.FILE}

    def asked(**reading):
        return request(None, {"positions": PLACES, **reading}, **options).digest

    first = asked(cache=tmp_path / "a", timeout=1)
    (tmp_path / "a" / "new.fits").touch()
    assert asked(cache=tmp_path / "a", timeout=2) == asked(cache=tmp_path / "b") == first
    assert asked(pixel_scale=1.8) != first
