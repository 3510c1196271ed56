"""Figures as a person says them."""


def amount(number, unit="", digits=4):
    """A count in words, with a prefix by its size: 296, 12.34 k, 416.5 k, 15.47 G; of a unit, 3.06 MB."""
    value, prefixes = float(number), ["", "k", "M", "G", "T"]
    while value >= 1000 - 5 * 10.0 ** (2 - digits) and len(prefixes) > 1:  # which would be rounded to 1000
        value /= 1000
        del prefixes[0]
    return f"{value:,.{digits}g} {prefixes[0]}{unit}".rstrip()


def duration(seconds):
    """Seconds in words: 4.2 s, 41 s, 3:05 min, 2:00 h."""
    seconds = round(seconds) if seconds >= 10 else round(seconds, 1)
    if seconds < 60:
        return f"{seconds:g} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"
