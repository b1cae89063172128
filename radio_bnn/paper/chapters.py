"""Execute the book's chapters with papermill: strict about names and types, byte-stable on disk, all or nothing.

papermill alone only logs an unknown parameter, does not check types, keeps the injected cell of an earlier run and
stamps every cell with the time; a chapter executed in place with it changes at every run.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from radio_bnn.data.mirabest import cache_folder
from radio_bnn.files import check_writable, named_place, remove_abandoned, replacing

if TYPE_CHECKING:
    from nbformat import NotebookNode

TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}
NEEDS_MIRABEST = "needs-mirabest"
NOT_EXECUTED = """:::{note}
MiraBest is not on this machine: the next cell was not executed here, its output is the stored one.
:::"""
VOLATILE = ("papermill", "execution", "ExecuteTime", "collapsed")
NOT_COPIED = shutil.ignore_patterns("_build", "__pycache__", ".ipynb_checkpoints", ".*", "*.partial")
KERNEL_ENVIRONMENT = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
}

PLACES = ("RADIO_BNN_DATA", "RADIO_BNN_RESULTS")


class ChapterError(ValueError):
    """A chapter, a parameter or a cell that cannot be used; the message says which and what to do."""


def run_all(
    names: Sequence[str] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    book: str | Path = "book",
    out: str | Path | None = None,
    timeout: float | None = None,
) -> dict[str, float]:
    """Execute chapters by name (default: all of the book) and return their seconds, {name: seconds}.

    ``parameters`` holds one mapping per chapter, for values of its cell tagged ``parameters``; ``timeout`` limits every
    cell, in seconds. Names and values are checked before anything runs, and no chapter changes unless all of them ran.
    With ``out`` the chapters are executed in a copy of the book in that folder, where ``_generated/`` then holds their
    times and the machine's description; there, cells that need MiraBest keep their stored output under a note where it
    is absent. The scoreboard is written anew in either case.
    Raises ChapterError for an unknown name, a wrong type, a failing or slow cell, and without ``out`` for a cell that
    needs MiraBest where it is absent.
    """
    from radio_bnn.paper import scoreboard

    book, known = Path(book), chapters_of(Path(book))
    values = checked(list(names) or list(known), parameters or {}, known)
    remove_abandoned(book)
    if out is None:
        for name in values:
            refuse_without_mirabest(known[name])
    else:
        known = chapters_of(copy_book(book, Path(out)))
    notebooks, seconds = {}, {}
    for name in tqdm(values, desc="chapters", unit="chapter", disable=None):
        started = time.perf_counter()
        notebooks[name] = execute(known[name], values[name], timeout=timeout)
        seconds[name] = time.perf_counter() - started
    for name, notebook in notebooks.items():
        write(notebook, known[name])
    if out is not None:
        write_times(Path(out), values, seconds)
    scoreboard.write(book if out is None else out)
    return seconds


def checked(
    names: Sequence[str], parameters: Mapping[str, Mapping[str, Any]], known: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """The parameters of each chapter as it will see them, {name: {parameter: value}}; all names are known ones."""
    refuse_unknown(names, known, "chapter")
    refuse_unknown(parameters, known, "chapter in the parameters")
    return {name: check(known[name], parameters.get(name) or {}) for name in names}


def chapters_of(book: Path) -> dict[str, Path]:
    """The chapters of a book by name, {stem: path}, in reading order; what is not listed comes last."""
    if not (book / "_toc.yml").is_file():
        raise ChapterError(
            f"{book} is not a book: it has no _toc.yml. Run from the repository's root or name the folder."
        )
    found = {path.stem: path for path in sorted(book.glob("*.ipynb"))}
    if not found:
        raise ChapterError(f"{book} has no chapters (*.ipynb)")
    listed = re.findall(r"\bfile: *([\w-]+)", (book / "_toc.yml").read_text(encoding="utf-8"))
    return {name: found[name] for name in dict.fromkeys([*listed, *found]) if name in found}


def read_parameters(path: str | Path) -> dict[str, dict[str, Any]]:
    """Parameters per chapter, {chapter: {name: value}}, from a YAML file with one mapping per chapter."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ChapterError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise ChapterError(f"{path}: expected one mapping per chapter, such as `priors: {{seed: 3}}`, got {content!r}")
    return content


def check(path: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the chapter will see them: known names only, whole numbers made float where it says float."""
    import papermill

    if not path.is_file():
        raise ChapterError(f"{path}: no such chapter")
    types = {name: found["inferred_type_name"] for name, found in papermill.inspect_notebook(str(path)).items()}
    if not types:
        raise ChapterError(f"{path}: no readable cell tagged 'parameters'")
    refuse_unknown(parameters, types, f"parameter of {path.name}")
    return {name: fit(f"{path.name}: {name}", value, types[name]) for name, value in parameters.items()}


def fit(what: str, value: Any, annotation: str) -> Any:
    """The value if it has the annotated type (``int``, ``float``, ``list[float]``, ...), else a ChapterError."""
    outer, _, inner = annotation.replace(" ", "").partition("[")
    if outer not in TYPES:
        raise ChapterError(f"{what} has the annotation {annotation!r} in the chapter: use one of {', '.join(TYPES)}")
    if not isinstance(value, TYPES[outer]) or (isinstance(value, bool) and outer != "bool"):
        hint = " (YAML takes 1e-2 for a text: write 0.01 or 1.0e-2)" if outer == "float" and is_number(value) else ""
        raise ChapterError(f"{what} must be {annotation}, got {value!r}{hint}")
    if outer == "list" and inner:
        return [fit(f"{what}[{i}]", item, inner[:-1]) for i, item in enumerate(value)]
    return float(value) if outer == "float" else value


def is_number(value: Any) -> bool:
    """Whether a text reads as a number."""
    with contextlib.suppress(ValueError, TypeError):
        return isinstance(value, str) and float(value) is not None
    return False


def refuse_unknown(names: Sequence[str] | Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    """Raise ChapterError if a name is not among the known ones."""
    if unknown := sorted(map(str, set(names) - set(known))):
        raise ChapterError(f"no such {what}: {', '.join(unknown)} (there are: {', '.join(sorted(known)) or 'none'})")


def execute(path: Path, parameters: Mapping[str, Any], *, timeout: float | None = None) -> NotebookNode:
    """The executed chapter, without anything that differs from run to run; the file is not touched."""
    import nbformat
    import papermill

    source = nbformat.read(path, as_version=4)
    source.cells = [cell for cell in source.cells if "injected-parameters" not in tags(cell)]
    stored = set_aside(source) if mirabest_is_absent() else {}
    with kernel_environment(), one_message(path, timeout):
        executed = papermill.execute_notebook(
            source,
            None,
            parameters=dict(parameters),
            kernel_name="python3",
            language="python",
            cwd=str(path.parent),
            progress_bar=False,
            request_save_on_cell_execute=False,
            execution_timeout=timeout,
            shutdown_kernel="immediate",  # nothing in it is waited for, also when a signal ends all
        )
    return put_back(tidy(executed), stored)


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def mirabest_is_absent() -> bool:
    """Whether MiraBest is neither where ``RADIO_BNN_DATA`` says nor in the cache."""
    from radio_bnn.data import mirabest

    return mirabest.locate() is None


def refuse_without_mirabest(path: Path) -> None:
    """Raise ChapterError if executing a chapter in place would lose outputs that only MiraBest can give."""
    import nbformat

    if any(NEEDS_MIRABEST in tags(cell) for cell in nbformat.read(path, as_version=4).cells) and mirabest_is_absent():
        raise ChapterError(
            f"{path} has cells that need MiraBest, which is not on this machine: set RADIO_BNN_DATA, "
            "fetch it with `python -m radio_bnn.data.mirabest`, or execute a copy with --out"
        )


def set_aside(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """Replace the cells that need MiraBest by empty ones that do not run, and return them, {id: cell}."""
    from nbformat.v4 import new_raw_cell

    stored = {cell["id"]: cell for cell in notebook.cells if NEEDS_MIRABEST in tags(cell)}
    notebook.cells = [new_raw_cell(id=cell["id"]) if cell["id"] in stored else cell for cell in notebook.cells]
    return stored


def put_back(notebook: NotebookNode, stored: Mapping[str, NotebookNode]) -> NotebookNode:
    """Put cells that were set aside back in their places, each under a note."""
    from nbformat.v4 import new_markdown_cell

    cells = []
    for cell in notebook.cells:
        if cell["id"] in stored:
            cells += [new_markdown_cell(NOT_EXECUTED, id=f"{cell['id']}-note"[-64:]), stored[cell["id"]]]
        else:
            cells.append(cell)
    notebook.cells = cells
    return notebook


@contextlib.contextmanager
def one_message(path: Path, timeout: float | None) -> Iterator[None]:
    """Turn what can go wrong inside a kernel into one ChapterError."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        yield
    except PapermillExecutionError as error:
        reason = " ".join(str(error.evalue).split())
        raise ChapterError(f"{path}: cell {error.cell_index} failed: {error.ename}: {reason}") from error
    except CellTimeoutError as error:
        raise ChapterError(f"{path}: a cell took longer than {timeout:g} s") from error
    except DeadKernelError as error:
        raise ChapterError(f"{path}: the kernel died: {error}") from error


@contextlib.contextmanager
def kernel_environment() -> Iterator[None]:
    """The environment in which kernels start: this Python, one thread, no progress bars, no download."""
    # A user's own kernel called "python3" would otherwise be preferred to the one of this environment.
    values = KERNEL_ENVIRONMENT | {"JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter")}
    values["RADIO_BNN_OFFLINE"] = os.environ.get("RADIO_BNN_OFFLINE", "1")
    # A kernel works inside the book, where a relative path would mean another place.
    values |= {name: str(place) for name in PLACES if (place := named_place(name))}
    values |= {"RADIO_BNN_CACHE": str(cache_folder()), "MPLCONFIGDIR": matplotlib_folder(cache_folder())}
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name)
        os.environ.update({name: before[name] for name in values if name in before})


@cache
def matplotlib_folder(parent: Path) -> str:
    """A configuration folder of matplotlib for the chapters' kernels, in ``parent``, with its list of fonts.

    It is a temporary one where ``parent`` cannot be written: matplotlib would warn into a chapter, and so it would
    while it lists the fonts. A user's own settings do not change the figures.
    """
    folder = parent / "matplotlib"
    try:
        check_writable(folder, of="")
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="radio_bnn-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if not any(folder.glob("fontlist-*.json")):
        ask = [sys.executable, "-c", "import matplotlib.font_manager"]
        subprocess.run(ask, env=os.environ | {"MPLCONFIGDIR": str(folder)}, capture_output=True, check=False)
    return str(folder)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Drop time stamps, random ids and machine metadata."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["language_info"] = {"name": "python"}
    hidden: list[str] = []
    for cell in notebook.cells:
        for key in VOLATILE:
            cell.metadata.pop(key, None)
        if "parameters" in tags(cell):
            hidden = [tag for tag in tags(cell) if tag != "parameters"]
        if "injected-parameters" in tags(cell):  # papermill gives it a random id and none of the tags of the original
            cell["id"], cell.metadata["tags"] = "injected-parameters", ["injected-parameters", *hidden]
        elif not tags(cell):
            cell.metadata.pop("tags", None)
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    """Replace a notebook in one step."""
    import nbformat

    with replacing(path) as partial:
        nbformat.write(notebook, partial)


def copy_book(book: Path, out: Path) -> Path:
    """Copy a book without its build; links become files. An existing folder must be empty or an earlier copy."""
    if out.resolve().is_relative_to(book.resolve()):
        raise ChapterError(f"{out} lies in {book}: name a folder outside the book")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "_toc.yml").is_file())):
        raise ChapterError(f"{out} exists and is not an earlier copy of the book: name a new or an empty folder")
    check_writable(out, of="name another folder for the copy of the book")
    try:
        shutil.copytree(book, out, ignore=NOT_COPIED, dirs_exist_ok=True)
    except shutil.Error as problem:  # a list of all files, each with its reason
        reasons = [str(reason) for _, _, reason in problem.args[0]]
        raise OSError(f"{out} cannot hold the book: {reasons[0]}; {len(reasons)} files were not copied") from problem
    return out


def write_times(out: Path, parameters: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]) -> None:
    """Write the tables of the page "Execution times" into a copy of the book."""
    from radio_bnn import __version__

    def table(name: str, rows: list[tuple[str, ...]]) -> None:
        with (out / "_generated" / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    def shown(name: str) -> str:
        return "; ".join(f"{key}={value}" for key, value in parameters[name].items()) or "defaults"

    (out / "_generated").mkdir(exist_ok=True)
    times = [(name.replace("_", " "), shown(name), f"{value:.0f}") for name, value in seconds.items()]
    table("execution.csv", [("Chapter", "Parameters", "Seconds"), *times])
    machine = [
        ("processor", f"{platform.machine()}, {os.cpu_count()} cores"),
        ("system", platform.system()),
        ("Python", platform.python_version()),
        ("PyTorch", version("torch")),
        ("radio_bnn", __version__),
    ]
    table("machine.csv", [("What", "Value"), *machine])
