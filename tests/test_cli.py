"""Whatever ends a command is one line and an exit status."""

import os
import signal

import pytest

from radio_bnn import cli

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def heard():
    """No signal is ignored, as INT is where these tests run in the background of a shell, and HUP under nohup."""
    before = {n: signal.signal(n, signal.default_int_handler) for n in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def sent(number: int):
    """A command that gets a signal."""

    def command() -> None:
        signal.raise_signal(number)
        pytest.fail("the command went on")

    return command


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_a_command_in_one_line(capsys, number):
    before = [signal.getsignal(n) for n in NUMBERS]
    assert cli.in_one_line(sent(number), for_good=False) == 128 + number
    said = f"radio-bnn: stopped by {number.name}: nothing is half written, and the same call makes what is missing\n"
    assert capsys.readouterr().err == said
    assert [signal.getsignal(n) for n in NUMBERS] == before


def test_an_interrupt_that_no_signal_of_ours_raised_is_the_same(capsys):
    def command() -> None:
        raise KeyboardInterrupt

    assert cli.in_one_line(command, for_good=False) == 130
    assert capsys.readouterr().err.startswith("radio-bnn: stopped by SIGINT: ")


def test_a_signal_that_is_ignored_stays_so():
    """As nohup wants it: what runs on after its terminal was closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.in_one_line(lambda: signal.raise_signal(signal.SIGHUP), for_good=False) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


class Exited(BaseException):
    """The process has ended, in a test."""


@pytest.mark.parametrize("for_good", [True, False])
def test_a_second_signal_ends_the_process_at_once(monkeypatch, for_good):
    """Also the first one after all is done, where nothing can be stopped any more and a traceback would be wrong."""

    def exits(status: int) -> None:
        raise Exited(status)

    monkeypatch.setattr(os, "_exit", exits)
    before = {n: signal.getsignal(n) for n in NUMBERS}

    def stubborn() -> None:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    try:
        with pytest.raises(Exited, match="143"):
            cli.in_one_line(stubborn, for_good=for_good)
        if for_good:
            assert cli.in_one_line(lambda: None, for_good=True) == 0
            with pytest.raises(Exited, match="129"):
                signal.raise_signal(signal.SIGHUP)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("error", [ValueError("no such thing"), OSError("no such file")])
def test_an_error_is_one_line(capsys, error):
    def command() -> None:
        raise error

    assert cli.in_one_line(command, for_good=False) == 1
    assert capsys.readouterr().err == f"radio-bnn: error: {error}\n"
