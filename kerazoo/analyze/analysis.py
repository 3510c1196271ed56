"""What each layer of a model is, costs and sees."""
import dataclasses
import math

import keras

from kerazoo.analyze import memory, tables
from kerazoo.analyze.graph import at_inference, flatten
from kerazoo.analyze.kinds import describe
from kerazoo.analyze.rows import COLUMNS, Row, record, sides
from kerazoo.analyze.views import numbers, pixels, sights
from kerazoo.networks import has_graph
from kerazoo.words import amount


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
            f"{'at least ' * bool(unknown)}{amount(self.macs)} MACs an image",
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
    check_model(model, "analyze")
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


def check_model(model, who):
    """Refuse what is no model with a graph, for `who` asks for one."""
    if isinstance(model, str):
        from kerazoo.registry import nearest, table

        if model in table():
            raise ValueError(
                f"{who} takes a keras.Model; got {model!r}, which is a name. Write kerazoo.{who}(kerazoo.{model}()); "
                f"at the terminal, `kerazoo show {model}` prints its layers."
            )
        raise ValueError(
            f"{who} takes a keras.Model; got {model!r}{nearest(model, table())} kerazoo.create_model(name) builds a "
            "model, and kerazoo.load_model(path) loads one."
        )
    if isinstance(model, keras.Model) and not has_graph(model):
        if type(model) is keras.Sequential:
            raise ValueError(
                f"{model.name} is not built, so that its layers have no shapes. Begin it with keras.Input((height, "
                "width, channels)), or call it once on images."
            )
        raise ValueError(
            f"{model.name} is a {type(model).__name__}, a subclass with a call of its own: {who} cannot see which "
            "layers it runs in which order. Write it as a functional keras.Model, or take the functional ones in it."
        )
    if not has_graph(model):
        raise ValueError(f"{who} takes a built functional keras.Model; got {model!r}.")


def trained(operation):
    return getattr(operation, "trainable_weights", ())


def count(weights):
    return sum(math.prod(weight.shape) for weight in weights)


def last_map(rows, order):
    """The receptive field of the last layer on the way to the output whose units see less than the whole image."""
    shown = [rows[place] for place in order if rows[place].receptive_field != ()]
    maps = [row.receptive_field for row in shown if row.receptive_field]
    # The image itself, padded or scaled, is no map of features; what a 1x1 convolution makes of it is one.
    return maps[-1] if makes_maps(shown) else shown[-1].receptive_field if shown else ()


def makes_maps(rows):
    """Whether any of these layers puts out a map of features, which has looked at more than a pixel, or weighed it."""
    return any(row.receptive_field and (row.kernel or row.macs or max(row.receptive_field) != 1) for row in rows)


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
