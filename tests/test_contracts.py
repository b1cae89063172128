"""Conventions that must not erode: who imports whom, what the core needs, how public functions look."""

import ast
import importlib
import inspect
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import radio_bnn

PACKAGE = Path(radio_bnn.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
CORE = {"torch", "numpy", "scipy", "sklearn", "tqdm", "radio_bnn"}
# What the files of a folder may import: folders that come before them. Every file of the package is in one of them.
BASE = {"radio_bnn", "config", "files", "messages", "pool", "seeds", "progress"}
MAY_IMPORT = {
    "base": set(),
    "data": set(),
    "evaluation": set(),
    "model": {"data"},
    "inference": {"data", "model", "evaluation"},
    "runs": {"data", "model", "inference", "evaluation"},
    "sky": {"data", "model", "inference", "evaluation"},
    "paper": {"data", "model", "inference", "evaluation", "runs", "sky"},
    "cli": {"data", "runs", "sky", "paper"},
}
WITHOUT_TORCH = (
    "radio_bnn.evaluation.",
    "radio_bnn.data",
    "radio_bnn.config",
    "radio_bnn.runs.outstanding",
    "radio_bnn.runs.protocols",
    "radio_bnn.runs.records",
    "radio_bnn.runs.sealed",
    "radio_bnn.pool",
    "radio_bnn.cli",
)


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Every module, and name in a module, that a file imports; ``top_level``: when it is itself imported."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def folder(module: str) -> str:
    """The folder of a module of the package, "base" for what lies above all of them."""
    first = module.split(".")[1] if "." in module else "radio_bnn"
    return "base" if first in BASE else first


def imported_modules(path: Path, *, top_level: bool = False) -> set[str]:
    """The modules of this package that a file imports."""
    return imports(path, top_level=top_level) & FILES.keys() - {"radio_bnn"}


@pytest.mark.parametrize("name", FILES)
def test_imports_go_one_way(name):
    own = folder(name)
    assert own in MAY_IMPORT, f"{name} lies in none of the folders {', '.join(MAY_IMPORT)}"
    allowed = MAY_IMPORT[own] | {"base", own}
    wrong = sorted(module for module in imported_modules(FILES[name]) if folder(module) not in allowed)
    assert not wrong, f"{name} imports {wrong}; {own} may import {sorted(allowed)}"


def test_no_module_needs_itself():
    graph = {name: imported_modules(path, top_level=True) - {name} for name, path in FILES.items()}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", FILES)
def test_the_core_needs_only_what_a_gpu_machine_has(name):
    outside = {i.split(".")[0] for i in imports(FILES[name], top_level=True)} - CORE - set(sys.stdlib_module_names)
    assert not outside, f"{name} imports {outside} at module level: import it inside the function that uses it"


def test_what_knows_no_torch_loads_none():
    chosen = [name for name in FILES if name.startswith(WITHOUT_TORCH)]
    code = f"import sys\nfor name in {chosen}:\n    __import__(name)\nprint('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(chosen) > 10 and out.stdout.strip() == "False"


def test_importing_the_engine_loads_none_of_the_books_packages():
    books = {"astropy", "pooch", "papermill", "dask", "matplotlib", "nbformat"}
    engine = [name for name in FILES if folder(name) in ("base", "model", "inference", "runs", "sky")]
    code = f"import sys\nfor name in {engine}:\n    __import__(name)\nprint(sorted({books} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_public_names_fit_on_one_screen_and_are_there():
    assert len((PACKAGE / "__init__.py").read_text().splitlines()) <= 60
    for name in radio_bnn.__all__:
        assert getattr(radio_bnn, name) is not None
    with pytest.raises(AttributeError, match="has no public name 'nope'"):
        radio_bnn.nope  # noqa: B018


def test_functions_stay_short():
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 40, f"{path.name}: {node.name} is longer than 40 lines"


def public_functions():
    for name in FILES:
        module = importlib.import_module(name)
        for attribute, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == name and not attribute.startswith("_"):
                yield pytest.param(value, id=f"{name}.{attribute}")


PUBLIC = list(public_functions())
# A generator is an argument like any other where drawing is what a function does: in the model and a method's shape.
TAKES_A_GENERATOR = {"network", "scope", "sampled"}


@pytest.mark.parametrize("function", PUBLIC)
def test_public_functions_say_what_they_do_and_annotate(function):
    assert inspect.getdoc(function), "needs a docstring"
    signature = inspect.signature(function)
    missing = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert not missing, f"parameters without annotation: {missing}"


@pytest.mark.parametrize("function", PUBLIC)
def test_conventions_of_the_signatures(function):
    parameters = inspect.signature(function).parameters
    free = folder(function.__module__) == "model" or function.__name__ in TAKES_A_GENERATOR
    for name in ("seed", "progress", "device") if free else ("seed", "progress", "device", "generator"):
        if name in parameters:
            kind = parameters[name].kind
            assert kind is inspect.Parameter.KEYWORD_ONLY or list(parameters)[0] == name, f"{name} must be keyword-only"
