"""Conventions that must not erode: who imports whom, what the core needs, how public functions look."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "radio_bnn"
MODULES = sorted(p.relative_to(PACKAGE.parent).with_suffix("") for p in PACKAGE.rglob("*.py"))
NAMES = [".".join(m.parts).removesuffix(".__init__") for m in MODULES]
CORE = {"torch", "numpy", "scipy", "sklearn", "tqdm", "radio_bnn"}
# Imports go one way: a module may import from the modules before it.
ORDER = [
    "config",
    "seeds",
    "data",
    "priors",
    "layers",
    "sparse",
    "lenet",
    "inputs",
    "likelihood",
    "objective",
    "method",
    "vi",
    "point",
    "ensemble",
    "resolve",
    "predictive",
    "metrics",
    "resampling",
    "reliability",
    "conformal",
    "predict",
    "train",
    "records",
    "execute",
    "sweep",
    "experiments",
    "contrasts",
    "pruning",
    "convergence",
]
ARRAYS_ONLY = {"predictive", "metrics", "resampling", "reliability", "conformal", "figures"}


def top_level_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_core_needs_only_what_a_gpu_machine_has(name):
    path = PACKAGE.parent / Path(*name.split(".")) if name != "radio_bnn" else PACKAGE
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    outside = {i.split(".")[0] for i in top_level_imports(path)} - CORE - set(sys.stdlib_module_names)
    assert not outside, f"{name} imports {outside} at module level: import it inside the function that uses it"


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_one_way(name):
    path = PACKAGE / name / "__init__.py" if (PACKAGE / name).is_dir() else PACKAGE / f"{name}.py"
    used = {i.split(".")[1] for i in top_level_imports(path) if i.startswith("radio_bnn.")} & set(ORDER)
    later = [u for u in used if ORDER.index(u) > ORDER.index(name)]
    assert not later, f"{name} imports {later}, which come after it"


def test_metrics_depend_on_arrays_only():
    for name in ARRAYS_ONLY:
        path = PACKAGE / f"{name}.py"
        if path.exists():
            assert not {"radio_bnn.train", "radio_bnn.records", "radio_bnn.execute", "torch"} & top_level_imports(path)


def public_functions():
    for name in NAMES:
        module = importlib.import_module(name)
        for attribute, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == name and not attribute.startswith("_"):
                yield pytest.param(value, id=f"{name}.{attribute}")


PUBLIC = list(public_functions())


@pytest.mark.parametrize("function", PUBLIC)
def test_public_functions_say_what_they_do_and_annotate(function):
    assert inspect.getdoc(function), "needs a docstring"
    signature = inspect.signature(function)
    missing = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert not missing, f"parameters without annotation: {missing}"


@pytest.mark.parametrize("function", PUBLIC)
def test_conventions_of_the_signatures(function):
    parameters = inspect.signature(function).parameters
    for name in ("seed", "progress", "device", "generator"):
        if name in parameters and function.__module__ not in (
            "radio_bnn.layers",
            "radio_bnn.lenet",
            "radio_bnn.inputs",
            "radio_bnn.likelihood",
            "radio_bnn.method",
            "radio_bnn.vi",
            "radio_bnn.point",
            "radio_bnn.ensemble",
        ):
            kind = parameters[name].kind
            assert kind is inspect.Parameter.KEYWORD_ONLY or list(parameters)[0] == name, f"{name} must be keyword-only"


def test_importing_the_engine_loads_none_of_the_books_packages():
    code = "import sys, radio_bnn.execute; print(sorted({'astropy', 'pooch', 'papermill', 'dask'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_evaluation_needs_no_torch():
    code = "import sys; from radio_bnn import conformal, reliability; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
