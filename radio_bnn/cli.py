"""The command `radio-bnn`. Each subcommand imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from radio_bnn import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; exit status 1 with one line on stderr for anything that cannot be used, 2 for usage."""
    options = parser().parse_args(arguments)
    try:
        options.command(options)
    except (ValueError, OSError) as error:
        print(f"radio-bnn: error: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line: one `add_...` function per subcommand."""
    top = argparse.ArgumentParser(
        prog="radio-bnn", description="Variational inference for radio-galaxy classification."
    )
    top.add_argument("--version", action="version", version=f"radio-bnn {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_chapters(commands)
    add_convergence(commands)
    add_prune(commands)
    add_scoreboard(commands)
    add_sweep(commands)
    return top


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
    from radio_bnn.chapters import read_parameters, run_all

    parameters = read_parameters(options.parameters) if options.parameters else {}
    seconds = run_all(options.names, parameters, book=options.book, out=options.out, timeout=options.timeout)
    for name, value in seconds.items():
        print(f"{name}: {value:.0f} s")


def add_convergence(commands: argparse._SubParsersAction) -> None:
    """`radio-bnn convergence`: measure how far the chapters' protocol has converged."""
    text = "Train the chapters' protocol and its neighbours, and store what their validation galaxies say."
    command = commands.add_parser("convergence", help="make the record of convergence", description=text)
    command.add_argument("--out", type=Path, metavar="FILE", help="the record (default: among the book's results)")
    command.add_argument("--workers", type=int, default=1, metavar="N", help="processes, one thread each (default: 1)")
    command.set_defaults(command=convergence)


def convergence(options: argparse.Namespace) -> None:
    """Make the record of convergence and name it."""
    from radio_bnn.convergence import FILE, run
    from radio_bnn.store import committed_folder

    path = options.out or committed_folder() / FILE
    run(path, workers=options.workers)
    print(path)


def add_prune(commands: argparse._SubParsersAction) -> None:
    """`radio-bnn prune`: make the pruning records that the book still lacks."""
    text = "Prune trained posteriors, training first where none is kept, and store what is missing."
    command = commands.add_parser("prune", help="make the pruning records", description=text)
    command.add_argument("--seeds", type=int, default=3, metavar="N", help="how many training seeds (default: 3)")
    command.add_argument("--out", type=Path, metavar="DIR", help="where records go (default: the book's results)")
    command.set_defaults(command=prune)


def prune(options: argparse.Namespace) -> None:
    """Make the missing pruning records and say how many were stored."""
    from radio_bnn.prune_records import configs, run
    from radio_bnn.store import committed_folder

    folder = options.out or committed_folder() / "pruning"
    print(f"{len(run(configs(options.seeds), folder))} pruning records stored in {folder}")


def add_scoreboard(commands: argparse._SubParsersAction) -> None:
    """`radio-bnn scoreboard`: collect the verdicts of the claim cells."""
    text = "Write the scoreboard from the stored outputs of the claim cells. `chapters` does it too."
    command = commands.add_parser("scoreboard", help="collect the verdicts of the claim cells", description=text)
    command.add_argument("--book", type=Path, default=Path("book"), metavar="DIR", help="the book (default: book)")
    command.set_defaults(command=scoreboard)


def scoreboard(options: argparse.Namespace) -> None:
    """Write the scoreboard and name the file."""
    from radio_bnn.scoreboard import write

    print(write(options.book))


def add_sweep(commands: argparse._SubParsersAction) -> None:
    """`radio-bnn sweep`: train what a queue of runs still lacks."""
    text = "Train the runs of a queue that are not stored yet. A killed sweep continues where it was."
    command = commands.add_parser("sweep", help="train the runs of a queue", description=text)
    command.add_argument("queue", metavar="QUEUE", help="the name of a queue, such as priors")
    command.add_argument("--out", type=Path, metavar="DIR", help="where records go (default: the book's results)")
    command.add_argument("--workers", type=int, default=1, metavar="N", help="processes, one thread each (default: 1)")
    command.add_argument("--scheduler", metavar="ADDRESS", help="a running dask scheduler instead of own processes")
    command.set_defaults(command=sweep)


def sweep(options: argparse.Namespace) -> None:
    """Train the missing runs of a queue and say how many were stored."""
    from radio_bnn.store import committed_folder
    from radio_bnn.sweep import queue, run_queue

    configs, folder = queue(options.queue), options.out or committed_folder()
    try:
        written = run_queue(configs, folder, workers=options.workers, scheduler=options.scheduler)
    except RuntimeError as error:  # some runs failed; the message names them, the others are stored
        raise ValueError(str(error)) from error
    print(f"{len(written)} runs stored in {folder}")


if __name__ == "__main__":
    sys.exit(main())
