"""What the committed chapters must be: executed, thin, described, with every number an output of the code."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pybtex import database as bibtex
from scenarios import evidence
from sphinx.errors import ExtensionError

from radio_bnn.paper import claims, scoreboard
from radio_bnn.paper.chapters import TYPES, check, read_parameters
from radio_bnn.paper.evidence import evidence as evidence_of

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
CHAPTERS = sorted(BOOK.glob("*.ipynb"))
PROFILES = sorted((BOOK / "params").glob("*.yml"))
AUTOMODULE = re.compile(r"^\.\. automodule:: (\S+)$", re.MULTILINE)
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
LONGEST_CELL = 12
MEDIAN_CELL = 3
LARGEST_SHARE_UNCOMPARED = 0.1
LONGEST_LINE = 79  # what a code cell shows at 1400 px without running out of its box
MOST_WORDS = 1800
FEWEST_EXERCISES = 2

# Numbers that are not results, so that prose may type them: identifiers, versions, fixed properties of survey and sky,
# the level of an interval.
NOT_RESULTS = re.compile(
    r"""10\.\d{4,}/\S+ | arXiv:\d+\.\d+
    | (?:Python|PyTorch|numpy|version|CC-BY-|BY)[\s-]?\d+(?:\.\d+)*
    | \d+\s?%\s(?:\w+\s)?intervals?
    | \d+(?:\.\d+)?\s?(?:["″”]|arcsec|arcmin|degrees|°|[MG]Hz|cm\b|[kM]pc\b|mJy)""",
    re.VERBOSE | re.IGNORECASE,
)
RESULT = re.compile(r"\d+\.\d+ | \d+\s?(?:%|percent\b|per\ cent\b|points?\b)", re.VERBOSE)
NO_PROSE = [
    re.compile(
        r"^(`{3,}|~{3,}|:{3,})(?:\{(?:math|code-cell|code-block|code)\}.*|\w*)\n.*?^\1", re.MULTILINE | re.DOTALL
    ),
    re.compile(r"^#+ .*$", re.MULTILINE),
    re.compile(r"^:\w+:.*$", re.MULTILINE),
    re.compile(r"\$\$.*?\$\$", re.DOTALL),
    re.compile(r"\$[^$]+\$"),
    re.compile(r"(?<!`)(`{1,2})(?!`).+?(?<!`)\1(?!`)", re.DOTALL),
    re.compile(r"\]\([^)]*\)|<https?:[^>]*>|https?://\S+"),
]

A_TABLE = re.compile(r"^\|.*\|\n\|[ :|-]+\|$", re.MULTILINE)
NUMREF = re.compile(r"\{numref\}`(?:[^`<]*<)?([\w-]+)>?`")
NEXT = re.compile(r"\*\*Next\*\*.*?\]\(([\w-]+)\.\w+\)", re.DOTALL)
EXERCISE = re.compile(r"^`{3,}\{exercise\}[^\n]*\n(?::\w+:[^\n]*\n)*?:label: (\S+)", re.MULTILINE)
SOLUTION = re.compile(r"^`{3,}\{solution\} (\S+)\n(?::\w+:[^\n]*\n)*?:class: dropdown$", re.MULTILINE)
CITATION = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def parsed(source: str) -> ast.Module:
    """The code of a cell without IPython's magics."""
    return ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()))


def plain(text: str) -> str:
    """What is left of Markdown without code, math, headings, options of directives, targets of links and of roles."""
    for pattern in NO_PROSE:
        text = pattern.sub(" ", text)
    return text


def typed_results(text: str) -> list[str]:
    """Decimal numbers and percentages typed in prose, outside code, math, roles, links and headings."""
    return [match.group().strip() for match in RESULT.finditer(NOT_RESULTS.sub(" ", plain(text)))]


def figure_faults(cell: nbformat.NotebookNode) -> list[str]:
    """A figure is folded code with an alternative text, a caption and a name to refer to."""
    kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
    if any(kind.startswith("application/papermill.record/image") for kind in kinds):
        return ["glues a figure: describe it in the cell's metadata (mystnb.image.alt, mystnb.figure) instead"]
    if not any(kind.startswith("image/") for kind in kinds):
        return []
    described = cell.metadata.get("mystnb", {})
    image, figure = described.get("image", {}), described.get("figure", {})
    faults = [] if "hide-input" in tags(cell) else ["draws a figure without the tag hide-input"]
    faults += [] if image.get("alt", "").strip() else ["draws a figure without mystnb.image.alt"]
    faults += [
        f"draws a figure without mystnb.figure.{k}" for k in ("caption", "name") if not figure.get(k, "").strip()
    ]
    return faults + [f"has {number!r} typed in a caption" for number in typed_results(figure.get("caption", ""))]


def syntax_faults(source: str) -> list[str]:
    """Chapters use the package's words: no definitions, and no loops of training or sampling."""
    faults = ["ends with `;`, which nbval does not honour: assign the value"] if source.rstrip().endswith(";") else []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            faults.append(f"defines {node.name}")
        elif isinstance(node, ast.While):
            faults.append("has a while loop")
        elif isinstance(node, ast.For) and re.search(r"range|epoch|draw|step|batch", ast.unparse(node).split(":\n")[0]):
            faults.append(f"loops over {ast.unparse(node.iter)}")
        elif isinstance(node, ast.Name) and node.id == "glue":
            faults.append("glues by hand: say it, `say(name=value)`")
    return faults


def parameter_faults(cells: list[nbformat.NotebookNode]) -> list[str]:
    """One cell of parameters, each an annotated constant or list."""
    marked = [cell for cell in cells if "parameters" in tags(cell)]
    if len(marked) != 1:
        return [f"has {len(marked)} cells tagged parameters, expected one"]
    return [
        f"parameter line {ast.unparse(node)!r} is not `name: type = value` with a type of {', '.join(TYPES)}"
        for node in parsed(marked[0].source).body
        if not (
            isinstance(node, ast.AnnAssign)
            and ast.unparse(node.annotation).partition("[")[0] in TYPES
            and isinstance(node.value, ast.Constant | ast.List | ast.Dict | ast.UnaryOp)
        )
    ]


def run_faults(cell: nbformat.NotebookNode) -> list[str]:
    """Every cell was run, without an error, a warning or a path of the machine in its outputs."""
    if "nbval-skip" in tags(cell):
        return ["is tagged nbval-skip: nbval would compare nothing"]
    faults = [] if cell.execution_count is not None else ["was never run: nbval would compare nothing"]
    faults += ["has an error"] if any(output.output_type == "error" for output in cell.outputs) else []
    faults += ["has output on stderr"] if any(output.get("name") == "stderr" for output in cell.outputs) else []
    shown = [text for o in cell.outputs for text in (o.get("text", ""), o.get("data", {}).get("text/plain", ""))]
    return faults + [
        "shows a path of one machine" for text in shown if re.search(r"(^|\W)/(home|root|Users|tmp)/\w", text)
    ]


def dependence_faults(cells: list[nbformat.NotebookNode]) -> list[str]:
    """No cell that always runs uses a name that only a cell tagged needs-mirabest makes."""
    optional, faults = set(), []
    for number, cell in enumerate(cells):
        names = [node for node in ast.walk(parsed(cell.source)) if isinstance(node, ast.Name)]
        made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        if "needs-mirabest" in tags(cell):
            optional |= made
            continue
        used = {node.id for node in names if isinstance(node.ctx, ast.Load)} - made
        faults += [
            f"code cell {number} needs {name}, made where MiraBest is needed" for name in sorted(used & optional)
        ]
        optional -= made
    return faults


def claim_faults(cell: nbformat.NotebookNode) -> list[str]:
    """A claim cell is tagged, and shows one verdict."""
    if "claims.judge(" in cell.source and "claim" not in tags(cell):
        return ["judges a claim again: print what its claim cell said, {glue:text}`c6_verdict`"]
    records = [output.data[claims.MIME] for output in cell.outputs if claims.MIME in output.get("data", {})]
    if ("claim" in tags(cell)) != (len(records) == 1):
        return [f"shows {len(records)} verdicts and is tagged {tags(cell)}: tag exactly the cells that judge a claim"]
    return []


def chapter_faults(notebook: nbformat.NotebookNode) -> list[str]:
    """Everything that keeps a notebook from being a chapter, in words."""
    cells = code_cells(notebook)
    faults = parameter_faults(cells) + dependence_faults(cells)
    for number, cell in enumerate(cells):
        found = syntax_faults(cell.source) + figure_faults(cell) + run_faults(cell) + claim_faults(cell)
        if (lines := len(cell.source.splitlines())) > LONGEST_CELL:
            found.append(f"has {lines} lines, at most {LONGEST_CELL} are a thin cell")
        faults += [f"code cell {number} {fault}" for fault in found]
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in cells]
    if lengths and (median := statistics.median(lengths)) > MEDIAN_CELL:
        faults.append(f"the median code cell has {median} lines, at most {MEDIAN_CELL} are thin")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            faults += [
                f"{number!r} is typed in prose, glue it: {cell.source[:60]!r}" for number in typed_results(cell.source)
            ]
            faults += ["has the role glue:md: say a text and print it with glue:text"] * ("{glue:md}" in cell.source)
    return faults


def table_faults(cell: nbformat.NotebookNode) -> list[str]:
    """A table has a caption, and a name that tells it from a figure."""
    shown = [output.get("data", {}) for output in cell.outputs]
    tables = sum(len(A_TABLE.findall(data.get("text/markdown", ""))) for data in shown)
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    name, caption = figure.get("name", ""), figure.get("caption", "")
    faults = [f"shows {tables} tables: one cell shows one"] * (tables > 1)
    if tables:
        faults += [] if name.startswith("tab-") else ["shows a table without mystnb.figure.name, as in tab-scores"]
        faults += [] if caption.strip() else ["shows a table without mystnb.figure.caption"]
        faults += [f"has {number!r} typed in a caption" for number in typed_results(caption)]
    elif name.startswith("tab-"):
        faults += [f"is called {name} and shows no table"]
    return faults


def layout_faults(cell: nbformat.NotebookNode) -> list[str]:
    """No line of code runs out of its box, and nothing can be unfolded that shows nothing."""
    longest = max(len(line) for line in cell.source.splitlines())
    faults = [f"has a line of {longest} characters, at most {LONGEST_LINE} fit"] * (longest > LONGEST_LINE)
    kinds = [kind for output in cell.outputs for kind in output.get("data", {"text": ""})]
    shows = any(not kind.startswith("application/papermill.record/") for kind in kinds)
    return faults + ["shows nothing: remove-cell, not hide-input"] * ("hide-input" in tags(cell) and not shows)


def reading_faults(notebook: nbformat.NotebookNode, following: str) -> list[str]:
    """Everything that a reader of the page would miss, in words; the page leads on to the one ``following`` it."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in code_cells(notebook)]
    unread = {figure["name"] for figure in figures if "name" in figure} - set(NUMREF.findall(text))
    faults = [f"{name} is referred to nowhere: {{numref}}`{name}`" for name in sorted(unread)]
    if (words := sum(any(map(str.isalnum, word)) for word in plain(text).split())) > MOST_WORDS:
        faults.append(f"{words} words of prose, at most {MOST_WORDS} are read")
    if (leads := NEXT.findall(text)[-1:]) != [following]:
        faults.append(f"ends with a link **Next** to {leads}, expected {following}")
    if (solved := len(set(EXERCISE.findall(text)) & set(SOLUTION.findall(text)))) < FEWEST_EXERCISES:
        faults.append(f"has {solved} exercises with a folded solution, expected {FEWEST_EXERCISES} or more")
    for number, cell in enumerate(code_cells(notebook)):
        faults += [f"code cell {number} {fault}" for fault in table_faults(cell) + layout_faults(cell)]
    return faults


def bibliography_faults(bibliography: str, text: str) -> list[str]:
    """Every entry is cited in the text, and has a DOI or another address that leads to it."""
    cited = {key.strip() for keys in CITATION.findall(text) for key in keys.split(",")}
    faults = []
    for key, entry in bibtex.parse_string(bibliography, "bibtex").entries.items():
        faults += [] if key in cited else [f"{key} is cited nowhere"]
        faults += [] if {"doi", "eprint", "url"} & set(entry.fields) else [f"{key} has no doi, eprint or url"]
    return faults


def everything_written() -> str:
    """The text of all pages and chapters, captions included."""
    notebooks = [nbformat.read(path, as_version=4) for path in CHAPTERS]
    cells = [cell for notebook in notebooks for cell in notebook.cells]
    captions = [cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "") for cell in cells]
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return "\n".join([*texts, *captions, *(path.read_text() for path in BOOK.glob("*.md"))])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_is_executed_thin_and_described(path):
    assert chapter_faults(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_owes_its_reader_nothing(path):
    following = PAGES[PAGES.index(path.stem) + 1]
    assert reading_faults(nbformat.read(path, as_version=4), following) == []


def test_every_reference_is_cited_and_leads_somewhere():
    assert bibliography_faults((BOOK / "references.bib").read_text(), everything_written()) == []


@pytest.mark.parametrize("found", scoreboard.collect(BOOK), ids=lambda found: found.claim)
def test_the_verdict_is_what_the_rules_say_to_the_records_of_today(found):
    """To the last bits, which depend on the number of threads."""
    today = claims.judge(found.claim, evidence_of(found.claim))
    again = scoreboard.entry(today._repr_mimebundle_()[claims.MIME], "chapter").verdict
    said, now = (dataclasses.replace(verdict, parts={}) for verdict in (found.verdict, again))
    assert said == now and list(found.verdict.parts) == list(again.parts)
    for name, numbers in found.verdict.parts.items():
        assert numbers == pytest.approx(again.parts[name], rel=1e-9, abs=1e-12), name


def test_nearly_every_output_is_compared():
    cells = [cell for path in CHAPTERS for cell in code_cells(nbformat.read(path, as_version=4))]
    uncompared = [cell for cell in cells if "nbval-ignore-output" in tags(cell)]
    assert len(uncompared) <= LARGEST_SHARE_UNCOMPARED * len(cells)


def test_every_page_of_the_contents_exists():
    missing = [page for page in PAGES if not any((BOOK / f"{page}{suffix}").is_file() for suffix in (".md", ".ipynb"))]
    assert missing == []


def test_every_chapter_is_in_the_contents():
    assert {path.stem for path in CHAPTERS} <= set(PAGES)


def test_the_scoreboard_is_what_the_claim_cells_say():
    index = (BOOK / "index.md").read_text()
    for name, expected in scoreboard.texts(BOOK).items():
        found = BOOK / scoreboard.FILE.parent / name
        assert found.read_text() == expected, f"run `make scoreboard` and commit {name}"
        assert f"{{include}} {found.relative_to(BOOK)}" in index


def test_the_first_page_is_cited_as_the_citation_file_says():
    citation, index = yaml.safe_load((ROOT / "CITATION.cff").read_text()), (BOOK / "index.md").read_text()
    wanted = [citation["title"], *(author["name"] for author in citation["authors"])]
    entry = index.split("```bibtex")[1].split("```")[0]
    assert [word for word in wanted if word not in entry] == []
    assert str(yaml.safe_load((ROOT / "_config.yml").read_text())["copyright"]) in entry


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_profiles_fit_the_chapters(path):
    for chapter, parameters in read_parameters(path).items():
        check(BOOK / f"{chapter}.ipynb", parameters)


def test_the_promised_profiles_exist():
    assert {path.stem for path in PROFILES} >= {"quick", "published", "converged"}


def test_every_module_is_in_the_package_reference_once():
    modules = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "radio_bnn").rglob("*.py")]
    names = {".".join(module.parts).removesuffix(".__init__") for module in modules} - {"radio_bnn"}
    listed = [name for page in BOOK.glob("reference_*.md") for name in AUTOMODULE.findall(page.read_text())]
    assert sorted(listed) == sorted(names)


def test_pages_type_no_results():
    assert {path.name: found for path in BOOK.glob("*.md") if (found := typed_results(path.read_text()))} == {}


TABLE = "| prior | error |\n| :--- | ---: |\n| Laplace | 1 |"
EXERCISES = """```{{exercise}} A question
:label: ex-{0}

Why?
```

```{{solution}} ex-{0}
:class: dropdown

So.
```

"""


def shows(kind: str, value: str, **figure: str) -> nbformat.NotebookNode:
    """A cell that shows one thing, as a figure or a table with this name and caption."""
    described = {"tags": ["hide-input"], "mystnb": {"image": {"alt": "An image"}, "figure": figure}}
    output = new_output("execute_result", data={kind: value, "text/plain": "<object>"}, execution_count=1)
    return new_code_cell("x", execution_count=1, outputs=[output], metadata=described)


def good_chapter() -> nbformat.NotebookNode:
    """The smallest notebook without a fault."""
    figure = new_output("display_data", data={"image/png": "", "text/plain": "<Figure>"})
    described = {"image": {"alt": "Two lines"}, "figure": {"name": "fig-lines", "caption": "Beam of 5.4 arcsec."}}
    return new_notebook(
        cells=[
            new_markdown_cell(
                "# Chapter 1.5\n\nThe error is {glue:text}`error:.2f`, see arXiv:2201.01203 and $T = 0.01$.\n"
                "{numref}`fig-lines` and {numref}`table %s <tab-scores>` show it."
            ),
            new_code_cell(
                "seed: int = 3\ngrid: list[float] = [0.1, 1.0]", execution_count=1, metadata={"tags": ["parameters"]}
            ),
            new_code_cell(
                "figure = figures.lines(seed)",
                execution_count=2,
                outputs=[figure],
                metadata={"tags": ["hide-input"], "mystnb": described},
            ),
            shows("text/markdown", TABLE, name="tab-scores", caption="Scores."),
            new_markdown_cell(EXERCISES.format("one") + EXERCISES.format("two") + "**Next**: [](next.ipynb) goes on."),
        ]
    )


def test_a_good_chapter_has_no_fault():
    assert chapter_faults(good_chapter()) == []
    assert reading_faults(good_chapter(), "next") == []


def spoil_code(source: str, **more):
    return lambda notebook: notebook.cells.append(new_code_cell(source, **{"execution_count": 3} | more))


def spoil_text(source: str):
    return lambda notebook: notebook.cells.append(new_markdown_cell(source))


def without(*keys: str):
    def change(notebook):
        place = notebook.cells[2].metadata
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


VERDICT = new_output(
    "execute_result", data=claims.judge("C3", evidence(NLL=(0.0, 0.01)))._repr_mimebundle_(), execution_count=3
)


@pytest.mark.parametrize(
    "spoil, says",
    [
        (spoil_code("x = 1", execution_count=None), "never run"),
        (spoil_code("x = 1", metadata={"tags": ["nbval-skip"]}), "nbval-skip"),
        (spoil_code("x", outputs=[new_output("stream", name="stderr", text="careful")]), "stderr"),
        (spoil_code("x", outputs=[new_output("stream", name="stdout", text="in /home/me/x")]), "path of one machine"),
        (spoil_code("x", outputs=[new_output("error", ename="E", evalue="", traceback=[])]), "has an error"),
        (spoil_code("\n".join("x = 1" for _ in range(13))), "13 lines"),
        (lambda n: n.cells.extend([new_code_cell("a\nb\nc\nd", execution_count=1)] * 5), "median"),
        (spoil_code("figures.lines(seed);"), "ends with `;`"),
        (spoil_code("def f(): pass"), "defines f"),
        (spoil_code("glue('error', 3, display=False)"), "glues by hand"),
        (spoil_code("why = claims.judge('C3', c3).why"), "judges a claim again"),
        (spoil_text("It is {glue:md}`error`."), "role glue:md"),
        (spoil_code("class A: pass"), "defines A"),
        (spoil_code("while x: pass"), "while loop"),
        (spoil_code("for i in range(9): step(i)"), "loops over range(9)"),
        (spoil_code("for epoch in epochs: fit(epoch)"), "loops over epochs"),
        (spoil_code("a: int = 1", metadata={"tags": ["parameters"]}), "2 cells tagged parameters"),
        (lambda n: n.cells[1].update(source="seed = 3"), "is not `name: type = value`"),
        (without("mystnb", "image"), "image.alt"),
        (without("mystnb", "figure"), "figure.caption"),
        (without("tags"), "hide-input"),
        (spoil_code("judge()", outputs=[VERDICT]), "shows 1 verdicts"),
        (spoil_code("judge()", metadata={"tags": ["claim"]}), "shows 0 verdicts"),
        (spoil_text("The error is 9.6 on the test set."), "'9.6' is typed"),
        (spoil_text("It is wrong for 12 % of them."), "'12 %' is typed"),
        (spoil_text("```{note}\nAbout 3.2 of them.\n```"), "'3.2' is typed"),
        (lambda n: n.cells[2].metadata.mystnb.figure.update(caption="Error 0.096"), "'0.096' typed in a caption"),
        (spoil_code("real = 1", metadata={"tags": ["needs-mirabest"]}), None),
    ],
)
def test_each_fault_is_found(spoil, says):
    notebook = good_chapter()
    spoil(notebook)
    if says is None:
        assert chapter_faults(notebook) == []
        spoil_code("print(real)")(notebook)
        says = "needs real"
    assert any(says in fault for fault in chapter_faults(notebook))


def replace(old: str, new: str):
    def change(notebook):
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)

    return change


def spoil_table(value: str = TABLE, **figure: str):
    return lambda notebook: notebook.cells.append(shows("text/markdown", value, **figure))


SAID = new_output("display_data", data={"application/papermill.record/text/plain": "1"})


@pytest.mark.parametrize(
    "spoil, says",
    [
        (spoil_table(caption="Scores."), "shows a table without mystnb.figure.name"),
        (spoil_table(name="fig-lines", caption="Scores."), "shows a table without mystnb.figure.name"),
        (spoil_table(name="tab-scores"), "shows a table without mystnb.figure.caption"),
        (spoil_table(name="tab-scores", caption="Error 0.1"), "'0.1' typed in a caption"),
        (spoil_table(f"{TABLE}\n\n{TABLE}", name="tab-scores", caption="Scores."), "shows 2 tables"),
        (spoil_table("Not run.", name="tab-scores", caption="Scores."), "is called tab-scores and shows no table"),
        (spoil_table(name="tab-more", caption="More."), "tab-more is referred to nowhere"),
        (replace("{numref}`fig-lines`", "The figure"), "fig-lines is referred to nowhere"),
        (spoil_code(f"x = {'1' * 76}"), "has a line of 80 characters"),
        (spoil_code("say(error=1)", metadata={"tags": ["hide-input"]}, outputs=[SAID]), "shows nothing: remove-cell"),
        (spoil_text("word " * 1800), "words of prose, at most 1800"),
        (replace("**Next**", "Then"), "ends with a link **Next** to []"),
        (replace("next.ipynb", "data.ipynb"), "ends with a link **Next** to ['data'], expected next"),
        (replace(":label: ex-one", ":label: ex-three"), "has 1 exercises with a folded solution"),
        (replace(":class: dropdown", ""), "has 0 exercises with a folded solution"),
    ],
)
def test_each_fault_of_reading_is_found(spoil, says):
    notebook = good_chapter()
    spoil(notebook)
    assert any(says in fault for fault in reading_faults(notebook, "next"))


def test_code_math_and_targets_are_no_words():
    notebook = good_chapter()
    spoil_text("`a b c` $d + e$ {cite:p}`f`\n\n```python\ng h\n```\n\n$$\ni\n$$\n\n[j](k l) " * 400)(notebook)
    assert reading_faults(notebook, "next") == []


@pytest.mark.parametrize(
    "fields, text, says",
    [
        ("doi = {10.1/x}", "{cite:t}`b, a`", []),
        ("eprint = {2201.01203}", "{cite}`a`", []),
        ("doi = {10.1/x}", "{cite:p}`aa`", ["a is cited nowhere"]),
        ("year = {2022}", "{cite:p}`a`", ["a has no doi, eprint or url"]),
    ],
)
def test_each_fault_of_the_bibliography_is_found(fields, text, says):
    assert bibliography_faults(f"@misc{{a, title = {{A}}, {fields}}}", text) == says


@pytest.mark.parametrize(
    "text",
    [
        "## 2.1 Data",
        "`lr = 0.01`",
        "```python\nx = 0.5\n```",
        "$0.5$",
        "$$\n0.5\n$$",
        "[page](v2.0.md)",
        "DOI 10.5281/zenodo.42",
        "pixels of 1.8″",
        "at 1.4 GHz",
        "Python 3.11",
        "a 95 % bootstrap interval",
        "{cite:p}`a2022`, 12 galaxies",
    ],
)
def test_prose_may_type_what_is_no_result(text):
    assert typed_results(text) == []


def run_nbval(path: Path, **environment: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "--nbval",
        "--nbval-current-env",
        "--nbval-sanitize-with",
        "nbval.cfg",
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RADIO_BNN")}
    kept |= {"RADIO_BNN_OFFLINE": "1", "RADIO_BNN_CACHE": str(path.parent)} | environment
    return subprocess.run([*command, str(path)], cwd=ROOT, env=kept, capture_output=True, text=True)


@pytest.mark.parametrize(
    "low, shown, passes",
    [
        ("0.1234567890123456", "+0.123", True),
        ("0.1234567890123457", "+0.123", True),
        ("0.1234567890123456", "+0.124", False),
    ],
)
def test_nbval_compares_a_claim_by_what_it_shows(tmp_path, low, shown, passes):
    source = (
        "from types import SimpleNamespace\nfrom radio_bnn.evaluation.resampling import Interval\n"
        "from radio_bnn.paper import claims\nends = lambda level: Interval(1.0, 0.1234567890123456, 1.5)\n"
        "nll = SimpleNamespace(value=1.0, interval=ends, corrected_interval=ends)\n"
        "claims.judge('C3', claims.Evidence({'NLL': nll}, 8))"
    )
    scope: dict = {}
    exec(source.rpartition("\n")[0], scope)
    data = claims.judge("C3", claims.Evidence({"NLL": scope["nll"]}, 8))._repr_mimebundle_()
    data[claims.MIME] = data[claims.MIME].replace("0.1234567890123456", low)
    data["text/markdown"] = data["text/markdown"].replace("+0.123,", f"{shown},")
    output = new_output("execute_result", data=data, execution_count=1)
    path = tmp_path / "claim.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source, execution_count=1, outputs=[output])]), path)
    result = run_nbval(path)
    assert result.returncode == (0 if passes else 1), result.stdout


def test_cells_that_need_mirabest_are_left_out_and_counted(tmp_path):
    path = tmp_path / "toy.ipynb"
    cells = [
        new_code_cell("print(1)", execution_count=1, outputs=[new_output("stream", name="stdout", text="1\n")]),
        new_code_cell("raise SystemError", execution_count=2, metadata={"tags": ["needs-mirabest"]}),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    result = run_nbval(path)
    assert result.returncode == 0, result.stdout
    assert "1 cells tagged needs-mirabest were left out" in result.stdout
    assert "1 passed, 1 deselected" in result.stdout


def built(folder: Path, *cells: nbformat.NotebookNode, address: str = "") -> str:
    """The page of a toy chapter with these cells, built as the book is, with warnings as errors."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["repository"]["url"] = address
    for name in ("_ext", "_static", "_extra"):
        shutil.copytree(BOOK / name, folder / name)
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: index\noptions: {numbered: true}\nchapters: [{file: page}]\n"
    )
    (folder / "references.bib").write_text("")
    (folder / "index.md").write_text("# Title\n")
    described = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    page = new_notebook(cells=[new_markdown_cell("# Page"), *cells], metadata=described)
    nbformat.write(page, folder / "page.ipynb")
    build = [Path(sys.executable).with_name("jupyter-book"), "build", folder, "-W", "-n", "--keep-going", "--quiet"]
    result = subprocess.run(build, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return (folder / "_build" / "html" / "page.html").read_text()


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_a_table_of_a_cell_is_numbered_and_captioned_as_a_table(tmp_path):
    html = built(
        tmp_path,
        new_markdown_cell("See {numref}`fig-one`, {numref}`tab-one` and {numref}`tab-two`."),
        shows("text/markdown", TABLE, name="tab-one", caption="The *first*."),
        shows("image/png", PIXEL, name="fig-one", caption="A pixel."),
        shows("text/markdown", TABLE, name="tab-two", caption="The second."),
    )
    assert re.findall(r'href="#(\S+)"><span class="std std-numref">(.*?)</span>', html) == [
        ("fig-one", "Fig. 1.1"),
        ("tab-one", "Table 1.1"),
        ("tab-two", "Table 1.2"),
    ]
    captions = r'<table class="table" id="(\S+)">\s*<caption>.*?caption-number">(.*?) <.*?caption-text">(.*?)</span>'
    assert re.findall(captions, html) == [
        ("tab-one", "Table 1.1", "The <em>first</em>."),
        ("tab-two", "Table 1.2", "The second."),
    ]
    assert html.count("<figure") == 1 and html.count("<tbody>") == 2


def test_a_table_of_cards_says_in_every_cell_what_it_holds(tmp_path):
    html = built(tmp_path, new_markdown_cell(f":::{{container}} cards\n{TABLE}\n| Gaussian | |\n:::\n\n{TABLE}"))
    cells = re.findall(r"<td[^>]*>(?:<p>)?(.*?)(?:</p>\n?)?</td>", html, re.DOTALL)
    titles = ['<span class="card-title">prior: </span>', '<span class="card-title">error: </span>']
    assert cells == [f"{titles[0]}Laplace", f"{titles[1]}1", f"{titles[0]}Gaussian", "", "Laplace", "1"]


def galaxy_table():
    """The extension that makes the table of all galaxies."""
    spec = importlib.util.spec_from_file_location("galaxy_table", BOOK / "_ext" / "galaxy_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CATALOGUE = BOOK / "_generated" / "mirabest_predictions.ecsv"


def test_the_table_of_all_galaxies_has_a_row_for_each_of_them_and_shows_what_the_catalogue_says():
    module, rows = galaxy_table(), galaxy_table().rows_of(CATALOGUE)
    html = module.table(rows, "All & more")
    assert len(rows) == html.count('<th scope="row">') == 1256 and "<caption>All &amp; more</caption>" in html
    shown = re.findall(r"<tr( class=\"candidate\")?>(<th scope=\"row\">.*)</tr>", html)
    candidates = [bool(kind) for kind, _ in shown]
    assert candidates == [row["candidate"] == "True" for row in rows] == sorted(candidates, reverse=True)
    for galaxy, (_, line) in zip(rows, shown, strict=True):
        assert line.count("<td") + 1 == len(module.COLUMNS) and f">{galaxy['name']}</a>" in line
        assert f'<td data-order="{float(galaxy["p_frii"])}">{float(galaxy["p_frii"]):.2f} [' in line
        assert f"<td>{galaxy['label']} {galaxy['confidence']}" in line and f"<td>{galaxy['conformal']}</td>" in line
        assert f'data-order="{galaxy["n_against"] or -1}"' in line
    assert "<img" not in html and set(re.findall(r'href="(https://[^/]*)', html)) == {"https://simbad.cds.unistra.fr"}


def test_a_galaxy_leads_to_its_own_position():
    row = {"ra": "229.168", "dec": "0.251", "name": "J1516+0015"}
    assert "Coord=229.168+%2B0.251&amp;Radius=30" in galaxy_table().named(row)
    assert "Coord=10.5+-9.25&amp;" in galaxy_table().named(row | {"ra": "10.5", "dec": "-9.25"})


def test_a_module_becomes_a_script_that_runs_in_a_page_opened_as_a_file():
    made = galaxy_table().plain_script("var a=1,$b=2;export{a as Other,$b as default,a as c};/* MIT */")
    assert made == '(()=>{"use strict";var a=1,$b=2;window.DataTable=$b;/* MIT */\n})();\n'


@pytest.mark.parametrize("module", ["var a=1;", "export{a as b};", 'import x from "y";export{x as default};'])
def test_what_is_not_one_module_with_a_default_is_refused(module):
    with pytest.raises(ExtensionError, match="its DataTables is not one module"):
        galaxy_table().plain_script(module)


def test_only_a_page_with_the_table_loads_what_sorts_it_and_nothing_comes_from_another_server(tmp_path):
    few = [line for line in CATALOGUE.read_text().splitlines() if line.startswith("#")]
    others = [line for line in CATALOGUE.read_text().splitlines() if not line.startswith("#")]
    (tmp_path / "few.ecsv").write_text("\n".join([*few, *others[:4]]) + "\n")
    html = built(tmp_path, new_markdown_cell(":::{galaxy-table} few.ecsv\nThree.\n:::"))
    static = tmp_path / "_build" / "html" / "_static"
    assert html.count('<th scope="row">') == 3 and "<caption>Three.</caption>" in html
    for name in ("datatables.js", "galaxy_table.js", "datatables.css"):
        assert f"_static/{name}" in html and (static / name).stat().st_size
    assert "datatables" not in (tmp_path / "_build" / "html" / "index.html").read_text()
    assert not re.search(r"<(script|link)[^>]*(src|href)=\"https?:", html)
    assert "window.DataTable=" in (static / "datatables.js").read_text()


@pytest.mark.parametrize("points, wide", [(400, False), (700, True)])
def test_a_figure_too_wide_for_a_phone_is_marked(tmp_path, points, wide):
    image = f'<?xml version="1.0"?>\n<svg width="{points}pt" height="90pt" xmlns="http://www.w3.org/2000/svg"></svg>'
    html = built(tmp_path, shows("image/svg+xml", image, name="fig-one", caption="Nothing."))
    figure = re.search(r'<figure [^>]*id="fig-one"[^>]*>', html).group()
    assert ("wide" in figure, 'tabindex="0"' in figure) == (wide, wide)


def test_exercises_are_numbered_and_solutions_folded(tmp_path):
    html = built(tmp_path, *(new_markdown_cell(EXERCISES.format(name)) for name in ("one", "two")))
    assert re.findall(r'class="caption-number">(Exercise .*?) <', html) == ["Exercise 1.1", "Exercise 1.2"]
    assert html.count('<div class="solution dropdown admonition"') == 2
    ids = re.findall(r' id="([^"]+)"', html)
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("address", ["", "https://github.com/somebody/radio_bnn"])
def test_links_to_the_repository_follow_from_its_address(tmp_path, address):
    html = built(tmp_path, address=address)
    links = [
        "https://mybinder.org/v2/gh/somebody/radio_bnn/main?urlpath=lab/tree/book/page.ipynb",
        "https://colab.research.google.com/github/somebody/radio_bnn/blob/main/book/page.ipynb",
        "https://github.com/somebody/radio_bnn/edit/main/book/page.ipynb",
        "https://github.com/somebody/radio_bnn/issues/new",
        '<meta property="og:url" content="https://somebody.github.io/radio_bnn/page.html"',
        '<meta property="og:image" content="https://somebody.github.io/radio_bnn/_static/card.png"',
        '<meta name="twitter:card" content="summary_large_image"',
    ]
    assert [link in html for link in links] == [bool(address)] * len(links)
    assert bool(re.search(r"github\.|mybinder|colab|og:|twitter:", html)) == bool(address)
