"""The files that describe the project agree with each other."""

from __future__ import annotations

import hashlib
import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import radio_bnn

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
EXTRAS = PROJECT["optional-dependencies"]
VENDORED = {
    "tex-svg.js": "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882",
    "LICENSE-mathjax.txt": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
}
PLACEHOLDER = re.compile(r"owner|repo\b|your|example|user(name)?/|<|>|todo|xxx|insert|placeholder", re.IGNORECASE)


def constraints() -> dict[str, Version]:
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pins = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): Version(version) for name, version in pins}


def requirements() -> list[Requirement]:
    named = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return [r for r in map(Requirement, named) if r.name != PROJECT["name"]]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_every_dependency_has_an_exact_version_in_its_range(requirement):
    pins = constraints()
    assert canonicalize_name(requirement.name) in pins
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_constraints_hold_for_every_build_of_a_package():
    assert [name for name, version in constraints().items() if version.local] == []
    assert constraints()["torch"] == Version("2.13.0")


def test_conda_users_get_the_same_python_and_the_same_pins():
    *conda, pip = ENVIRONMENT["dependencies"]
    python = next(line.removeprefix("python=") for line in conda if line.startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    assert f"(Python {python})" in (ROOT / "constraints.txt").read_text()
    assert pip["pip"][0] == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.\[(.+)\]", pip["pip"][1]).group(1).split(",")
    assert set(extras) <= set(EXTRAS)
    assert f"{PROJECT['name']}[{','.join(extras)}]" in EXTRAS["dev"], (
        "make installs dev: it must be what conda installs"
    )


def test_lint_and_package_agree_on_the_oldest_python():
    target = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["target-version"]
    assert PROJECT["requires-python"] == f">=3.{target.removeprefix('py3')}"


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == radio_bnn.__version__
    assert f"## {radio_bnn.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", VENDORED)
def test_vendored_mathjax_is_the_published_file(name):
    content = (ROOT / "book" / "_extra" / "vendor" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == VENDORED[name]


@pytest.mark.parametrize("name", ["_config.yml", "_toc.yml"])
def test_book_sees_the_root_file(name):
    content = (ROOT / "book" / name).read_bytes()
    assert content == (ROOT / name).read_bytes(), f"book/{name} must be a link to, or a copy of, ../{name}"


def test_the_wheel_holds_the_table_of_the_folds():
    """hatch packs every file of the folder that git does not ignore."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["radio_bnn"]}
    assert (files("radio_bnn.data") / "folds.csv").is_file()
    assert "csv" not in (ROOT / ".gitignore").read_text()


def test_repository_address_is_real_or_empty():
    address = CONFIG["repository"]["url"]
    assert address == "" or re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", address)
    assert not PLACEHOLDER.search(address)


@pytest.mark.parametrize(
    "address", ["https://github.com/OWNER/REPO", "https://github.com/<you>/radio", "https://example.org/a/b"]
)
def test_placeholders_are_recognised(address):
    assert PLACEHOLDER.search(address)


def test_licence_names_code_text_and_what_is_excluded():
    text = (ROOT / "LICENSE").read_text()
    for part in ("MIT License", "CC-BY-4.0", "FIRST", "Apache"):
        assert part in text


def test_make_and_ci_offer_what_the_readme_promises():
    makefile, readme = (ROOT / "Makefile").read_text(), (ROOT / "README.md").read_text()
    for target in re.findall(r"`make ([\w-]+)`", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"README.md names `make {target}`"
    assert re.findall(r"^part (\S+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE) == ["test", "check-book"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_readmes_package_example_names_what_exists():
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    imports = [line for line in block.splitlines() if line.startswith(("import ", "from "))]
    exec("\n".join(imports), found := {})
    assert len(found) > 5 and set(found) - {"__builtins__"} <= set(radio_bnn.__all__)
    compile(block, "README.md", "exec")


def test_the_run_that_the_readme_verifies_is_stored():
    [identity] = re.findall(r"radio-bnn verify (\w+)", (ROOT / "README.md").read_text())
    assert (ROOT / "book" / "results" / f"{identity}.json").exists()
