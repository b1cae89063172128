"""What `pytest --nbval book` needs: the chapters' kernel environment, and cells left out where MiraBest is absent."""

from __future__ import annotations

import pytest

from radio_bnn.paper.chapters import NEEDS_MIRABEST, kernel_environment, mirabest_is_absent

LEFT_OUT = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the kernels of nbval in the environment in which the chapters were executed."""
    config.stash[LEFT_OUT] = 0
    if config.getoption("nbval", False) or config.getoption("nbval_lax", False):
        environment = kernel_environment()
        environment.__enter__()
        config.add_cleanup(lambda: environment.__exit__(None, None, None))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the cells that need MiraBest's pixels where it is absent."""
    tagged = [item for item in items if NEEDS_MIRABEST in tags_of(item)]
    if tagged and mirabest_is_absent():
        config.stash[LEFT_OUT] = len(tagged)
        config.hook.pytest_deselected(items=tagged)
        items[:] = [item for item in items if item not in tagged]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many cells were left out."""
    if left_out := config.stash[LEFT_OUT]:
        terminalreporter.write_line(
            f"MiraBest is not on this machine: {left_out} cells tagged {NEEDS_MIRABEST} were left out."
        )


def tags_of(item: pytest.Item) -> list[str]:
    """The tags of a notebook cell that nbval collected; empty for any other test."""
    cell = getattr(item, "cell", None)
    return cell.metadata.get("tags", []) if cell is not None else []
