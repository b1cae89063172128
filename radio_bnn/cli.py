"""The command `radio-bnn`. Each subcommand imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from radio_bnn import __version__


class Stopped(KeyboardInterrupt):
    """A signal that asks the command to end: Ctrl-C, TERM, or HUP when its terminal is closed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; exit status 1 with one line on stderr for anything that cannot be used, 2 for usage.

    `classify` ends with 3 where some of the sources could not be used. INT, TERM and HUP end it alike, with one line
    and 128 + the signal's number.
    """
    return in_one_line(lambda: run(arguments), for_good=arguments is None)


def run(arguments: Sequence[str] | None) -> int:
    """Run one subcommand and return its exit status; None: that of the command line."""
    options = parser().parse_args(arguments)
    return options.command(options) or 0


def in_one_line(command: Callable[[], int | None], *, for_good: bool) -> int:
    """Do something, and say in one line on stderr what ended it before its end; returns the exit status."""
    try:
        with stoppable(for_good=for_good):
            try:
                return command() or 0
            except (ValueError, OSError) as error:
                print(f"radio-bnn: error: {error}", file=sys.stderr)
                return 1
            except ModuleNotFoundError as error:
                print(f"radio-bnn: error: {cure_of(error)}", file=sys.stderr)
                return 1
    except KeyboardInterrupt as stopped:
        number = getattr(stopped, "number", signal.SIGINT)
        name, said = signal.Signals(number).name, "nothing is half written, and the same call makes what is missing"
        print(f"radio-bnn: stopped by {name}: {said}", file=sys.stderr)
        return 128 + number


@contextmanager
def stoppable(*, for_good: bool) -> Iterator[None]:
    """In this scope the first INT, TERM or HUP raises Stopped, a second one ends the process at once.

    A signal that is ignored, as nohup wants it, stays so. ``for_good``: nothing comes after the scope but the end of
    the process, which a signal may then only hasten.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if asked:
            os._exit(128 + number)  # no file is ever half written, and workers end with their parent
        asked.append(number)
        raise Stopped(number)

    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    listening = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, stop) for n in numbers if listening and signal.getsignal(n) != signal.SIG_IGN}
    try:
        yield
    finally:
        asked.append(0)
        for number, handler in before.items():
            signal.signal(number, stop if for_good else handler or signal.SIG_DFL)


def cure_of(error: ModuleNotFoundError) -> str:
    """Which extra of this package brings what is not installed, as one line with the command.

    Raises the error itself if it is about a module of this package.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "radio_bnn"):
        raise error
    extra = "cluster" if package in ("dask", "distributed") else "book"
    return f'this needs {package}, which is not installed: pip install "radio-bnn[{extra}]"'


def parser() -> argparse.ArgumentParser:
    """The command line: one `add_...` function per subcommand."""
    top = argparse.ArgumentParser(
        prog="radio-bnn", description="Variational inference for radio-galaxy classification."
    )
    top.add_argument("--version", action="version", version=f"radio-bnn {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_classify(commands)
    add_chapters(commands)
    add_scoreboard(commands)
    add_sweep(commands)
    add_verify(commands)
    return top


READING = ("image", "catalogue", "positions", "pixel_scale", "ra", "dec", "name", "cache", "timeout")
JUDGING = ("overwrite", "orbit", "alpha", "device", "workers")


def add_classify(commands: argparse._SubParsersAction) -> None:
    """`radio-bnn classify`: a reader's own galaxies."""
    text = "FRI or FRII, how certain, and whether to trust it: a table with a row for each of your galaxies. A killed"
    text += " command goes on where it was. Exit status 3: all done, but some sources could not be used, see `message`."
    command = commands.add_parser("classify", help="classify your own galaxies", description=text)
    command.add_argument("inputs", nargs="*", metavar="CUTOUT", help="FITS or PNG cutouts, folders, lists of files")
    kinds = ".ecsv, .fits, .csv, .vot or .parquet; folder.parquet/: many files, for millions of galaxies"
    command.add_argument("-o", "--output", required=True, metavar="FILE", help=kinds)
    command.add_argument("--report", type=Path, metavar="FILE", help="also a page to look at, .html")
    command.add_argument("--overwrite", action="store_true", help="replace the output, and rows of another call")
    reading = command.add_argument_group("what is read")
    reading.add_argument("--image", metavar="FILE", help="a mosaic; cutouts are made at the places of the catalogue")
    reading.add_argument("--catalogue", metavar="FILE", help="a table of positions, in any format that astropy reads")
    reading.add_argument(
        "--position", action="append", dest="positions", metavar="RA DEC", help="a position on the sky; may be repeated"
    )
    reading.add_argument("--pixel-scale", type=float, metavar="ARCSEC", help="of images whose header has none")
    for column in ("ra", "dec", "name"):
        reading.add_argument(f"--{column}", metavar="COLUMN", help=f"the catalogue's column of {column}")
    fetching = command.add_argument_group("what is fetched from FIRST, where there is no --image")
    fetching.add_argument("--cache", metavar="DIR", help="where cutouts are kept (default: the user's cache)")
    fetching.add_argument("--timeout", type=float, metavar="S", help="seconds for an answer (default: 30)")
    judging = command.add_argument_group("how it is judged")
    judging.add_argument("--orbit", action="store_true", help="average over turned and mirrored views, 8 x slower")
    judging.add_argument("--alpha", type=float, default=0.1, help="level of the labels (default: %(default)s)")
    judging.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    judging.add_argument("--workers", type=int, default=1, metavar="N", help="processes, one thread each (default: 1)")
    where = "a running dask scheduler instead of own processes; the output is a folder.parquet/"
    judging.add_argument("--scheduler", metavar="ADDRESS", help=where)
    command.set_defaults(command=classify)


def classify(options: argparse.Namespace) -> int:
    """Classify, say how many were and were not, and return 3 if some were not, else 0."""
    asked = {name: value for name in READING if (value := getattr(options, name)) is not None}
    asked |= {name: getattr(options, name) for name in JUDGING}
    if options.scheduler is not None or options.output.endswith("/"):
        classified, unused = _into_a_folder(options, asked)
    else:
        from radio_bnn.sky.stream import classify as run

        table = run(options.inputs or None, output=options.output, report=options.report, progress=True, **asked)
        unused = int((table["label"] == "").sum())
        classified = len(table) - unused
    print(f"{options.output}: {classified} classified" + (f", {unused} not: see `message`" if unused else ""))
    return 3 if unused else 0


def _into_a_folder(options: argparse.Namespace, asked: Mapping[str, Any]) -> tuple[int, int]:
    _check_dask(options.scheduler)
    if options.report is not None:
        raise ValueError(f"--report {options.report}: a folder of Parquet files has none; choose another output for it")
    from radio_bnn.sky.partitioned import classify_into

    return classify_into(options.output, options.inputs or None, scheduler=options.scheduler, progress=True, **asked)


def _check_dask(scheduler: str | None) -> None:
    """Raise ImportError where a cluster is asked for and dask is missing, first of all."""
    if scheduler is not None:
        import dask.distributed  # noqa: F401


def add_chapters(commands: argparse._SubParsersAction) -> None:
    """`radio-bnn chapters`: execute chapters, strictly."""
    text = "Execute chapters of the book. No chapter changes unless all of them ran."
    command = commands.add_parser("chapters", help="execute chapters of the book", description=text)
    command.add_argument("names", nargs="*", metavar="NAME", help="a chapter, such as priors (default: all)")
    command.add_argument("-f", "--parameters", type=Path, metavar="FILE", help="YAML, one mapping per chapter")
    command.add_argument("--out", type=Path, metavar="DIR", help="execute in a copy of the book instead of in place")
    command.add_argument("--book", type=Path, default=Path("book"), metavar="DIR", help="the book (default: book)")
    command.add_argument("--timeout", type=float, metavar="S", help="seconds per cell (default: no limit)")
    command.set_defaults(command=chapters)


def chapters(options: argparse.Namespace) -> None:
    """Execute chapters and print what each took."""
    from radio_bnn.paper.chapters import read_parameters, run_all

    parameters = read_parameters(options.parameters) if options.parameters else {}
    seconds = run_all(options.names, parameters, book=options.book, out=options.out, timeout=options.timeout)
    for name, value in seconds.items():
        print(f"{name}: {value:.0f} s")


def add_scoreboard(commands: argparse._SubParsersAction) -> None:
    """`radio-bnn scoreboard`: collect the verdicts of the claim cells."""
    text = "Write the scoreboard from the stored outputs of the claim cells. `chapters` does it too."
    command = commands.add_parser("scoreboard", help="collect the verdicts of the claim cells", description=text)
    command.add_argument("--book", type=Path, default=Path("book"), metavar="DIR", help="the book (default: book)")
    command.set_defaults(command=scoreboard)


def scoreboard(options: argparse.Namespace) -> None:
    """Write the scoreboard and name the file."""
    from radio_bnn.paper.scoreboard import write

    print(write(options.book))


def add_sweep(commands: argparse._SubParsersAction) -> None:
    """`radio-bnn sweep`: make the records that a queue still lacks."""
    text = "Train the runs of a queue that are not stored yet, then make what is measured on them. `book` is everything"
    text += " that the book reads. A killed sweep continues where it was."
    command = commands.add_parser("sweep", help="train the runs of a queue", description=text)
    text = "`book`, a chapter such as priors, a part such as path, or a row of the causes such as 'random D4'"
    command.add_argument("queue", metavar="QUEUE", help=text)
    command.add_argument("--out", type=Path, metavar="DIR", help="where records go (default: the book's results)")
    command.add_argument("--workers", type=int, default=1, metavar="N", help="processes, one thread each (default: 1)")
    command.add_argument("--scheduler", metavar="ADDRESS", help="a running dask scheduler instead of own processes")
    command.add_argument("--list", action="store_true", help="say what is missing and how long it takes, and end")
    command.set_defaults(command=sweep)


def sweep(options: argparse.Namespace) -> None:
    """Make the missing records of a queue and say how many were stored, or list them."""
    from radio_bnn.paper import experiments

    wanted = experiments.queue(options.queue)  # an unknown name is refused before anything slow is imported
    _check_dask(options.scheduler)
    from radio_bnn.files import absolute
    from radio_bnn.runs.records import committed_folder

    folder = absolute(options.out, of="--out") if options.out else committed_folder()
    if options.list:
        print(experiments.report(options.queue, folder))
        return
    from radio_bnn.paper import on_orbit, protocol, pruning, shifted
    from radio_bnn.runs.sweep import run_queue

    measured = {"pruning": pruning, "on_orbit": on_orbit, "objective": protocol, "shift": shifted}
    measures = {kind: module.measure for kind, module in measured.items()} | {"one_view": on_orbit.measure_one}
    try:
        written = run_queue(wanted, folder, measures, workers=options.workers, scheduler=options.scheduler)
    except RuntimeError as error:  # some failed; the message names them, the others are stored
        raise ValueError(str(error)) from error
    print(f"{len(written)} records stored in {folder}")


def add_verify(commands: argparse._SubParsersAction) -> None:
    """`radio-bnn verify`: train a stored run again and compare."""
    text = "Train a stored run again and say whether it repeats: bit for bit, or how far it is from the record."
    command = commands.add_parser("verify", help="train a stored run again and compare", description=text)
    command.add_argument("identity", metavar="ID", help="the name of a record, twelve hexadecimal digits")
    command.set_defaults(command=verify)


def verify(options: argparse.Namespace) -> None:
    """Train a stored run again, and another seed for scale, and say how far apart the predictions are."""
    from radio_bnn.runs.verify import stored, verify

    print(verify(stored(options.identity)))


if __name__ == "__main__":
    sys.exit(main())
