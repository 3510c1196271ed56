"""Figures as a person says them."""


def amount(number):
    """A count in words, with a unit by its size: 296, 12.34 k, 416.5 k, 15.47 G."""
    value, units = float(number), ["", "k", "M", "G", "T"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:,.4g} {units[0]}".rstrip()


def duration(seconds):
    """Seconds in words: 4.2 s, 41 s, 3:05 min, 2:00 h."""
    seconds = round(seconds) if seconds >= 10 else round(seconds, 1)
    if seconds < 60:
        return f"{seconds:g} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"
