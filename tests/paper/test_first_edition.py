import json
import re
import subprocess

import pytest

from radio_bnn.files import CHECKOUT
from radio_bnn.paper import first_edition
from radio_bnn.paper.claims import CLAIMS

BOOK = CHECKOUT / "book"


@pytest.fixture(scope="module")
def found():
    return first_edition.load()


@pytest.fixture(scope="module")
def history():
    ask = ["git", "-C", str(CHECKOUT), "cat-file", "-e", "e08b982^{commit}"]
    if subprocess.run(ask, capture_output=True).returncode:
        pytest.skip("needs the history of the repository")


def test_the_committed_file_is_what_the_history_says(found, history):
    assert found == json.loads(json.dumps(first_edition.made()))


def test_the_committed_tables_are_those_of_the_file(found):
    for name, text in first_edition.pages(found).items():
        assert (BOOK / "_generated" / f"first_edition_{name}.md").read_text() == text + "\n"


def test_every_claim_had_a_rule_and_a_verdict_in_every_state(found):
    for commit in first_edition.VERDICTS:
        assert set(found["verdicts"][commit]) == set(CLAIMS)
    assert set(found["rules"]["e08b982"]) == set(CLAIMS)


def test_the_numbers_are_those_of_the_scoreboard_of_their_commit(found, history):
    """An independent way to the same numbers: the page that was committed."""
    for commit in first_edition.VERDICTS:
        board = first_edition._text(commit, "book/_generated/scoreboard.md")
        for claim, verdict in found["verdicts"][commit].items():
            [line] = [line for line in board.splitlines() if line.startswith(f"| [{claim},")]
            assert f"**{verdict['verdict']}**" in line
            if verdict["value"] is not None:
                shown = re.search(r"\*\*(\S+) \[(\S+), (\S+)\]", line.split("|")[4]).groups()
                digits = len(shown[0].partition(".")[2])
                numbers = (verdict["value"], verdict["low"], verdict["high"])
                assert [round(x, digits) for x in numbers] == pytest.approx([float(x) for x in shown])


def test_the_four_deleted_records_are_there_and_called_so(found):
    runs = [name for name, run in found["runs"].items() if run["deleted_at"]]
    pruning = [name for name, record in found["pruning"].items() if record["deleted_at"]]
    assert sorted(runs) == ["4a72e7075b6f", "611c7b0a3cf0", "de4f7a6a0c70"] and pruning == ["de4f7a6a0c70"]
    text = first_edition.pages(found)["deleted"]
    assert all(f"{name}: " in text for name in runs)
    share = found["pruning"]["de4f7a6a0c70"]["fractions"].index(0.3)
    error = found["pruning"]["de4f7a6a0c70"]["scores"]["snr"]["error_percent"]
    assert error[share] - error[0] == pytest.approx(found["verdicts"]["0115819"]["C3"]["value"], abs=1e-3)


def test_events_are_in_order_of_time(found):
    dates = [event["date"] for event in found["events"]]
    assert dates == sorted(dates)


@pytest.mark.parametrize("content", ["", "{}", "null", "[1]"])
def test_a_damaged_file_is_one_clear_error(tmp_path, content):
    (tmp_path / "results").mkdir()
    (tmp_path / first_edition.FILE).write_text(content)
    with pytest.raises(ValueError, match="first_edition.json cannot be read"):
        first_edition.load(tmp_path)


def test_without_history_the_command_says_so_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(first_edition, "CHECKOUT", tmp_path)
    assert first_edition.main() == 1
    assert "in a checkout" in capsys.readouterr().err and not list(tmp_path.iterdir())
