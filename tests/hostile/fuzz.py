"""Seeded fuzzing: damaged files go to each reader, which must read them or refuse them in one line, soon and in bounds.

A reader is a pair ``(write, read)`` in the dict READERS of a ``fuzz_*.py`` beside this file: ``write(folder)`` makes
valid files and returns the path that ``read(path)`` reads. ``read`` returns, or raises ValueError or OSError with one
line; where damage must be noticed it asserts that what it read is what was written, and an AssertionError counts as
"wrong". Everything else is a failure: another error, several lines, more than MEMORY or SECONDS, a dead process.

    python tests/hostile/fuzz.py --cases 100000                         every reader
    python tests/hostile/fuzz.py --reader config --seed 0 --case 17     one case again, with its traceback
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
for _place in (HERE, HERE.parent, HERE.parents[1]):
    if str(_place) not in sys.path:
        sys.path.insert(0, str(_place))

from mutate import mutated  # noqa: E402

from radio_bnn.progress import bar  # noqa: E402

SECONDS = 5  # of processor time that one case may take
MEMORY = 2**30  # bytes that it may take beside what the process has before
LONGEST = 2000  # characters of a line
PER_JOB = 250
PATIENCE = 600  # seconds after which a process that is stuck in one case counts as dead
FINE = ("read", "refused")
Reader = tuple[Callable[[Path], Path], Callable[[Path], Any]]


class Slow(BaseException):
    """A case took too long; no reader catches it."""


class Outcome(NamedTuple):
    """What became of one case: ``kind`` is one of FINE, "wrong", or the name of a failure; ``said`` the words."""

    reader: str
    case: int
    kind: str
    said: str


def readers(folder: Path = HERE) -> dict[str, Reader]:
    """Every reader of the files ``fuzz_*.py`` in the folder, by name."""
    found: dict[str, Reader] = {}
    for path in sorted(folder.glob("fuzz_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if twice := found.keys() & module.READERS.keys():
            raise ValueError(f"{path.name}: reader {sorted(twice)[0]!r} exists already")
        found |= module.READERS
    return found


class Target:
    """One reader with the valid files of its own: they are written once, damaged and put back case by case."""

    def __init__(self, name: str, reader: Reader, folder: Path) -> None:
        self.name, self.read, self.folder = name, reader[1], folder / name
        self.folder.mkdir(parents=True)
        self.path = reader[0](self.folder)
        self.valid = {p: p.read_bytes() for p in sorted(self.folder.rglob("*")) if p.is_file()}
        self.read(self.path)

    def damage(self, seed: int, case: int) -> None:
        """Damage one file, as the seed and the case say."""
        random = Random(f"{seed}/{self.name}/{case}")
        path = random.choice(list(self.valid))
        path.write_bytes(mutated(path.name, self.valid[path], list(self.valid.values()), random))
        if len(self.valid) > 1 and random.random() < 0.03:
            random.choice(list(self.valid)).unlink()

    def repair(self) -> None:
        """Put the valid files back, and remove what a reader has left."""
        for path in [p for p in self.folder.rglob("*") if p.is_file() and p not in self.valid]:
            path.unlink()
        for path, content in self.valid.items():
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)

    def outcome(self, seed: int, case: int) -> Outcome:
        """What becomes of a case."""
        self.damage(seed, case)
        try:
            return Outcome(self.name, case, *judged(lambda: self.read(self.path)))
        finally:
            self.repair()


def judged(read: Callable[[], Any]) -> tuple[str, str]:
    """How a reader ended, (kind, words)."""
    try:
        with limited():
            read()
    except AssertionError as error:
        return "wrong", str(error)
    except (ValueError, OSError) as error:
        said = str(error)
        if not said or len(said.splitlines()) > 1 or len(said) > LONGEST:
            return "not one line", said[:500]
        return "refused", said
    except Slow:
        return "slow", f"more than {SECONDS} s"
    except BaseException as error:
        return type(error).__name__, " ".join(str(error).split())[:300]
    return "read", ""


@contextmanager
def limited() -> Iterator[None]:
    """A scope in which processor time is limited."""

    def late(*_: object) -> None:
        raise Slow

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit_memory() -> None:
    """Let this process take MEMORY more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def work(todo: Sequence[tuple[str, int, int, int]], seed: int, folder: Path, at: Any, out: Any) -> None:
    """Do jobs (reader, start, stop, step); ``at`` says which case is being done, ``out`` takes what is found."""
    os.environ["TQDM_DISABLE"] = "1"
    warnings.simplefilter("ignore")
    known = readers(folder)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        targets = {name: Target(name, known[name], Path(place)) for name in dict.fromkeys(job[0] for job in todo)}
        limit_memory()
        for job, (name, start, stop, step) in enumerate(todo):
            kinds: Counter[str] = Counter()
            for case in range(start, stop, step):
                at[0], at[1] = job, case
                result = targets[name].outcome(seed, case)
                kinds[result.kind] += 1
                if result.kind not in FINE:
                    out.put(result)
            out.put((name, kinds))
    out.put(None)


def run(
    names: Sequence[str], cases: int, *, seed: int = 0, workers: int = 2, folder: Path = HERE, quiet: bool = True
) -> tuple[dict[str, Counter[str]], list[Outcome]]:
    """Counts {reader: Counter of kinds} and the Outcomes that are not fine, of ``cases`` a reader in ``workers``."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    failures: list[Outcome] = []
    crews = [Crew(share(names, cases, worker, workers), seed, folder) for worker in range(workers)]
    with bar(total=cases * len(names), desc="fuzz", unit="case", show=not quiet) as shown:
        try:
            while any(not crew.done for crew in crews):
                for result in (result for crew in crews for result in crew.results()):
                    if isinstance(result, Outcome):
                        failures.append(result)
                        if not quiet:
                            shown.write(said(result, seed))
                            sys.stdout.flush()
                    else:
                        counts[result[0]] += result[1]
                        shown.update(result[1].total())
                time.sleep(0.05)
        finally:
            for crew in crews:
                crew.end()
    counts_of_dead = Counter(failure.reader for failure in failures if failure.kind == "dead")
    for name, number in counts_of_dead.items():
        counts[name]["dead"] = number
    return counts, failures


def share(names: Sequence[str], cases: int, worker: int, workers: int) -> list[tuple[str, int, int, int]]:
    """What one of so many workers does: jobs (reader, start, stop, step), each a few hundred cases."""
    step = workers * PER_JOB
    return [
        (name, start, min(cases, start - worker + step), workers)
        for name in names
        for start in range(worker, cases, step)
    ]


class Crew:
    """One process at work, and another in its place where a case has killed it."""

    def __init__(self, todo: list[tuple[str, int, int, int]], seed: int, folder: Path) -> None:
        self.todo, self.seed, self.folder, self.done = todo, seed, folder, not todo
        self.begin()

    def begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.at, self.out = context.Array("q", [0, -1]), context.SimpleQueue()  # a dead process has said all it put
        self.process = context.Process(
            target=work, args=(self.todo, self.seed, self.folder, self.at, self.out), daemon=True
        )
        self.process.start()
        self.moved = time.monotonic(), tuple(self.at)

    def results(self) -> Iterator[Any]:
        """What has come since the last time; a process that died gives an Outcome of its case, and another begins."""
        while not (self.done or self.out.empty()):
            if (result := self.out.get()) is None:
                self.done = True
            else:
                yield result
        if self.moved[1] != tuple(self.at):
            self.moved = time.monotonic(), tuple(self.at)
        dead = not self.process.is_alive() and self.out.empty()
        if not self.done and (dead or time.monotonic() - self.moved[0] > PATIENCE):
            self.end()
            place, case = self.at
            if case < 0:
                raise RuntimeError("a process died before its first case: run one reader with --case 0 to see why")
            name, _, stop, step = self.todo[place]
            self.todo = [(name, case + step, stop, step), *self.todo[place + 1 :]]
            yield Outcome(name, case, "dead", f"exit {self.process.exitcode}")
            self.begin()

    def end(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def said(failure: Outcome, seed: int) -> str:
    """A failure with the command that repeats it."""
    again = f"python tests/hostile/fuzz.py --reader {failure.reader} --seed {seed} --case {failure.case}"
    return f"{failure.reader}: {failure.kind}: {failure.said[:300]}\n    again: {again}"


def table(counts: dict[str, Counter[str]]) -> str:
    """One line a reader: how many cases were read, refused, wrong, or failed otherwise."""
    lines = [f"{'reader':20}{'read':>9}{'refused':>9}{'wrong':>7}{'failed':>8}"]
    for name, kinds in counts.items():
        failed = sum(kinds.values()) - sum(kinds[k] for k in (*FINE, "wrong"))
        lines.append(f"{name:20}{kinds['read']:9}{kinds['refused']:9}{kinds['wrong']:7}{failed:8}")
    return "\n".join(lines)


def again(name: str, seed: int, case: int, keep: Path | None = None) -> int:
    """Do one case in this process and print its error whole; the damaged files may be kept."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        target = Target(name, readers()[name], Path(folder))
        target.damage(seed, case)
        if keep is not None:
            shutil.copytree(target.folder, keep, dirs_exist_ok=True)
        limit_memory()
        try:
            with limited():
                print("read:", repr(target.read(target.path))[:500])
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


def main() -> int:
    """The command line; exit status 1 where a case was neither read nor refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="cases a reader (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--reader", action="append", help="this reader alone; may be repeated")
    parser.add_argument("--case", type=int, help="this case of one reader alone, with its traceback")
    parser.add_argument("--keep", type=Path, help="with --case: a folder for the damaged files")
    asked = parser.parse_args()
    names = asked.reader or list(readers())
    if asked.case is not None:
        return again(names[0], asked.seed, asked.case, asked.keep)
    started = time.monotonic()
    counts, failures = run(names, asked.cases, seed=asked.seed, workers=asked.workers, quiet=False)
    print(table(counts))
    total, took = sum(sum(kinds.values()) for kinds in counts.values()), time.monotonic() - started
    print(f"{total} cases with seed {asked.seed} in {took:.0f} s; {len(failures)} neither read nor refused")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
