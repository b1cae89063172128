"""The wheel, installed elsewhere: core dependencies alone, no checkout, no home, no network."""

import importlib.metadata as metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# Stands before everything else: what the core does not require is not there, and no server answers.
ALONE = """
import socket
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in {absent!r} else find(name, path, target)
def unreachable(*args, **kwargs):
    raise OSError("the network is unreachable")
PathFinder.find_spec = classmethod(find_spec)
socket.socket.connect = socket.getaddrinfo = unreachable
"""
WHOLE = """
import os, sys
import numpy as np
import radio_bnn
from radio_bnn import Config, fit, generator, load, predict
from radio_bnn.data import COUNTS
from radio_bnn.runs import execute, records
few = {code: (3, 1) for code in COUNTS}
splits = load("simulated", counts=few)
print(load("auto", counts=few).banner())
config = Config.preview(data="simulated", simulated_galaxies=60, epochs=1, samples=2)
model = fit(config, splits, progress=False).model
logits = predict(model, splits["test"].images, samples=2, generator=generator(0, "predict"))
print(logits.shape == (2, len(splits["test"]), 2) and np.isfinite(logits).all(), radio_bnn.__file__)
os.environ["HOME"] = sys.argv[1]
run = execute.execute(config, records.committed_folder(), progress=False)
again = records.read(records.committed_folder(), run.identity)
print(again.content["provenance"]["commit"], records.committed_folder(), records.cached_folder())
"""


def closure(requirements: list[str], extras: set[str]) -> set[str]:
    """The names of what these requirements install here, and of what that requires."""
    found: set[str] = set()
    todo = [(Requirement(line), extras) for line in requirements]
    while todo:
        requirement, given = todo.pop()
        name = canonicalize_name(requirement.name)
        wanted = [{"extra": extra} for extra in (given or {""})]
        if name in found or (requirement.marker and not any(requirement.marker.evaluate(e) for e in wanted)):
            continue
        try:
            below = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:  # one of another system
            continue
        found.add(name)
        todo += [(Requirement(line), requirement.extras) for line in below]
    return found


def absent(requirements: list[str]) -> set[str]:
    """The modules that are installed here and that a place with these requirements alone would lack."""
    kept = closure(requirements, {""})
    owners = metadata.packages_distributions()
    return {
        module
        for module, names in owners.items()
        if not {canonicalize_name(name) for name in names} & kept
        and module not in {"radio_bnn", *sys.stdlib_module_names}
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    pytest.importorskip("hatchling", reason="builds the wheel: pip install -c constraints.txt hatchling")
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def place(tmp_path_factory, wheel):
    """The wheel installed into a folder that is the root of another repository, with a commit of its own."""
    top = tmp_path_factory.mktemp("elsewhere")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(top / "site")]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    for ask in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "an environment"]):
        subprocess.run(["git", "-C", str(top / "site"), *who, *ask], check=True, capture_output=True)
    [dist_info] = (top / "site").glob("radio_bnn-*.dist-info")
    requires = metadata.Distribution.at(dist_info).requires
    (top / "alone").mkdir()
    (top / "alone" / "sitecustomize.py").write_text(ALONE.format(absent=absent(requires)))
    (top / "book").mkdir()
    (top / "book" / "_toc.yml").write_text("root: index\n")
    (top / "book" / "priors.ipynb").write_text("{}")
    (top / "nobody").write_text("a file, so that no home can be made below it")
    return top


def call(place: Path, *command: str) -> subprocess.CompletedProcess:
    """A command beside the installed wheel, which must leave the installation as it was."""
    site = place / "site"
    paths = os.pathsep.join([str(place / "alone"), str(site)])
    given = {"PATH": f"{site / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(place / "nobody" / "home")}
    given |= {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "error"}
    before = sorted(path for path in site.rglob("*") if ".git" not in path.parts)
    done = subprocess.run(command, cwd=place, env=given, capture_output=True, text=True)
    assert sorted(path for path in site.rglob("*") if ".git" not in path.parts) == before, "it wrote into the package"
    return done


def test_the_wheel_loads_trains_predicts_and_stores_with_its_core_alone(place):
    """What it stores goes to the user, and names the commit of no other repository."""
    home = place / "somebody"
    done = call(place, sys.executable, "-c", WHOLE, str(home))
    assert (done.returncode, done.stderr) == (0, "")
    banner, predicted, stored = done.stdout.strip().splitlines()
    assert banner.startswith("SIMULATED GALAXIES") and "cannot be written" in banner
    assert predicted == f"True {place / 'site' / 'radio_bnn' / '__init__.py'}"
    commit, results, cache = stored.split()
    assert commit == "unknown" and results != cache
    assert all(Path(folder).is_relative_to(home) for folder in (results, cache))


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["sweep", "--help"], ["sweep", "priors", "--list"]])
def test_commands_of_the_wheel_answer(place, command):
    done = call(place, "radio-bnn", *command)
    assert (done.returncode, done.stderr) == (0, "") and "radio-bnn" in done.stdout or "missing" in done.stdout


REFUSED = {
    "a run that is not here": (["verify", "b6beecf2c98e"], "no run 'b6beecf2c98e' is stored in .*"),
    "no data and no home": (["sweep", "priors"], ".*cannot be written.*"),
    "a chapter without the book's packages": (["chapters", "priors"], r'.*pip install "radio-bnn\[book\]"'),
    "a cluster without dask": (
        ["sweep", "priors", "--scheduler", "tcp://127.0.0.1:1"], r'.*pip install "radio-bnn\[cluster\]"'),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_wheel_cannot_do_is_one_line(place, what):
    command, said = REFUSED[what]
    done = call(place, "radio-bnn", *command)
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(f"radio-bnn: error: {said}\n", done.stderr)
