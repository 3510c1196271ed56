"""What each layer of a model is, costs and sees."""
import dataclasses
import math

import keras

from kerazoo.analyze import fields, memory, tables
from kerazoo.analyze.graph import at_inference, flatten, needed
from kerazoo.analyze.kinds import describe
from kerazoo.networks import has_graph


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


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The layers of a model and their totals; `str()` is a table for the terminal.

    Attributes:
        name: of the model.
        rows: a list of `Row`, in the order of `model.summary()`.
        parameters, trainable: of all layers.
        macs: of all layers whose multiply-accumulates can be told.
        activation_bytes: the most that activations take at once at inference, for one image: layers run one after
            another, each output is freed when none reads it again, layers that work value by value write over their
            input, and the image itself does not count.
        training_bytes: what the forward pass keeps for the backward pass, for one image: each tensor that a gradient
            reads again, once, the image itself not counted.
        receptive_field: (height, width) of the last feature map's units; None where they see the whole image.
        notes: what the figures leave out, in sentences.
    """

    name: str
    rows: list
    activation_bytes: int = 0
    receptive_field: tuple | None = ()
    notes: list = dataclasses.field(default_factory=list)

    @property
    def parameters(self):
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self):
        return sum(row.trainable for row in self.rows)

    @property
    def macs(self):
        return sum(row.macs or 0 for row in self.rows)

    @property
    def training_bytes(self):
        return sum(row.training_bytes for row in self.rows)

    def __str__(self):
        return tables.text(COLUMNS, self.rows, self.totals())

    def __repr__(self):
        return f"<Analysis of {self.name}: {len(self.rows)} layers>"

    def _repr_html_(self):
        return self.to_html()

    def to_html(self):
        """Return the table as HTML: one `<table>` with its totals, everything escaped, nothing loaded.

        Example:
            >>> html = kerazoo.analyze(kerazoo.lenet5()).to_html()
        """
        return tables.html(COLUMNS, self.rows, self.totals(), f"Layers of {self.name}")

    def to_csv(self, path=None):
        """Write the rows as CSV, plain numbers in separate columns.

        Args:
            path: the file; None: return the text.

        Returns:
            The text, or None if it was written to a file.

        Example:
            >>> kerazoo.analyze(kerazoo.lenet5()).to_csv("lenet5.csv")
        """
        return tables.csv_text(self.records(), path)

    def to_frame(self):
        """Return the rows as a `pandas.DataFrame`, one row a layer, plain numbers in separate columns.

        Raises:
            ModuleNotFoundError: without pandas.

        Example:
            >>> frame = kerazoo.analyze(kerazoo.resnet18()).to_frame()
            >>> frame.nlargest(5, "macs")[["name", "macs"]]
        """
        return tables.frame(self.records())

    def records(self):
        """The rows as dictionaries of plain values, as `to_csv` and `to_frame` show them."""
        return [record(row) for row in self.rows]

    def totals(self):
        """What stands below the table: lines."""
        unknown = [row for row in self.rows if row.macs is None]
        lines = [
            f"{self.name}: {self.trainable:,} trainable parameters, {self.parameters - self.trainable:,} others, "
            f"{'at least ' * bool(unknown)}{tables.macs_in_words(self.macs)} MACs an image",
            f"activations of one image: {tables.size(self.activation_bytes)} at most at once at "
            f"inference, {tables.size(self.training_bytes)} kept for the backward pass in training",
        ]
        if self.receptive_field != ():
            last = next((row for row in reversed(self.rows) if row.receptive_field == self.receptive_field), None)
            where = f" ({last.name})" if last and self.receptive_field else ""
            lines.append(f"receptive field of the last feature map{where}: {sides(self.receptive_field)}")
        return [*lines, *self.notes]


def analyze(model, input_shape=None):
    """Tell what each layer of a model is, costs and sees.

    Nested models are opened, and a layer that is used twice has two rows. Receptive fields are exact through branches
    (the largest path, and the smallest beside it), dilation, padding, pooling, up- and downsampling. They leave out
    what scales a whole map at once, as published tables do: gates, such as squeeze-and-excitation, and the statistics
    of norms; the table says where. A function of your own as a layer's activation is taken to work value by value. See
    docs/receptive-fields.md.

    Args:
        model: a built functional or sequential `keras.Model` on images, (batch, height, width, channels).
        input_shape: (height, width, channels) in pixels, for a model that takes any size.

    Returns:
        An `Analysis`: print it, or see its `rows`, its totals, `to_frame()`, `to_html()` and `to_csv()`. What cannot be
        told, as of a Lambda, is marked "?" and named in `notes`.

    Raises:
        ValueError: if the model is subclassed or not built, so that it has no layers to follow; if its image size is
            open and no input_shape given; or if the channels come first.

    Example:
        >>> print(kerazoo.analyze(kerazoo.lenet5()))
        >>> kerazoo.analyze(kerazoo.resnet50()).receptive_field
        (427, 427)

    Reference:
        Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks, Distill 2019,
        https://distill.pub/2019/computing-receptive-fields/
    """
    check_model(model)
    graph = flatten(model, input_shape)
    deeds = [describe(call, graph.values) for call in graph.calls]
    working = at_inference(graph)
    order = sorted(working)
    keeps = memory.kept(graph, deeds)
    views = sights(graph, deeds)
    rows, counted = [], set()
    for place, (call, deed) in enumerate(zip(graph.calls, deeds)):
        weights = [weight for weight in getattr(call.operation, "weights", ()) if id(weight) not in counted]
        counted.update(map(id, weights))
        view, shape = views[call.outputs[0]], graph.values[call.outputs[0]].shape
        grid = len(shape) > 1 and math.prod(shape[:-1]) > 1
        rows.append(Row(
            call.name, type(call.operation).__name__, shape, count(weights),
            count(weight for weight in weights if any(weight is one for one in trained(call.operation))),
            deed.macs if place in working or deed.macs is None else 0,
            deed.kernel, deed.stride, deed.padding, deed.dilation,
            sum(memory.size_of(graph.values[number]) for number in call.outputs), keeps.get(place, 0),
            pixels(view.largest, graph), pixels(view.smallest, graph),
            numbers(view.largest, "jump") if grid else None, numbers(view.largest, "start") if grid else None,
            view.gated, deed.unseen,
        ))
    return Analysis(
        model.name, rows, memory.peak(graph, order, deeds), last_map(rows, order), notes(graph, rows, views),
    )


def check_model(model):
    if isinstance(model, keras.Model) and not has_graph(model):
        if type(model) is keras.Sequential:
            raise ValueError(
                f"{model.name} is not built, so that its layers have no shapes. Begin it with keras.Input((height, "
                "width, channels)), or call it once on images."
            )
        raise ValueError(
            f"{model.name} is a {type(model).__name__}, a subclass with a call of its own: analyze cannot see which "
            "layers it runs in which order. Write it as a functional keras.Model, or analyze the functional ones in it."
        )
    if not has_graph(model):
        raise ValueError(f"analyze takes a built functional keras.Model; got {model!r}.")


def trained(operation):
    return getattr(operation, "trainable_weights", ())


def count(weights):
    return sum(math.prod(weight.shape) for weight in weights)


# What each value sees of the image.


@dataclasses.dataclass(frozen=True)
class View:
    """What a value's units see: a field an axis of the image, through the largest and through the shortest path.

    `lost` says in words why it is unknown, where this is not for an unseen layer.
    """

    largest: tuple
    smallest: tuple
    gated: bool = False
    lost: str = ""


def sights(graph, deeds):
    """{number of a value: View}."""
    views = {}
    for number in graph.inputs:
        axes = (fields.PIXEL,) * max(len(graph.values[number].shape) - 1, 0)
        views[number] = View(axes, axes)
    for call, deed in zip(graph.calls, deeds):
        if not call.inputs:
            continue
        inputs = needed(call)
        seen = [views[number] for number in inputs]
        shapes = [graph.values[number].shape for number in inputs]
        view = merged(seen, shapes, deed)
        if deed.unseen:
            # What sees the whole image already can see no more.
            view = view if fields.WHOLE in view.largest else unknown(len(view.largest), view.gated)
        elif deed.windows is None:
            whole = (fields.WHOLE,) * len(view.largest)
            view = View(whole, whole, view.gated)
        elif deed.windows and len(deed.windows) == len(view.largest):
            view = View(
                tuple(map(fields.see, view.largest, deed.windows)),
                tuple(map(fields.see, view.smallest, deed.windows)), view.gated,
            )
        elif deed.windows and view.largest and fields.WHOLE not in view.largest:
            why = "" if fields.UNKNOWN in view.largest else f"{type(call.operation).__name__} works along other axes"
            view = unknown(len(view.largest), view.gated, why)
        if deed.left_out:
            view = dataclasses.replace(view, gated=True)
        views |= dict.fromkeys(call.outputs, view)
    return views


def unknown(axes, gated, why=""):
    return View((fields.UNKNOWN,) * axes, (fields.UNKNOWN,) * axes, gated, why)


def merged(seen, shapes, deed):
    """The view of a unit that reads the units at its own place in several inputs."""
    on_image = [(view, shape) for view, shape in zip(seen, shapes) if view.largest]
    if not on_image:
        return seen[0]
    spread = max(math.prod(shape[:-1]) for _, shape in on_image)
    on_map = [view for view, shape in on_image if math.prod(shape[:-1]) == spread]
    gated = any(view.gated for view, _ in on_image)
    others = [(view, shape) for view, shape in on_image if math.prod(shape[:-1]) < spread]
    if deed.merges == "gate":
        # One factor for the whole map is left out; one a row or a column is not.
        factors = [view for view, shape in others if math.prod(shape[:-1]) == 1]
        others = [(view, shape) for view, shape in others if math.prod(shape[:-1]) > 1]
        gated = gated or bool(factors)
    read = on_map + [view for view, _ in others]
    if len({len(view.largest) for view in read}) > 1:
        return unknown(len(on_map[0].largest), gated, "maps of different axes meet")
    largest = tuple(map(fields.join, zip(*(view.largest for view in read))))
    smallest = tuple(map(fields.smaller, zip(*(view.smallest for view in on_map))))
    known = fields.UNKNOWN not in largest or any(fields.UNKNOWN in view.largest for view in read)
    return View(largest, smallest, gated, "" if known else "paths of different jumps meet")


def pixels(axes, graph):
    """(height, width) of a view; None for the whole image."""
    if axes and all(axis == fields.WHOLE for axis in axes):
        return None
    sides = next((graph.values[number].shape for number in graph.inputs if len(graph.values[number].shape) > 1), ())
    return tuple(
        math.nan if axis == fields.UNKNOWN else side if axis == fields.WHOLE else axis.size
        for axis, side in zip(axes, sides)
    )


def numbers(axes, what):
    """The jump or start on each axis of a view, integers where they are."""
    values = [getattr(axis, what, None) for axis in axes]
    if not values or None in values:
        return None
    return tuple(int(value) if value == int(value) else float(value) for value in values)


def last_map(rows, order):
    """The receptive field of the last layer on the way to the output whose units see less than the whole image."""
    shown = [rows[place] for place in order if rows[place].receptive_field != ()]
    maps = [row.receptive_field for row in shown if row.receptive_field]
    # The image itself, padded or scaled, is no map of features; what a 1x1 convolution makes of it is one.
    made = any(row.receptive_field and (row.kernel or row.macs or max(row.receptive_field) != 1) for row in shown)
    return maps[-1] if made else shown[-1].receptive_field if shown else ()


def notes(graph, rows, views):
    """What the figures leave out, in sentences."""
    found = []
    gate = next((
        call.name for call in graph.calls
        if views[call.outputs[0]].gated and not any(views[number].gated for number in call.inputs)
    ), None)
    if gate:
        found.append(
            f"* without what scales a whole map at once, from {gate} on: through it, every unit sees the whole image"
        )
    for row in rows:
        if row.unseen:
            found.append(f"? {row.name}: analyze cannot tell {row.unseen}")
    lost = next(((call.name, why) for call in graph.calls if (why := views[call.outputs[0]].lost)), None)
    if lost:
        found.append(f"? {lost[0]}: {lost[1]}, so that its units have no place in the image")
    images = [number for number in graph.inputs if len(graph.values[number].shape) > 1]
    if len(images) > 1:
        found.append(f"{len(images)} inputs: receptive fields are those on each of them, as if they were one image")
    return found


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
