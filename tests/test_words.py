"""Figures as a person says them."""
import pytest

from kerazoo.words import duration


@pytest.mark.parametrize(("seconds", "said"), [
    (0, "0 s"), (0.04, "0 s"), (4.26, "4.3 s"), (9.97, "10 s"), (41.4, "41 s"), (59.6, "1:00 min"), (185, "3:05 min"),
    (3599.6, "1:00 h"), (7200, "2:00 h"), (100 * 3600, "100:00 h"),
])
def test_durations_are_told_as_a_person_says_them(seconds, said):
    assert duration(seconds) == said
