"""What `pip install` brings classifies a galaxy: no checkout, no MiraBest, no network, no home folder."""

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from astropy.table import QTable
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What the package does not declare is not there, and nothing can be connected to.
GUARD = """
import socket
from importlib.machinery import PathFinder

def refused(*_, **__):
    raise OSError("no network here")

there, names = PathFinder.find_spec, {names!r}
PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] in names else there(name, *more)
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
"""


def undeclared() -> set[str]:
    """What can be imported here and is neither a dependency nor one of a dependency's own."""
    wanted, known = [Requirement(line) for line in PROJECT["dependencies"]], set()
    while wanted:
        name = canonicalize_name(wanted.pop().name)
        if name not in known:
            known.add(name)
            own = map(Requirement, metadata.requires(name) or [])
            wanted += [r for r in own if r.marker is None or r.marker.evaluate({"extra": ""})]
    packages = metadata.packages_distributions().items()
    ours = {"radio_bnn", "sitecustomize"}
    return {name for name, of in packages if not known & set(map(canonicalize_name, of))} - ours


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel's content, and the guard."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True)
    [wheel] = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "lib", wheel], check=True)
    (folder / "lib" / "sitecustomize.py").write_text(GUARD.format(names=undeclared()))
    return folder / "lib"


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(installed),
        "HOME": "/nonexistent",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(installed / "bin" / "radio-bnn"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_one_fits_file_is_classified_from_the_wheel(installed, tmp_path, cutouts):
    done = run(installed, tmp_path, "classify", str(cutouts[0]), "-o", "out.ecsv", "--report", "out.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out.ecsv: 1 classified\n"
    [row] = QTable.read(tmp_path / "out.ecsv")
    assert 0 <= row["p_fri"] <= 1 and row["label"] in ("FRI", "FRII", "ask", "none")
    assert "<svg" in (tmp_path / "out.html").read_text()


def test_help_needs_nothing(installed, tmp_path):
    done = run(installed, tmp_path, "classify", "--help")
    assert done.returncode == 0 and "--orbit" in done.stdout


def test_the_wheel_is_what_is_run(installed, tmp_path):
    code = "import radio_bnn, sys; print(radio_bnn.__file__)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(done.stdout.strip()).parent == installed / "radio_bnn"
    assert {"posteriors.npz", "posteriors.json"} <= {p.name for p in (installed / "radio_bnn" / "sky").iterdir()}
