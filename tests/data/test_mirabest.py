"""The archive of MiraBest: finding, downloading, verifying and decoding it, on the real one and on a tiny one."""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests
from astropy.coordinates import Angle
from scenarios import archived, mirabest_batch, pickled

from radio_bnn.data import COUNTS, load, mirabest
from radio_bnn.data.folds import committed_names
from radio_bnn.data.mirabest import Archive, Unavailable, fetch, read


def archive_of(data, **kwargs):
    return Archive("tiny.tar.gz", "F_batches", "sha256:" + hashlib.sha256(data).hexdigest(), **kwargs)


@pytest.fixture(scope="module")
def batches():
    return {name: pickled(mirabest_batch(number)) for number, name in enumerate(mirabest.BATCHES, start=1)}


@pytest.fixture(scope="module")
def tiny(batches):
    return archived(batches)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no RADIO_BNN_DATA, downloads allowed."""
    monkeypatch.delenv("RADIO_BNN_DATA", raising=False)
    monkeypatch.delenv("RADIO_BNN_OFFLINE", raising=False)
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def read_bytes(tmp_path):
    def read_data(data, **kwargs):
        path = tmp_path / "tiny.tar.gz"
        path.write_bytes(data)
        return read(path, (archive_of(data, **kwargs),))

    return read_data


class Server(ThreadingHTTPServer):
    """Serves ``data`` at /good, half of it at /drop, other bytes at /wrong, and nothing in time at /slow."""

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.release, self.requests = data, threading.Event(), []

    def address(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        data, sent = self.server.data, len(self.server.data)
        if self.path == "/slow":
            self.server.release.wait()
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/wrong":
            data = data[::-1]
        if self.path == "/drop":
            sent //= 2
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.path != "/slow":
            self.wfile.write(data[:sent])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tiny, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(tiny) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def served(server, tiny):
    """The tiny archive at the named pages of the server."""
    return lambda *pages: archive_of(tiny, addresses=tuple(server.address(page) for page in pages))


# --- the real archive ---


def test_real_sets_have_the_published_sizes(mirabest_archive):
    splits = load("mirabest")
    sizes = {name: len(part) for name, part in splits.items()}
    assert sizes == {"train": 584, "validation": 145, "test": 104, "uncertain": 49, "hybrid": 30}
    assert (splits.source, splits.reason) == ("mirabest", "")
    assert splits.sha256 == hashlib.sha256(mirabest_archive.read_bytes()).hexdigest()


def test_real_pixels_have_the_published_mean_and_deviation(mirabest_archive):
    splits = load("mirabest")
    pixels = np.concatenate([splits["train"].images, splits["validation"].images]) / 255
    assert len(pixels) == 729
    assert (round(pixels.mean(), 5), round(pixels.std(), 5)) == (0.00309, 0.03508)


def test_real_galaxies_lie_where_first_looked(mirabest_archive):
    galaxies = read(mirabest_archive)[0]
    assert len(set(galaxies.name)) == len(galaxies) == 1256
    assert galaxies.name[0] == "100_123.251+043.797_0.1281_0034.09"
    assert (galaxies.ra[0], galaxies.dec[0], galaxies.redshift[0], galaxies.size[0]) == (123.251, 43.797, 0.1281, 34.09)
    assert ((galaxies.ra >= 0) & (galaxies.ra < 360) & (galaxies.dec > -12) & (galaxies.dec < 65)).all()
    assert (galaxies.size < 150 * 1.8 * np.sqrt(2)).all()


def test_real_banner_is_the_same_on_every_machine(mirabest_archive, tmp_path, monkeypatch):
    elsewhere = tmp_path / mirabest_archive.name
    elsewhere.write_bytes(mirabest_archive.read_bytes())
    here = load("mirabest").banner()
    monkeypatch.setenv("RADIO_BNN_DATA", str(elsewhere))
    assert load("auto").banner() == here
    assert here.startswith("MiraBest: ") and str(tmp_path) not in here


def test_truncated_real_archive_is_an_error_also_for_auto(mirabest_archive, tmp_path, monkeypatch):
    (tmp_path / mirabest_archive.name).write_bytes(mirabest_archive.read_bytes()[:-1])
    monkeypatch.setenv("RADIO_BNN_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="765685 bytes.*truncated, corrupted or another file"):
        load("auto")


# --- decoding ---


def test_galaxies_come_in_the_order_of_the_batches(read_bytes, tiny):
    galaxies, archive, sha256 = read_bytes(tiny)
    expected = [mirabest_batch(number) for number in range(1, 9)]
    assert np.array_equal(galaxies.images, np.concatenate([b["data"] for b in expected]))
    assert galaxies.ra.tolist() == [number + 0.25 for number in range(1, 9) for _ in range(2)]
    assert galaxies.in_test_batch.tolist() == [False] * 14 + [True] * 2
    assert galaxies.code.tolist() == [100, 310] * 8
    assert (set(galaxies.dec), set(galaxies.redshift), set(galaxies.size)) == ({-10.5}, {0.1281}, {34.09})
    assert archive.checksum == f"sha256:{sha256}"


def test_class_counts_are_verified(read_bytes, tiny):
    assert len(read_bytes(tiny, counts={100: (7, 1), 310: (7, 1)})[0]) == 16
    with pytest.raises(ValueError, match="class 100 has 7 training and 1 test galaxies, expected 297 and 42"):
        read_bytes(tiny, counts=COUNTS)


class Foreign:
    """Unpickled without restriction, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_foreign_class_is_refused_and_not_run(read_bytes, batches, tmp_path):
    trap = pickle.dumps(mirabest_batch(1) | {"extra": Foreign(tmp_path / "ran")}, protocol=3)
    pickle.loads(pickle.dumps(Foreign(tmp_path / "control"), protocol=3)).close()
    with pytest.raises(ValueError, match=r"data_batch_3 is not a MiraBest batch: it asks for .*open"):
        read_bytes(archived(batches | {"data_batch_3": trap.replace(b"numpy._core.", b"numpy.core.")}))
    assert (tmp_path / "control").exists() and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["builtins eval", "numpy load", "numpy.core.multiarray fromfile", "numpy.core ndarray"]
)
def test_every_other_global_is_refused(name):
    module, attribute = name.split()
    with pytest.raises(pickle.UnpicklingError, match=f"{module}.{attribute}"):
        mirabest._Unpickler(io.BytesIO(f"c{module}\n{attribute}\n.".encode())).load()


BAD_BATCHES = {
    "shape": ({"data": [np.zeros((150, 149), np.uint8)] * 2}, r"is uint8 \(150, 149\), expected uint8 \(150, 150\)"),
    "type": ({"data": [np.zeros((150, 150))] * 2}, "is float64"),
    "no image": ({"data": [None, None]}, "is NoneType"),
    "label": ({"labels": [0, 99]}, "data_batch_3 is not a MiraBest batch"),
    "other label": ({"labels": [1, 9]}, "is labelled 102, its name says 100"),
    "name": ({"filenames": ["a.png", "b.png"]}, "'a.png' is not label_RA"),
    "length": ({"labels": [0]}, "2 images, 2 names, 1 labels"),
}


@pytest.mark.parametrize(("change", "message"), BAD_BATCHES.values(), ids=BAD_BATCHES.keys())
def test_batches_unlike_the_published_ones_are_refused(read_bytes, batches, change, message):
    with pytest.raises(ValueError, match=message):
        read_bytes(archived(batches | {"data_batch_3": pickled(mirabest_batch(3) | change)}))


def test_damaged_content_is_refused(read_bytes, batches, tiny):
    without = {name: content for name, content in batches.items() if name != "test_batch"}
    with pytest.raises(ValueError, match="test_batch is not a MiraBest batch"):
        read_bytes(archived(without))
    with pytest.raises(ValueError, match="data_batch_2 is not a MiraBest batch"):
        read_bytes(archived(batches | {"data_batch_2": batches["data_batch_2"][:1000]}))
    for damaged in (tiny[: len(tiny) // 2], b"", b"not an archive", tiny[:-4000] + bytes(3000) + tiny[-1000:]):
        with pytest.raises(ValueError, match="not a readable .tar.gz archive|not a MiraBest batch"):
            read_bytes(damaged)


# --- finding ---


def test_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match="no data set called 'cifar': choose one of auto, mirabest, simulated"):
        load("cifar")


def test_counts_are_for_the_simulator_only():
    with pytest.raises(ValueError, match="counts choose how many galaxies to simulate"):
        load("mirabest", counts={100: (1, 1)})


@pytest.mark.parametrize("name", ["auto", "mirabest"])
def test_wrong_place_is_an_error_never_a_fallback(tmp_path, monkeypatch, name):
    (tmp_path / "other.tar.gz").write_bytes(b"something else")
    places = {
        "nowhere": "does not exist",
        ".": "is a folder without MiraBest_F_batches.tar.gz",
        "other.tar.gz": "14 bytes",
    }
    for place, message in places.items():
        monkeypatch.setenv("RADIO_BNN_DATA", str(tmp_path / place))
        with pytest.raises((FileNotFoundError, ValueError), match=message) as error:
            load(name)
        assert not isinstance(error.value, Unavailable)
        assert "10.5281/zenodo.4288837" in str(error.value)


def test_archive_is_found_by_folder_by_file_and_in_the_cache(cache, tmp_path, monkeypatch, tiny):
    archives = (archive_of(tiny),)
    assert mirabest.locate(archives) is None
    cache.mkdir()
    (cache / "tiny.tar.gz").write_bytes(tiny)
    assert mirabest.locate(archives) == cache / "tiny.tar.gz"
    (cache / "tiny.tar.gz").write_bytes(tiny[:-1])
    assert mirabest.locate(archives) is None
    (tmp_path / "renamed.tgz").write_bytes(tiny)
    monkeypatch.setenv("RADIO_BNN_DATA", str(tmp_path / "renamed.tgz"))
    assert len(mirabest.load(data_seed=0, archives=archives).galaxies) == 16


def test_folds_need_the_published_galaxies(cache, tmp_path, monkeypatch, tiny):
    (tmp_path / "tiny.tar.gz").write_bytes(tiny)
    monkeypatch.setenv("RADIO_BNN_DATA", str(tmp_path / "tiny.tar.gz"))
    with pytest.raises(ValueError, match=r"100_001.250-010.500.* is not in folds.csv.*need its published batches"):
        mirabest.load(data_seed=0, fold=0, archives=(archive_of(tiny),))


def test_offline_asks_no_server(served, server, cache, monkeypatch):
    monkeypatch.setenv("RADIO_BNN_OFFLINE", "1")
    with pytest.raises(Unavailable, match="RADIO_BNN_OFFLINE forbids a download"):
        mirabest.load(data_seed=0, archives=(served("good"),))
    with pytest.raises(Unavailable, match="set RADIO_BNN_DATA to it"):
        load("mirabest")
    assert server.requests == [] and not cache.exists()


# --- downloading ---


def test_download_goes_to_the_cache_once(served, server, cache, tiny):
    splits = [mirabest.load(data_seed=0, archives=(served("good"),)) for _ in range(2)]
    assert (cache / "tiny.tar.gz").read_bytes() == tiny
    assert server.requests == ["/good"]
    assert splits[0].sha256 == splits[1].sha256 == hashlib.sha256(tiny).hexdigest()


FAILURES = {"slow": "ReadTimeout", "drop": "ChunkedEncodingError", "wrong": "does not match", "missing": "404"}


@pytest.mark.parametrize(("page", "message"), FAILURES.items())
def test_failed_download_leaves_no_file_and_the_next_call_starts_again(served, server, cache, page, message):
    timeout = 0.2 if page == "slow" else 10.0
    with pytest.raises(Unavailable, match=message) as error:
        fetch(served(page), timeout=timeout)
    assert "RADIO_BNN_DATA" in str(error.value)
    assert list(cache.iterdir()) == []
    assert read(fetch(served("good")), (served("good"),))[2] in served().checksum
    assert server.requests == [f"/{page}", "/good"]


def test_next_address_serves_when_the_first_fails(served, server, cache, tiny):
    assert fetch(served("missing", "wrong", "drop", "good")).read_bytes() == tiny
    assert server.requests == ["/missing", "/wrong", "/drop", "/good"]


def test_trickling_download_ends(served, cache):
    with pytest.raises(Unavailable, match="it took too long"):
        fetch(served("good"), limit=0.0)
    assert list(cache.iterdir()) == []


def test_interrupted_download_leaves_no_file(served, cache, monkeypatch):
    def interrupt(bar, n=1):
        raise KeyboardInterrupt

    monkeypatch.setattr(mirabest._Progress, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(served("good"))
    assert list(cache.iterdir()) == []


def test_damaged_file_in_the_cache_is_replaced_only_by_a_good_one(served, cache, tiny):
    cache.mkdir()
    (cache / "tiny.tar.gz").write_bytes(tiny[:100])
    with pytest.raises(Unavailable, match="does not match"):
        fetch(served("wrong"))
    assert fetch(served("good")).read_bytes() == tiny
    assert os.listdir(cache) == ["tiny.tar.gz"]


def test_timeout_holds_for_every_request_of_the_published_addresses(cache, monkeypatch):
    asked = []

    def refuse(url, *, timeout, **kwargs):
        asked.append((url.partition("//")[2].partition("/")[0], timeout))
        raise requests.ConnectTimeout

    monkeypatch.setattr(requests, "get", refuse)
    with pytest.raises(Unavailable, match=r"zenodo.4288837.* \(ConnectTimeout\); http.* \(ConnectTimeout\)"):
        load("mirabest")
    assert asked == [("doi.org", 10.0), ("www.jb.man.ac.uk", 10.0)]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_unwritable_cache_is_one_clear_error_before_any_request(served, server, tmp_path, monkeypatch, cache, below):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "file" / below))
    with pytest.raises(Unavailable, match="cannot be written.*set RADIO_BNN_CACHE"):
        mirabest.load(data_seed=0, archives=(served("good"),))
    assert server.requests == []
    assert (tmp_path / "file").read_text() == "not a folder"


def test_read_only_folder_is_an_error(served, server, cache):
    if os.geteuid() == 0:
        pytest.skip("permission bits do not bind root")
    cache.mkdir(mode=0o500)
    with pytest.raises(Unavailable, match="cannot be written"):
        fetch(served("good"))
    assert server.requests == []


# --- the command ---


def test_command_reports_in_one_line(cache, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("RADIO_BNN_OFFLINE", "1")
    assert mirabest.main() == 0
    out = capsys.readouterr().out
    assert out.startswith("Simulated galaxies will be used.") and out.count("\n") == 1
    monkeypatch.setenv("RADIO_BNN_DATA", str(tmp_path / "nowhere"))
    assert mirabest.main() == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_unavailable_mirabest_is_simulated_with_the_reason(cache, monkeypatch):
    pytest.importorskip("radio_bnn.data.simulate")
    monkeypatch.setenv("RADIO_BNN_OFFLINE", "1")
    counts = {code: (2, 1) for code in COUNTS}
    one, same, other = (load("auto", counts=counts, seed=seed) for seed in (0, 0, 1))
    assert (one.source, len(one.galaxies)) == ("simulated", 30)
    assert "RADIO_BNN_OFFLINE forbids a download" in one.banner()
    assert one.sha256 == same.sha256 != other.sha256
    assert load("simulated", counts=counts).reason == "asked for by name"


def test_full_batching_is_told_apart_by_its_md5(tiny):
    archive = replace(mirabest.FULL_BATCHES, checksum="md5:" + hashlib.md5(tiny, usedforsecurity=False).hexdigest())
    assert archive.matches(tiny) and not archive.matches(tiny[:-1])


def test_offline_nothing_is_imported_that_writes_to_stderr(tmp_path):
    """A kernel without MiraBest falls back silently: any stderr in a chapter fails the build."""
    code = """
import sys
from radio_bnn.data import mirabest
try:
    mirabest.fetch()
except mirabest.Unavailable:
    print("pooch" in sys.modules)
"""
    env = {k: v for k, v in os.environ.items() if k != "RADIO_BNN_DATA"} | {"RADIO_BNN_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_designations_are_the_truncated_positions_that_astropy_prints():
    for name in committed_names():
        ra, dec = float(name[4:11]), float(name[11:19])
        sides = [Angle(ra + 1e-7, "deg").hms, Angle(abs(dec) + 1e-7, "deg").dms]
        first, second = (f"{int(side[0]):02d}{int(side[1]):02d}" for side in sides)
        assert mirabest.designation(name) == f"J{first}{name[11]}{second}"
    assert mirabest.designation("100_123.251+043.797_0.1281_0034.09") == "J0813+4347"
    assert mirabest.title("110_123.251+043.797_0.1281_0034.09") == "J0813+4347\nFRI uncertain, standard"
    with pytest.raises(ValueError, match="'toy_1' is not a name of MiraBest"):
        mirabest.designation("toy_1")
