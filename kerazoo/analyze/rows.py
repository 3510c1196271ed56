"""One row a layer: what there is to say of it, and how a table shows it."""
import dataclasses
import math

from kerazoo.analyze import tables


@dataclasses.dataclass(frozen=True)
class Row:
    """One use of a layer.

    Attributes:
        name: the layer's; inside of a nested model "model/layer"; "layer (use 2)" where a layer works a second time.
        kind: its class.
        kernel, stride, dilation: (rows, columns), or None for a layer without.
        padding: ((top, bottom), (left, right)) in units of the layer's input, or None for a layer without.
        output_shape: without the batch.
        parameters, trainable: all weights, and those that are trained; 0 where a layer works a second time.
        macs: multiply-accumulates of convolutions and dense layers for one image at inference, without biases, as the
            papers count them; 0 for layers for training alone, such as auxiliary heads; None where they cannot be told.
        activation_bytes: of its output, for one image.
        training_bytes: of what it makes and the backward pass reads again, for one image.
        receptive_field: (height, width) in pixels of what one unit of its output sees of the image, padding included,
            through the largest path; None: the whole image; NaN where it cannot be told; () without an image.
        smallest_receptive_field: the same through the shortest path.
        jump: (vertical, horizontal) pixels between neighboring units; None where the units are not in a grid.
        start: (vertical, horizontal) middle of what the first unit sees, in pixels from the image's upper left corner,
            so that the middle of the first pixel is 0.5.
        gated: whether factors that depend on the whole image, which receptive fields leave out, come into it.
        unseen: what could not be told of the layer, in words; "" where all is known.
    """

    name: str
    kind: str
    output_shape: tuple
    parameters: int
    trainable: int
    macs: int | None
    kernel: tuple | None = None
    stride: tuple | None = None
    padding: tuple | None = None
    dilation: tuple | None = None
    activation_bytes: int = 0
    training_bytes: int = 0
    receptive_field: tuple | None = ()
    smallest_receptive_field: tuple | None = ()
    jump: tuple | None = None
    start: tuple | None = None
    gated: bool = False
    unseen: str = ""


# How a row is shown.


def sides(pair):
    """Pixels: "7" for (7, 7), "1x7" for (1, 7), "all" for the whole image."""
    if pair is None:
        return "the whole image"
    return f"{' x '.join('?' if math.isnan(side) else str(side) for side in pair)} pixels"


def short(pair, sign="x"):
    """A number for equal ones, else both: "3", "1x7", "0.5"."""
    if not pair:
        return ""
    shown = ["?" if isinstance(one, float) and math.isnan(one) else f"{one:g}" for one in pair]
    return shown[0] if len(set(shown)) == 1 else sign.join(shown)


def cell_kernel(row):
    return "x".join(map(str, row.kernel)) if row.kernel else ""


def cell_padding(row):
    """"1" for one on each side, "0+1" for one at the end alone, "3x0" for rows alone."""
    if row.padding is None:
        return ""
    shown = [f"{before}" if before == after else f"{before}+{after}" for before, after in row.padding]
    return shown[0] if len(set(shown)) == 1 else "x".join(shown)


def cell_field(row):
    if row.receptive_field == ():
        return ""
    if row.receptive_field is None:
        return "all"
    least = row.smallest_receptive_field
    ranged = least is not None and least != row.receptive_field and not any(map(math.isnan, row.receptive_field))
    return f"{short(least) + '..' if ranged else ''}{short(row.receptive_field)}{'*' * row.gated}"


COLUMNS = (
    tables.Column("layer", lambda row: row.name, left=True),
    tables.Column("kind", lambda row: shorter(row.kind), left=True),
    tables.Column("kernel", cell_kernel),
    tables.Column("stride", lambda row: short(row.stride)),
    tables.Column("pad", cell_padding),
    tables.Column("dilation", lambda row: short(row.dilation) if row.dilation and max(row.dilation) > 1 else ""),
    tables.Column("output", lambda row: " x ".join(map(str, row.output_shape)), left=True),
    tables.Column("trainable", lambda row: f"{row.trainable:,}" if row.trainable else ""),
    tables.Column("others", lambda row: f"{row.parameters - row.trainable:,}" * (row.parameters > row.trainable)),
    tables.Column("MACs", lambda row: "?" if row.macs is None else f"{row.macs:,}" if row.macs else ""),
    tables.Column("memory", lambda row: tables.size(row.activation_bytes)),
    tables.Column("kept", lambda row: tables.size(row.training_bytes) if row.training_bytes else ""),
    tables.Column("field", cell_field),
    tables.Column("jump", lambda row: short(row.jump)),
    tables.Column("start", lambda row: short(row.start)),
)

SHORTER = (("Normalization", "Norm"), ("Pooling", "Pool"), ("Padding", "Pad"), ("Average", "Avg"), ("Response", "Resp"))


def shorter(kind):
    """A class's name as it fits the table."""
    for word, abbreviation in SHORTER:
        kind = kind.replace(word, abbreviation)
    return kind


def record(row):
    """A row as a dictionary of plain values."""
    plain = {
        "name": row.name, "kind": row.kind, "output_shape": "x".join(map(str, row.output_shape)),
        "parameters": row.parameters, "trainable": row.trainable, "macs": row.macs,
        "activation_bytes": row.activation_bytes, "training_bytes": row.training_bytes,
    }
    for name in ("kernel", "stride", "dilation", "receptive_field", "smallest_receptive_field", "jump", "start"):
        plain |= by_axis(name, getattr(row, name))
    sides = (("front", "back"), ("top", "bottom"), ("left", "right"))
    padding = row.padding or ((None, None),) * 2
    for side, pair in zip(sides[-max(len(padding), 2):], padding):
        plain |= {f"padding_{name}": value for name, value in zip(side, pair)}
    return plain | {
        "whole_image": row.receptive_field is None, "gated": row.gated, "unseen": row.unseen,
    }


def by_axis(name, values):
    """One figure an axis as single ones: {"kernel_height": 3, "kernel_width": 3}."""
    values = values or (None, None)
    axes = ("depth", "height", "width")[-max(len(values), 2):]
    return {f"{name}_{axis}": value for axis, value in zip(axes, values)}
