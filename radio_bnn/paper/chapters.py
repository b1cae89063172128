"""Execute the book's chapters with papermill: strict about names and types, byte-stable on disk, all or nothing.

papermill alone only logs an unknown parameter, does not check types, keeps the injected cell of an earlier run and
stamps every cell with the time; a chapter executed in place with it changes at every run.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import json
import math
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
from radio_bnn.messages import meant, said, shown

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
LARGEST_FILE = 100_000  # bytes of parameters
DEEPEST = 20  # lists and mappings within each other
LONGEST_WAIT = 7 * 24 * 3600  # seconds
WHOLE = range(-(2**63), 2**63)  # the whole numbers that arrays hold
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
    cell, in whole seconds. Names and values are checked before anything runs, and no chapter changes unless all of them
    ran. With ``out`` the chapters are executed in a copy of the book in that folder, where ``_generated/`` then holds
    their times and the machine's description; there, cells that need MiraBest keep their stored output under a note
    where it is absent. The scoreboard is written anew in either case.
    Raises ChapterError for an unknown name, a wrong type, a file that is no notebook, a failing or slow cell, and
    without ``out`` for a cell that needs MiraBest where it is absent.
    """
    from radio_bnn.paper import scoreboard

    timeout, book, known = checked_timeout(timeout), Path(book), chapters_of(Path(book))
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
    for path in known.values():  # the scoreboard is made of all of them
        opened(path)
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


def opened(path: Path) -> NotebookNode:
    """The notebook in a file. Raises ChapterError for anything but a valid one of format 4.5."""
    import nbformat

    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(f"expected an object with cells, got {shown(content)}")
        version = content.get("nbformat"), content.get("nbformat_minor")
        if version[0] != 4 or not isinstance(version[1], int) or version[1] < 5:
            raise ValueError(f"its nbformat is {shown(version)}, expected 4 and at least 5")
        nbformat.validate(content)
        return nbformat.reads(text, as_version=4)
    except OSError:
        raise
    except Exception as error:  # whatever a damaged or foreign file provokes
        cure = "take it from the repository again, or convert it with `jupyter nbconvert --to notebook`"
        raise ChapterError(f"{path} is not a notebook that can be used: {said(error)}; {cure}") from error


def checked_timeout(seconds: float | None) -> int | None:
    """The limit of a cell in whole seconds, None for no limit."""
    if seconds is None:
        return None
    if not 1 <= seconds <= LONGEST_WAIT or seconds != int(seconds):
        raise ChapterError(f"timeout={shown(seconds)} must be whole seconds from 1 to {LONGEST_WAIT}, or left out")
    return int(seconds)


def read_parameters(path: str | Path) -> dict[str, dict[str, Any]]:
    """Parameters per chapter, {chapter: {name: value}}, from a YAML file with one mapping per chapter.

    The file is small and plain: no key twice, no anchors, no tags. Raises ChapterError for any other.
    """
    with open(path, "rb") as file:
        raw = file.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise ChapterError(f"{path} is longer than {LARGEST_FILE} bytes: parameters are a few lines")
    try:
        content = _plain_yaml(raw.decode("utf-8"))
    except Exception as error:  # whatever a damaged or hostile file provokes: not all of it is a YAMLError
        raise ChapterError(f"{path} is not YAML that can be used: {said(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise ChapterError(
            f"{path}: expected one mapping per chapter, such as `priors: {{seed: 3}}`, got {shown(content)}"
        )
    return content


def _plain_yaml(text: str) -> Any:
    """The content of YAML without anchors, tags and keys that occur twice; each is a ValueError with its line."""
    import yaml

    def checked(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := next((key for key, _ in node.value if keys.count((key.tag, key.value)) > 1), None):
                raise ValueError(f"{twice.value!r} occurs twice{_line(twice)}")
            for pair in node.value:
                for part in pair:
                    checked(part)
        elif isinstance(node, yaml.SequenceNode):
            for part in node.value:
                checked(part)

    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"it nests deeper than {DEEPEST} levels{_line(event)}")
        if getattr(event, "anchor", None):
            raise ValueError(f"anchors are not used here{_line(event)}: write the value twice")
        if getattr(event, "tag", None):
            raise ValueError(f"the tag {event.tag!r} is not used here{_line(event)}")
    if (node := yaml.compose(text, yaml.SafeLoader)) is not None:
        checked(node)
    return yaml.safe_load(text)


def _line(part: Any) -> str:
    return f" (line {part.start_mark.line + 1})"


def check(path: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the chapter will see them: known names only, whole numbers made float where it says float."""
    import papermill

    if not path.is_file():
        raise ChapterError(f"{path}: no such chapter")
    opened(path)
    try:
        found = papermill.inspect_notebook(str(path))
    except Exception as error:  # a notebook without a kernel, a folder whose name papermill takes for a template
        raise ChapterError(f"{path}: its parameters cannot be read: {said(error)}") from error
    types = {name: parameter["inferred_type_name"] for name, parameter in found.items()}
    if not types:
        raise ChapterError(f"{path}: no readable cell tagged 'parameters'")
    refuse_unknown(parameters, types, f"parameter of {path.name}")
    return {name: fit(f"{path.name}: {name}", value, types[name]) for name, value in parameters.items()}


def fit(what: str, value: Any, annotation: str) -> Any:
    """The value if it has the annotated type (``int``, ``float``, ``list[float]``, ...), else a ChapterError.

    Numbers are finite and of at most 64 bits, texts are without NUL; so is whatever a list or a dict holds.
    """
    outer, _, inner = annotation.replace(" ", "").partition("[")
    if outer not in TYPES:
        raise ChapterError(
            f"{what} has the annotation {shown(annotation)} in the chapter: use one of {', '.join(TYPES)}"
        )
    if not isinstance(value, TYPES[outer]) or (isinstance(value, bool) and outer != "bool"):
        hint = " (YAML takes 1e-2 for a text: write 0.01 or 1.0e-2)" if outer == "float" and is_number(value) else ""
        raise ChapterError(f"{what} must be {annotation}, got {shown(value)}{hint}")
    if outer == "list" and inner:
        return [fit(f"{what}[{i}]", item, inner[:-1]) for i, item in enumerate(value)]
    refuse_strange(what, value)
    return float(value) if outer == "float" else value


def refuse_strange(what: str, value: Any) -> None:
    """Raise ChapterError for a value that a cell cannot be given: a date, a number without end, half a character."""
    if isinstance(value, dict):
        for key, item in value.items():
            refuse_strange(f"{what}: a key", key)
            refuse_strange(f"{what}[{shown(key)}]", item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            refuse_strange(f"{what}[{i}]", item)
    elif isinstance(value, int) and value not in WHOLE:
        raise ChapterError(f"{what} must be a whole number of at most 64 bits, got {shown(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ChapterError(f"{what} must be finite, got {value}")
    elif isinstance(value, str) and ("\0" in value or value != value.encode(errors="ignore").decode()):
        raise ChapterError(f"{what} must be a text of whole characters without NUL, got {shown(value)}")
    elif not isinstance(value, int | float | str | None):
        raise ChapterError(f"{what} must be a number, a text, a list or a mapping, got {shown(value)}")


def is_number(value: Any) -> bool:
    """Whether a text reads as a number."""
    with contextlib.suppress(ValueError, TypeError):
        return isinstance(value, str) and float(value) is not None
    return False


def refuse_unknown(names: Sequence[str] | Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    """Raise ChapterError if a name is not among the known ones."""
    if unknown := sorted(map(str, set(names) - set(known))):
        listed = ", ".join(shown(name)[1:-1] for name in unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        hint = meant(unknown[0], known)
        raise ChapterError(f"no such {what}: {listed} (there are: {', '.join(sorted(known)) or 'none'}){hint}")


def execute(path: Path, parameters: Mapping[str, Any], *, timeout: float | None = None) -> NotebookNode:
    """The executed chapter, without anything that differs from run to run; the file is not touched."""
    import papermill

    source = opened(path)
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
    if any(NEEDS_MIRABEST in tags(cell) for cell in opened(path).cells) and mirabest_is_absent():
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
