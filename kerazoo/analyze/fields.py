"""Receptive fields along one axis: what each unit of a feature map sees of the image, border and all.

Along one axis of the image, unit i of a feature map sees an interval of pixels. Behind convolutions and poolings the
interval of unit i + 1 is that of unit i, moved on by the jump. Behind upsampling this holds only from each so-manieth
unit to the next: nearest-neighbor upsampling by two repeats every interval once. So a `Field` keeps the intervals of
one period of units, and every step through the network stays exact.

The recurrence for one path is that of Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks,
Distill 2019, https://distill.pub/2019/computing-receptive-fields/; where paths meet, the interval that covers those of
all paths is the largest path's.
"""
import dataclasses
import fractions
import math

WHOLE = "whole image"
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Field:
    """What the units along one axis see.

    Attributes:
        spans: for each unit of one period, (first, last) pixel that it sees, padding included: pixels left of the image
            are negative. None for a unit that sees none, as behind a transposed convolution with gaps.
        advance: pixels from one period of units to the next.
    """

    spans: tuple
    advance: int

    @property
    def period(self):
        return len(self.spans)

    def span(self, unit):
        """(first, last) pixel that this unit sees, or None."""
        periods, phase = divmod(unit, self.period)
        if self.spans[phase] is None:
            return None
        first, last = self.spans[phase]
        return first + periods * self.advance, last + periods * self.advance

    @property
    def size(self):
        """Pixels that the unit that sees most sees, from the first to the last."""
        return max((last - first + 1 for first, last in filter(None, self.spans)), default=0)

    @property
    def jump(self):
        """Pixels from one unit to the next, on average."""
        return fractions.Fraction(self.advance, self.period)

    @property
    def start(self):
        """The middle of what the first unit sees, in pixels from the image's edge; None if it sees nothing."""
        return None if self.spans[0] is None else (self.spans[0][0] + self.spans[0][1] + 1) / 2


PIXEL = Field(((0, 0),), 1)


@dataclasses.dataclass(frozen=True)
class Window:
    """Which places of its input each place of a layer's output reads, along one axis.

    Attributes:
        reads: for each place of one period of the output, (first, last) place of the input, or None for none.
        advance: places of the input from one period to the next.
    """

    reads: tuple
    advance: int


def sliding(kernel, stride=1, before=0, dilation=1):
    """The window of a convolution or pooling with `before` places of padding in front."""
    return Window(((-before, (kernel - 1) * dilation - before),), stride)


def spread(kernel, stride, cut, dilation=1):
    """The window of a transposed convolution, which cuts `cut` places off the front of what it spreads."""
    reads = []
    for place in range(stride):
        # Place p of the output is fed by place q of the input where p + cut = stride * q + dilation * tap.
        feeding = [
            (place + cut - dilation * tap) // stride for tap in range(kernel)
            if (place + cut - dilation * tap) % stride == 0
        ]
        reads.append((min(feeding), max(feeding)) if feeding else None)
    return Window(tuple(reads), 1)


# How many places an interpolation reads before and after the place between two pixels; "nearest" reads one.
REACH = {"bilinear": 0, "bicubic": 1, "lanczos3": 2, "lanczos5": 4}


def resized(old, new, interpolation):
    """The window of resizing `old` places to `new`, with the pixels' centers aligned, without antialiasing."""
    common = math.gcd(old, new)
    reads = []
    for place in range(new // common):
        if interpolation == "nearest":
            reads.append(((2 * place + 1) * old // (2 * new),) * 2)
            continue
        middle = fractions.Fraction(2 * place + 1, 2) * old / new - fractions.Fraction(1, 2)
        low, high = math.floor(middle), math.ceil(middle)
        # On a pixel's center the others weigh nothing.
        reach = REACH[interpolation] if low != high else 0
        reads.append((low - reach, high + reach))
    return Window(tuple(reads), old // common)


def cells(old, new):
    """The window of adaptive pooling: cell i of n covers the places floor(i s / n) to ceil((i + 1) s / n)."""
    common = math.gcd(old, new)
    return Window(
        tuple((i * old // new, -(-(i + 1) * old // new) - 1) for i in range(new // common)), old // common
    )


def shifted(places):
    """Every place reads the one `places` further on: cropping; with a negative number, padding."""
    return Window(((places, places),), 1)


def see(field, window):
    """The field behind a layer, from that in front of it and the layer's window."""
    if not isinstance(field, Field):
        return field
    # After so many periods of the window, the field's phase is the same again.
    repeats = field.period // math.gcd(field.period, window.advance) if window.advance else 1
    spans = []
    for turn in range(repeats):
        for read in window.reads:
            seen = None
            if read is not None:
                first, last = (place + turn * window.advance for place in read)
                # Intervals only move on, so that the outermost units decide; but some units may see nothing.
                low = next((field.span(place) for place in range(first, last + 1) if field.span(place)), None)
                high = next((field.span(place) for place in range(last, first - 1, -1) if field.span(place)), None)
                seen = low and (low[0], high[1])
            spans.append(seen)
    return shortest(spans, repeats * window.advance * field.advance // field.period)


def shortest(spans, advance):
    """The field with the shortest period that says the same."""
    count = len(spans)
    for period in range(1, count + 1):
        if count % period or advance * period % count:
            continue
        candidate = Field(tuple(spans[:period]), advance * period // count)
        if all(candidate.span(i) == spans[i] for i in range(count)):
            return candidate
    raise AssertionError("a sequence is its own period")


def join(fields):
    """The field of a unit that reads several units at its own place: what any of them sees.

    Fields of different jumps, which point to different places, have no common one: then it is `UNKNOWN`.
    """
    if UNKNOWN in fields:
        return UNKNOWN
    if WHOLE in fields:
        return WHOLE
    if len({field.jump for field in fields}) > 1:
        return UNKNOWN
    period = math.lcm(*(field.period for field in fields))
    spans = []
    for unit in range(period):
        seen = [span for span in (field.span(unit) for field in fields) if span]
        spans.append((min(first for first, _ in seen), max(last for _, last in seen)) if seen else None)
    return shortest(spans, int(fields[0].jump * period))


def smaller(fields):
    """The smallest of the fields, which is that of the shortest path."""
    if UNKNOWN in fields:
        return UNKNOWN
    known = [field for field in fields if isinstance(field, Field)]
    return min(known, key=lambda field: field.size) if known else WHOLE


def same_padding(size, kernel, stride=1, dilation=1):
    """(before, after): the padding of "same", by which an axis of `size` places gets ceil(size / stride) windows."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2
