"""The strict chapter runner: refusals leave every file alone, a repeated run writes the same bytes."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from radio_bnn import files
from radio_bnn.cli import main
from radio_bnn.paper import chapters
from radio_bnn.paper.chapters import ChapterError, chapters_of, check, fit, kernel_environment, read_parameters, run_all

PARAMETERS = (
    'seed: int = 3  # of the draws\nscale: float = 0.5\nname: str = "a"\nquick: bool = True\ngrid: list[float] = [1.0]'
)


def notebook(body: str) -> nbformat.NotebookNode:
    cells = [
        new_markdown_cell("# A chapter", id="title"),
        new_code_cell(PARAMETERS, id="parameters", metadata={"tags": ["parameters", "hide-input"]}),
        new_code_cell(body, id="body"),
    ]
    return new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "mine", "language": "python"}}
    )


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A book of three chapters: one that works, one that fails, one that was never meant to take long."""
    folder = tmp_path / "book"
    folder.mkdir()
    (folder / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    bodies = {"good": "print(seed, scale, name, quick, grid)", "bad": "assert seed < 0, 'seed is not\\nnegative'"}
    for name, body in bodies.items():
        nbformat.write(notebook(body), folder / f"{name}.ipynb")
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def printed(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells if cell.cell_type == "code" for output in cell.outputs)


def table(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


@pytest.mark.parametrize(
    "value, annotation, expected",
    [
        (3, "int", 3),
        (1, "float", 1.0),
        (0.5, "float", 0.5),
        (True, "bool", True),
        ([1, 2.5], "list[float]", [1.0, 2.5]),
    ],
)
def test_values_of_the_right_type_pass(value, annotation, expected):
    fitted = fit("x", value, annotation)
    assert fitted == expected
    assert type(fitted) is type(expected)


@pytest.mark.parametrize(
    "value, annotation, says",
    [
        ("3", "int", "x must be int, got '3'"),
        (2.5, "int", "x must be int, got 2.5"),
        (True, "int", "x must be int, got True"),
        (1, "bool", "x must be bool, got 1"),
        ("1e-2", "float", "write 0.01"),
        ("much", "float", "x must be float, got 'much'"),
        ([1.0, "a"], "list[float]", r"x\[1\] must be float, got 'a'"),
        (1, "Path", "has the annotation 'Path'"),
    ],
)
def test_values_of_the_wrong_type_are_named(value, annotation, says):
    with pytest.raises(ChapterError, match=says):
        fit("x", value, annotation)


def test_a_run_twice_writes_the_same_bytes_and_defaults_forget_earlier_values(book):
    path, other = book / "good.ipynb", {"good": {"seed": 4, "scale": 2}}
    run_all(["good"], other, book=book)
    first = path.read_bytes()
    assert printed(path) == "4 2.0 a True [1.0]\n"
    run_all(["good"], other, book=book)
    assert path.read_bytes() == first
    run_all(["good"], book=book)
    assert printed(path) == "3 0.5 a True [1.0]\n"


def test_injected_values_are_hidden_like_the_defaults(book):
    run_all(["good"], {"good": {"seed": 4}}, book=book)
    cells = nbformat.read(book / "good.ipynb", as_version=4).cells
    assert [c.metadata.get("tags") for c in cells if c.cell_type == "code"] == [
        ["parameters", "hide-input"],
        ["injected-parameters", "hide-input"],
        None,
    ]


@pytest.mark.parametrize(
    "names, parameters, says",
    [
        (["good", "nosuch"], {}, "no such chapter: nosuch"),
        (["good"], {"nosuch": {}}, "no such chapter in the parameters: nosuch"),
        (["good"], {"good": {"sede": 3}}, "no such parameter of good.ipynb: sede"),
        (["good"], {"good": {"seed": "three"}}, "good.ipynb: seed must be int, got 'three'"),
        (["good", "bad"], {}, "cell 2 failed: AssertionError: seed is not negative"),
    ],
)
def test_a_refusal_is_one_line_and_changes_no_chapter(book, tmp_path, capfd, monkeypatch, names, parameters, says):
    before = bytes_of(book)
    file = tmp_path / "params.yml"
    file.write_text(json.dumps(parameters))
    assert main(["chapters", *names, "--book", str(book), "-f", str(file)]) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("radio-bnn: error:")]
    assert len(lines) == 1
    assert says in lines[0]
    assert bytes_of(book) == before


def test_a_scratch_copy_takes_the_outputs_and_the_times(book, tmp_path):
    before = bytes_of(book)
    out = tmp_path / "copy"
    run_all(["good"], {"good": {"name": "b"}}, book=book, out=out)
    assert bytes_of(book) == before
    assert printed(out / "good.ipynb") == "3 0.5 b True [1.0]\n"
    rows = table(out / "_generated" / "execution.csv")
    assert [row[:2] for row in rows] == [["Chapter", "Parameters"], ["good", "name=b"]]
    assert ["Python", ".".join(map(str, sys.version_info[:3]))] in table(out / "_generated" / "machine.csv")


def test_figures_are_vectors_and_the_same_in_every_run(book):
    drawn = (
        "from radio_bnn.paper import figures\nimport matplotlib.pyplot as plt\nfigures.use_style()\nplt.plot([1, 2])"
    )
    nbformat.write(notebook(f"{drawn};"), book / "good.ipynb")
    runs = []
    for _ in range(2):
        run_all(["good"], book=book)
        cells = nbformat.read(book / "good.ipynb", as_version=4).cells
        runs.append([o.data for o in cells[-1].outputs if "data" in o])
    assert [set(data) for data in runs[0]] == [{"image/svg+xml", "text/plain"}]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("out", [None, "copy"])
def test_the_scoreboard_is_written_where_the_chapters_ran(book, tmp_path, out):
    judged = "from radio_bnn.paper import claims\nclaims.judge('C3', None).say()"
    nbformat.write(notebook(judged), book / "good.ipynb")
    run_all(["good"], book=book, out=out and tmp_path / out)
    written = {where.parent.parent.name for where in tmp_path.rglob("scoreboard.md")}
    assert written == {out or "book"}
    assert "[C3, good](#claim-c3)" in (tmp_path / (out or "book") / "_generated" / "scoreboard.md").read_text()


@pytest.mark.parametrize("where", ["book/inside", "full"])
def test_a_scratch_copy_never_overwrites_anything_else(book, tmp_path, where):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    before = bytes_of(tmp_path)
    with pytest.raises(ChapterError, match="name a"):
        run_all(["good"], book=book, out=tmp_path / where)
    assert bytes_of(tmp_path) == before


def test_without_mirabest_a_copy_keeps_the_stored_output_and_in_place_is_refused(book, tmp_path, monkeypatch):
    monkeypatch.delenv("RADIO_BNN_DATA", raising=False)
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path))
    path = book / "good.ipynb"
    chapter = notebook("print(seed)")
    stored = new_output("stream", name="stdout", text="from real pixels\n")
    real = new_code_cell("raise SystemError", id="real", execution_count=9, metadata={"tags": ["needs-mirabest"]})
    real.outputs = [stored]
    chapter.cells.insert(2, real)
    nbformat.write(chapter, path)
    before = bytes_of(book)
    with pytest.raises(ChapterError, match="cells that need MiraBest"):
        run_all(["good"], book=book)
    assert bytes_of(book) == before
    run_all(["good"], {"good": {"seed": 5}}, book=book, out=tmp_path / "copy")
    assert printed(tmp_path / "copy" / "good.ipynb") == "from real pixels\n5\n"
    cells = nbformat.read(tmp_path / "copy" / "good.ipynb", as_version=4).cells
    assert [cell["id"] for cell in cells] == ["title", "parameters", "injected-parameters", "real-note", "real", "body"]


def test_chapters_come_in_reading_order_and_what_is_not_listed_last(book):
    nbformat.write(notebook(""), book / "appendix.ipynb")
    (book / "_toc.yml").write_text("root: index\nchapters: [{file: good}, {file: page}, {file: bad}]\n")
    assert list(chapters_of(book)) == ["good", "bad", "appendix"]


def test_a_folder_that_is_no_book_is_refused(tmp_path):
    with pytest.raises(ChapterError, match="is not a book"):
        run_all(book=tmp_path)
    (tmp_path / "_toc.yml").touch()
    with pytest.raises(ChapterError, match="has no chapters"):
        run_all(book=tmp_path)


def test_a_chapter_without_parameters_is_refused(tmp_path):
    path = tmp_path / "plain.ipynb"
    nbformat.write(
        new_notebook(
            cells=[new_code_cell("1")],
            metadata={"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}},
        ),
        path,
    )
    with pytest.raises(ChapterError, match="no readable cell tagged 'parameters'"):
        check(path, {})


@pytest.mark.parametrize("text", ["good: 3", "- good", "good: {seed: ["])
def test_a_parameters_file_of_another_form_is_refused(tmp_path, text):
    file = tmp_path / "params.yml"
    file.write_text(text)
    with pytest.raises(ChapterError, match="params.yml"):
        read_parameters(file)


HOSTILE = {
    "bomb": "a: &a [x, x, x]\nb: &b [*a, *a, *a]\ngood: {grid: *b}",
    "deep": "good: {grid: " + "[" * 5000,
    "tag": "good: {seed: !!python/object/apply:os.system [touch never]}",
    "own tag": "good: {seed: !!int '3'}",
    "date": "good: {seed: 2024-13-99}",
    "twice": "good: {seed: 1, scale: 2.0, seed: 2}",
    "chapter twice": "good: {seed: 1}\ngood: {scale: 2.0}",
    "long": "good: {name: '" + "x" * 200_000 + "'}",
    "digits": "good: {seed: " + "9" * 5000 + "}",
    "list": "- good",
    "nothing": "0",
    "binary": "\x00\x01",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_parameters_file_is_refused_in_one_short_line(book, tmp_path, capfd, text):
    file, before = tmp_path / "params.yml", bytes_of(book)
    file.write_text(text)
    assert main(["chapters", "good", "--book", str(book), "--out", str(tmp_path / "out"), "-f", str(file)]) == 1
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("radio-bnn: error:") and "params.yml" in line and len(line) < 400
    assert bytes_of(book) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "value, annotation, says",
    [
        (10**400, "int", "must be a whole number of at most 64 bits, got 1000"),
        (10**400, "float", "must be a whole number of at most 64 bits"),
        (float("nan"), "float", "must be finite, got nan"),
        ([1.0, float("-inf")], "list[float]", r"x\[1\] must be finite, got -inf"),
        ("a\0b", "str", "without NUL"),
        ("\ud800", "str", "whole characters"),
        ({"a": [object()]}, "dict", "x\\['a'\\]\\[0\\] must be a number, a text, a list or a mapping"),
        (["x" * 10**6], "int", "must be int, got \\['xxx.{,200}$"),
    ],
)
def test_values_that_no_cell_can_be_given_are_named_in_short(value, annotation, says):
    with pytest.raises(ChapterError, match=says):
        fit("x", value, annotation)


@pytest.mark.parametrize("timeout", ["nan", "inf", "-inf", "0.5", "-1", "0", "1e9", "1.5"])
def test_a_limit_that_is_no_limit_is_refused_before_anything_runs(book, tmp_path, capfd, timeout):
    out = tmp_path / "out"
    assert main(["chapters", "good", "--book", str(book), "--out", str(out), f"--timeout={timeout}"]) == 1
    [line] = capfd.readouterr().err.splitlines()
    assert "must be whole seconds from 1 to 604800, or left out" in line and not out.exists()


@pytest.mark.parametrize(
    "content",
    [b"{}", b"[]", b"null", b"", b"\x80\x04\xff", b"[" * 5000, 
     b'{"nbformat": 3, "nbformat_minor": 0, "worksheets": []}',
     b'{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": []}', b'{"nbformat": ' + b"9" * 5000 + b"}",
     b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}'],
)  # fmt: skip
@pytest.mark.parametrize("command", ["chapters", "scoreboard"])
def test_what_is_no_notebook_is_refused_in_one_line(book, capfd, command, content):
    (book / "other.ipynb").write_bytes(content)
    before = bytes_of(book)
    assert main([command, *["good"] * (command == "chapters"), "--book", str(book)]) == 1
    [line] = capfd.readouterr().err.splitlines()
    assert "other.ipynb is not a notebook that can be used" in line and len(line) < 500
    assert bytes_of(book) == before


def test_names_that_are_nearly_right_are_offered(book, tmp_path, capsys):
    with pytest.raises(ChapterError, match="no such chapter: goood .*did you mean 'good'"):
        run_all(["goood"], book=book)
    with pytest.raises(ChapterError, match="no such chapter in the parameters: godo .*did you mean 'good'"):
        run_all(["good"], {"godo": {}}, book=book)
    with pytest.raises(ChapterError, match="no such parameter of good.ipynb: sede .*did you mean 'seed'"):
        run_all(["good"], {"good": {"sede": 3}}, book=book)
    assert main(["sweep", "prior", "--list"]) == 1
    assert "queue='prior' is not known: choose one of book, " in (said := capsys.readouterr().err)
    assert "did you mean 'priors'" in said


def test_a_slow_cell_ends_with_one_message(book):
    path = book / "good.ipynb"
    nbformat.write(notebook("import threading; threading.Event().wait()"), path)
    before = bytes_of(book)
    with pytest.raises(ChapterError, match="a cell took longer than 1 s"):
        run_all(["good"], book=book, timeout=1)
    assert bytes_of(book) == before


def test_the_kernel_is_this_python_whatever_kernels_the_user_has(book, tmp_path, monkeypatch):
    mine = tmp_path / "jupyter" / "kernels" / "python3"
    mine.mkdir(parents=True)
    (mine / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "mine", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    path = book / "good.ipynb"
    nbformat.write(notebook("import os, sys\nprint(sys.executable, os.getcwd(), os.environ['OMP_NUM_THREADS'])"), path)
    run_all(["good"], book=book)
    assert printed(path).split() == [sys.executable, str(book.resolve()), "1"]


def test_the_kernel_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("RADIO_BNN_DATA", "data")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    before = dict(os.environ)
    with kernel_environment():
        assert os.environ["RADIO_BNN_DATA"] == str(Path.cwd() / "data")
        assert os.environ["TQDM_DISABLE"] == "1"
    assert dict(os.environ) == before


def test_places_mean_the_same_to_a_kernel_that_works_inside_the_book(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chapters, "matplotlib_folder", lambda parent: str(parent / "matplotlib"))
    monkeypatch.setenv("RADIO_BNN_RESULTS", "results")
    monkeypatch.setenv("RADIO_BNN_DATA", "~/data")
    for variable, named in {"RADIO_BNN_CACHE": "cache", "XDG_CACHE_HOME": "xdg"}.items():
        monkeypatch.delenv("RADIO_BNN_CACHE", raising=False)
        monkeypatch.setenv(variable, named)
        with kernel_environment():
            assert os.environ["RADIO_BNN_RESULTS"] == str(tmp_path / "results")
            assert os.environ["RADIO_BNN_DATA"] == str(tmp_path / "home" / "data")
            assert Path(os.environ["RADIO_BNN_CACHE"]).is_absolute()
            assert Path(os.environ["MPLCONFIGDIR"]).is_relative_to(os.environ["RADIO_BNN_CACHE"])
    monkeypatch.setenv("RADIO_BNN_RESULTS", "~nosuchuser/results")
    with pytest.raises(ValueError, match="RADIO_BNN_RESULTS=~nosuchuser/results: there is no such home"):
        kernel_environment().__enter__()


def test_matplotlib_says_nothing_about_a_cache_that_cannot_be_written(book, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file" / "config"))
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setenv("RADIO_BNN_CACHE", str(tmp_path / "file" / "cache"))
    drawn = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint(plt.matplotlib.get_cachedir())"
    nbformat.write(notebook(drawn), book / "good.ipynb")
    run_all(["good"], book=book)
    cells = nbformat.read(book / "good.ipynb", as_version=4).cells
    assert [o.get("name", o.output_type) for o in cells[-1].outputs] == ["stdout", "display_data"]
    assert list(Path(printed(book / "good.ipynb").strip()).glob("fontlist-*.json")), "listed before the kernel starts"


def test_a_copy_that_lacks_files_is_one_line(book, tmp_path):
    names = ("a.md", "b.md", "c.md")
    for name in names:
        (book / name).symlink_to("nowhere")
    says = r"copy cannot hold the book: .*No such file.*; 3 files were not copied$"
    with pytest.raises(OSError, match=says) as found:
        run_all(["good"], book=book, out=tmp_path / "copy")
    assert sum(name in str(found.value) for name in names) == 1
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/copy cannot be written \(Not a directory\): name another folder"):
        run_all(["good"], book=book, out=tmp_path / "file" / "copy")


def test_what_a_killed_runner_left_half_written_is_removed(book):
    left = book / f"good.ipynb.{files.HOST}.{2**22 + 1}.{'0' * 16}.partial"
    left.write_text("{")
    run_all(["good"], book=book)
    assert not left.exists()


def test_help_is_found_and_usage_errors_exit_with_2(capsys):
    for arguments, status in ((["--help"], 0), (["chapters", "--help"], 0), ([], 2), (["nosuch"], 2)):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == status
    assert "chapters" in capsys.readouterr().out
