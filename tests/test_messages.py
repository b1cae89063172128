import pytest
from hypothesis import given
from hypothesis import strategies as st

from radio_bnn.messages import LONGEST, meant, shown


@given(st.recursive(st.text() | st.integers() | st.floats(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_what_is_shown_is_one_short_line(value):
    assert len(shown(value)) <= LONGEST and len(shown(value).splitlines()) == 1


@pytest.mark.parametrize("value", [3, -0.5, "laplace", None, True, ["a", 1], (0.1,), {"seed": 3}])
def test_what_is_short_is_shown_as_it_is(value):
    assert shown(value) == repr(value)


def test_what_refers_to_itself_a_billion_times_is_shown_at_once():
    bomb = ["lol"] * 9
    for _ in range(9):
        bomb = [bomb] * 9
    assert shown(bomb).startswith("[[[...], [...]")
    bomb[0] = bomb
    assert len(shown(bomb)) <= LONGEST
    assert shown(10**5000) == "int too long to print"


def test_a_name_that_is_like_a_known_one_is_offered():
    assert meant("temprature", ["seed", "temperature"]) == ": did you mean 'temperature'?"
    assert meant("x" * 10**6, ["seed"]) == meant(3, ["seed"]) == meant("zzz", ["seed"]) == ""
