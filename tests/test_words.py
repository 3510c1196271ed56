"""Figures as a person says them."""
import pytest

from kerazoo.words import amount, duration


@pytest.mark.parametrize(("seconds", "said"), [
    (0, "0 s"), (0.04, "0 s"), (4.26, "4.3 s"), (9.97, "10 s"), (41.4, "41 s"), (59.6, "1:00 min"), (185, "3:05 min"),
    (3599.6, "1:00 h"), (7200, "2:00 h"), (100 * 3600, "100:00 h"),
])
def test_durations_are_told_as_a_person_says_them(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(("number", "said"), [
    (0, "0"), (296, "296"), (999, "999"), (1000, "1 k"), (12_340, "12.34 k"), (416_520, "416.5 k"),
    (999_949, "999.9 k"), (999_999, "1 M"), (4_089_284_608, "4.089 G"), (1e9 * 15.47026, "15.47 G"), (9e15, "9,000 T"),
])
def test_counts_have_a_unit_by_their_size(number, said):
    assert amount(number) == said
