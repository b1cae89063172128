"""`make kill`: signals at seeded random moments of all that writes; then what the rerun left is compared, byte by byte.

A victim is a function of a folder, called in a process of its own, in which it writes below ``out`` whatever it makes
and may keep what it likes beside it. It is killed some times, called again after each, and at last left alone. To add
one: a function and a line in VICTIMS.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLACES = [str(place) for place in (ROOT, ROOT / "tests", HERE)]  # of what victims import
sys.path[:0] = [place for place in PLACES if place not in sys.path]
READY = "ready"
MARK = "RADIO_BNN_TRIAL"
GALAXIES = "RADIO_BNN_TRIAL_GALAXIES"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
END, WHOLE_RUN = 120, 1200  # seconds within which a victim that was told so ends, and one that was not
ROUNDS = 3  # signals before a victim is left alone


# Victims


def fit(folder: Path) -> None:
    """A training with a checkpoint after every epoch."""
    from scenarios import splits

    from radio_bnn.config import Config
    from radio_bnn.files import remove_abandoned, replacing
    from radio_bnn.inference import train

    config = Config.preview(data="simulated", epochs=5, batch_size=8, validate_every=1, selection="nll")
    options = {"device": "cpu", "progress": False, "checkpoint": folder / "unfinished.pt", "checkpoint_every": 1}
    remove_abandoned(folder)
    trained = train.fit(config, splits(), **options)
    kept = b"".join(value.numpy().tobytes() for value in trained.model.state_dict().values())
    with replacing(folder / "out" / "weights") as partial:
        partial.write_bytes(kept + json.dumps(trained.history).encode())


def write_records(folder: Path) -> None:
    """Records written one after the other, over those that are there."""
    from scenarios import recorded

    from radio_bnn.config import Config
    from radio_bnn.files import remove_abandoned
    from radio_bnn.runs import records

    remove_abandoned(folder)
    for seed in range(4):
        records.write(recorded(Config.preview(data="simulated", simulated_galaxies=100, seed=seed)), folder / "out")


def sweep(folder: Path, **where: int | str) -> None:
    """Four short runs on toy galaxies, through the queue."""
    from radio_bnn.config import Config
    from radio_bnn.runs import sweep

    short = Config.preview(data="simulated", simulated_galaxies=100, epochs=2, batch_size=8, samples=2)
    queue = [(replace(short, seed=seed), "run") for seed in range(4)]
    sweep.train = train_toys
    sweep.run_queue(queue, folder / "out", progress=False, **where)


def processes(folder: Path) -> None:
    """The sweep by two processes."""
    sweep(folder, workers=2)


def dask(folder: Path) -> None:
    """The sweep by the workers of a cluster that is not the victim's own."""
    sweep(folder, scheduler=(folder / "scheduler").read_text())


def train_toys(chain: list) -> list:
    """What a worker of the sweep does, on toy galaxies."""
    from scenarios import catalogue

    from radio_bnn.runs import execute, sweep

    execute.load_data = catalogue
    return sweep.train(chain)


def chapters(folder: Path) -> None:
    """Two chapters, executed in place."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    from radio_bnn.paper.chapters import run_all

    book = folder / "out"
    if not (book / "_toc.yml").exists():
        book.mkdir(exist_ok=True)
        for name in ("one", "two"):
            first = new_code_cell("n: int = 3", id="parameters", metadata={"tags": ["parameters"]})
            cells = [first, new_code_cell("print(sum(range(n * 10**6)))", id="body")]
            kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
            nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), book / f"{name}.ipynb")
        (book / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    run_all(book=book)


def classify(folder: Path) -> None:
    """Simulated cutouts, and a file that is none, classified with two networks by two processes, ten at a time."""
    from radio_bnn.sky import stream

    stream.AT_ONCE = 10
    os.chdir(folder)  # a message names a file as it was named
    given = folder.parent / "given"
    if not given.exists():  # the first call, which nobody kills
        give(given, int(os.environ.get(GALAXIES, 200)))
    (folder / "out").mkdir(exist_ok=True)
    options = {"posteriors": given / "networks.npz", "workers": 2, "overwrite": True}
    stream.classify("../given", output=folder / "out" / "galaxies.ecsv", **options)


def give(folder: Path, galaxies: int) -> None:
    """So many cutouts and two of the package's networks."""
    from radio_bnn.data.simulate import draw_cutout
    from radio_bnn.paper.own_galaxies import write_cutout
    from radio_bnn.sky import posteriors

    folder.mkdir()
    for k in range(galaxies):
        write_cutout(draw_cutout(200, seed=k), folder / f"{k:04d}.fits")
    (folder / "none.fits").write_text("not a FITS file")
    ours = posteriors.read()
    posteriors.write(posteriors.Ensemble(ours.networks[:2], ours.facts), folder / "networks.npz")


class Victim(NamedTuple):
    """What is killed; ``forked``: in a copy of this process, which starts in a moment but has no workers."""

    call: Callable[[Path], None]
    share: int
    forked: bool = False


VICTIMS = {
    "fit": Victim(fit, 8, forked=True),
    "records": Victim(write_records, 8, forked=True),
    "processes": Victim(processes, 2),
    "dask": Victim(dask, 1),
    "chapters": Victim(chapters, 1),
    "classify": Victim(classify, 1),
}


def call(name: str, folder: Path) -> int:
    """Be the victim: as a command of this package is run, after a file says that it can be killed."""
    from radio_bnn import cli

    def command() -> None:
        (folder / READY).touch()
        VICTIMS[name].call(folder)

    return cli.in_one_line(command, for_good=True)


# Killing


def start(name: str, folder: Path) -> int:
    """Start the victim in a session of its own and return its process id when it says that it is ready."""
    (folder / READY).unlink(missing_ok=True)
    if (pid := os.fork()) == 0:
        status = 70
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            log = os.open(folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
            os.environ.update(environment(folder))
            if not VICTIMS[name].forked:
                os.execv(sys.executable, [sys.executable, str(HERE / "kill.py"), "--victim", name, str(folder)])
            status = call(name, folder)
        finally:
            os._exit(status)
    while not (folder / READY).exists():
        time.sleep(0.005)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and not (folder / READY).exists():
            raise RuntimeError(f"{name} ended before it began: {(folder / 'log').read_text()}")
    return pid


def environment(folder: Path) -> dict[str, str]:
    """Places of its own, one thread, and the mark by which the victim's processes are known."""
    own = {"RADIO_BNN_CACHE": folder / "cache", "RADIO_BNN_RESULTS": folder / "nothing", MARK: folder}
    own["PYTHONPATH"] = os.pathsep.join(PLACES)
    plain = {"RADIO_BNN_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return plain | {name: str(value) for name, value in own.items()}


def wait(pid: int, seconds: float) -> int | None:
    """The exit code of a process that ends within so many seconds, else None; whoever is tired of it ends it too."""
    ends = time.monotonic() + seconds
    try:
        while True:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= ends:
                return None
            time.sleep(0.005)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGKILL)
        raise


def processes_of(pid: int, folder: Path) -> Iterator[int]:
    """Whatever runs in the session of a victim or with its mark, itself left out."""
    mark = f"{MARK}={folder}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            marked = mark in (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if fields[0] != "Z" and int(place.name) not in (pid, os.getpid()) and (marked or int(fields[3]) == pid):
            yield int(place.name)


def workers_of(pid: int, folder: Path) -> list[int]:
    """The worker processes of a victim: its own, or those of the cluster that it uses."""
    listed = folder / "workers"
    if listed.exists():
        return [int(line) for line in listed.read_text().split()]
    return [p for p in processes_of(pid, folder) if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


def strike(pid: int, folder: Path, rng: random.Random, counts: Counter) -> None:
    """Send a signal to the victim, to all that a terminal would send it to, or to a worker."""
    workers = workers_of(pid, folder)
    if workers and rng.random() < 0.3:
        victim = rng.choice(workers)
        counts["to a worker"] += 1
        os.kill(victim, signal.SIGKILL)
        return
    number = rng.choice(SIGNALS)
    counts[number.name] += 1
    if number == signal.SIGINT and rng.random() < 0.5:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


def suffer(name: str, folder: Path, seconds: float, rng: random.Random, counts: Counter) -> None:
    """Start the victim, kill it at a random moment of the ``seconds`` that it takes, see what it leaves behind."""
    pid = start(name, folder)
    code = wait(pid, rng.uniform(0, seconds))
    if code is None:
        counts["signals"] += 1
        before = counts["to a worker"]
        strike(pid, folder, rng, counts)
        struck_worker = counts["to a worker"] > before
        code = wait(pid, WHOLE_RUN if struck_worker else END)
        if code is None:
            counts["hangs"] += 1
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        elif code not in (0, -9, -1, -15, 129, 130, 143) or (struck_worker and code != 0):
            counts["wrong exits"] += 1
    look(pid, folder, counts)


def look(pid: int, folder: Path, counts: Counter) -> None:
    """Count orphans, tracebacks and torn files of a victim that has ended."""
    ends = time.monotonic() + 20
    while (left := list(processes_of(pid, folder))) and time.monotonic() < ends:
        time.sleep(0.05)
    counts["orphans"] += len(left)
    log = folder / "log"
    if "Traceback" in (text := log.read_text(errors="replace")):
        counts["tracebacks"] += 1
        print(text, file=sys.stderr)
    log.unlink()
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    ours = [name for name in found if "matplotlib" not in name.parts]  # that heals its own
    for name in [name for name in ours if not whole(folder / name)]:
        counts["torn"] += 1
        print(f"torn: {name}", file=sys.stderr)


def whole(path: Path) -> bool:
    """Whether a file is what was meant to be written, by what it says of itself."""
    from radio_bnn.inference.checkpoint import is_whole

    if path.suffix == ".pt":
        return is_whole(path.read_bytes())
    if path.suffix == ".ipynb":
        return "cells" in json.loads(path.read_text())
    if path.suffix == ".json":
        return readable(path)
    return True


def readable(path: Path) -> bool:
    """Whether the package reads the record of a run, with all that it checks."""
    from radio_bnn.runs import records

    try:
        return records.read(path.parent, path.stem) is not None
    except ValueError:
        return False


def made(folder: Path) -> dict[str, bytes]:
    """What a victim made, byte by byte; of a record its JSON, without how long it took, which digests the arrays."""
    found = {}
    for path in sorted((folder / "out").rglob("*")):
        if path.is_file() and path.suffix != ".npz":
            content = path.read_bytes()
            if path.suffix == ".json":
                values = json.loads(content)
                values["provenance"].pop("wall_seconds", None)
                values.pop("sha256", None)  # of the text with the seconds
                content = json.dumps(values).encode()
            found[str(path.relative_to(folder))] = content
    return found


def undisturbed(name: str, folder: Path, counts: Counter) -> float:
    """Let the victim do its work, and return the seconds it took."""
    pid = start(name, folder)
    ready = time.monotonic()
    code = wait(pid, WHOLE_RUN)
    seconds = time.monotonic() - ready
    if code != 0:
        counts["lost"] += 1
        print(f"{name}: exit {code} after {seconds:.0f} s: {(folder / 'log').read_text()}", file=sys.stderr)
    look(pid, folder, counts)
    return seconds


def cluster(name: str, folder: Path):
    """The cluster that a victim uses, if it uses one; its address and the pids of its workers lie in the folder."""
    from contextlib import nullcontext

    if name != "dask":
        return nullcontext()
    from dask.distributed import LocalCluster

    own = {key: value for key, value in environment(folder).items() if key != MARK}
    found = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, env=own, silence_logs=50)
    (folder / "scheduler").write_text(found.scheduler_address)
    (folder / "workers").write_text(" ".join(str(worker.pid) for worker in found.workers.values()))
    return found


def torture(name: str, signals: int, rng: random.Random, place: Path) -> Counter:
    """Send so many signals to a victim and compare what it makes with what it makes undisturbed."""
    counts = Counter(signals=0)
    if VICTIMS[name].forked:  # once for all copies of this process
        importlib.import_module("scenarios")
        importlib.import_module("radio_bnn.cli")
    reference = place / f"{name} undisturbed"
    reference.mkdir(parents=True)
    with cluster(name, reference):
        seconds = undisturbed(name, reference, counts)
    expected, trial = made(reference), 0
    while counts["signals"] < signals:
        folder, trial = place / f"{name} {trial}", trial + 1
        folder.mkdir()
        with cluster(name, folder):
            for _ in range(min(ROUNDS, signals - counts["signals"])):
                suffer(name, folder, seconds, rng, counts)
            undisturbed(name, folder, counts)
        found = made(folder)
        counts["lost"] += sum(found.get(path) != content for path, content in expected.items())
        counts["litter"] += len(found.keys() - expected.keys()) + sum(1 for _ in folder.rglob("*.partial"))
        shutil.rmtree(folder)
    return counts


BAD = ("lost", "torn", "orphans", "tracebacks", "hangs", "litter", "wrong exits")


def report(name: str, counts: Counter) -> str:
    """One line on what a victim suffered."""
    by = ", ".join(f"{counts[key]} {key}" for key in [*(s.name for s in SIGNALS), "to a worker"] if counts[key])
    return f"{name}: {counts['signals']} signals ({by}): " + ", ".join(f"{counts[key]} {key}" for key in BAD)


def main() -> int:
    """Kill every victim its share of ``--signals``; 1 if anything was lost, torn or left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=VICTIMS, action="append")
    parser.add_argument("--signal", choices=[s.name for s in SIGNALS], action="append", help="default: any of them")
    parser.add_argument("--galaxies", default="200", help="that `classify` classifies")
    parser.add_argument("--victim", nargs=2, metavar=("NAME", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.victim:
        return call(options.victim[0], Path(options.victim[1]))
    SIGNALS[:] = [s for s in SIGNALS if s.name in (options.signal or s.name)]
    os.environ[GALAXIES] = options.galaxies
    chosen = options.only or list(VICTIMS)
    shares, bad, started = sum(VICTIMS[name].share for name in chosen), 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="radio_bnn-kill-") as place:
        for name in chosen:
            wanted = -(-options.signals * VICTIMS[name].share // shares)
            counts = torture(name, wanted, random.Random(f"{options.seed} {name}"), Path(place))
            print(report(name, counts), flush=True)
            bad += sum(counts[key] for key in BAD)
    print(f"{time.monotonic() - started:.0f} s, seed {options.seed}: {'all well' if not bad else f'{bad} faults'}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
