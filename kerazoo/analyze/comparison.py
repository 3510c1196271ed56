"""Models beside each other."""
import dataclasses

from kerazoo.analyze import tables
from kerazoo.analyze.analysis import analyze, check_model
from kerazoo.analyze.rows import by_axis, short
from kerazoo.words import amount


@dataclasses.dataclass(frozen=True)
class Summary:
    """One model of a comparison: the totals of its `Analysis`, and what is published about it, or None.

    Attributes:
        name, parameters, trainable, macs, activation_bytes, training_bytes, receptive_field: see `Analysis`.
        input_shape: (height, width, channels) in pixels.
        layers: with weights, trained or not.
        at_least: whether `macs` leaves out layers whose multiply-accumulates cannot be told.
        jump: (vertical, horizontal) pixels between the units of the last feature map, or None.
        gated: whether the receptive field leaves out factors that depend on the whole image.
        top1: published accuracy in percent.
        dataset: what it was measured on.
        notes: of the `Analysis`.
    """

    name: str
    input_shape: tuple
    layers: int
    parameters: int
    trainable: int
    macs: int
    at_least: bool
    activation_bytes: int
    training_bytes: int
    receptive_field: tuple | None
    jump: tuple | None
    gated: bool
    top1: float | None
    dataset: str
    notes: tuple


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Models beside each other; `str()` is a table for the terminal.

    Attributes:
        rows: a list of `Summary`, in the order given.
    """

    rows: list

    def __str__(self):
        return tables.text(COLUMNS, self.rows, self.below())

    def _repr_html_(self):
        return self.to_html()

    def to_html(self):
        """Return the table as HTML: one `<table>`, everything escaped, nothing loaded."""
        return tables.html(COLUMNS, self.rows, self.below(), "Models beside each other")

    def to_csv(self, path=None):
        """Write the rows as CSV to `path`, or return the text."""
        return tables.csv_text(self.records(), path)

    def to_frame(self):
        """Return the rows as a `pandas.DataFrame`.

        Raises:
            ModuleNotFoundError: without pandas.
        """
        return tables.frame(self.records())

    def records(self):
        """The rows as dictionaries of plain values."""
        found = []
        for row in self.rows:
            plain = dataclasses.asdict(row)
            plain |= {"input_shape": "x".join(map(str, row.input_shape)), "notes": " ".join(row.notes)}
            for name in ("receptive_field", "jump"):
                plain |= by_axis(name, plain.pop(name))
            found.append(plain)
        return found

    def below(self):
        lines = ["memory: of activations, for one image: at most at once at inference, and kept for the backward pass"]
        if any(row.at_least for row in self.rows):
            lines.append("≥ at least: there are layers whose MACs cannot be told")
        if any(row.gated for row in self.rows):
            lines.append("* without gates and the statistics of norms, through which every unit sees the whole image")
        if any(row.top1 is not None for row in self.rows):
            lines.append("top-1: as published, in percent, not measured here; kerazoo.facts(NAME).source says by whom")
        lines += [f"{row.name}: {note}" for row in self.rows for note in row.notes if note.startswith("?")]
        return lines


def compare(*models, input_shape=None):
    """Put models beside each other: size, work, memory, receptive field, published accuracy.

    Args:
        models: two or more names from `kerazoo.list_models`, or built functional models, ours or others.
        input_shape: (height, width, channels) in pixels, for those of the models that take any size.

    Returns:
        A `Comparison`: print it, or see its `rows`, `to_frame()`, `to_html()` and `to_csv()`. For a picture of accuracy
        against work and size, see `kerazoo.visualize.comparison`.

    Raises:
        ValueError: if there is no model of that name, or one cannot be analyzed.

    Example:
        >>> print(kerazoo.compare("resnet50", "densenet121", "vgg16"))
    """
    if len(models) == 1 and isinstance(models[0], (list, tuple)):
        models = models[0]
    if not models:
        raise ValueError("compare takes names of models, or models; got none. `kerazoo list`, or in Python "
                         "kerazoo.list_models(), names them all.")
    return Comparison([summary(model, input_shape) for model in models])


def summary(model, input_shape=None):
    from kerazoo import registry

    published = None
    if isinstance(model, str):
        published, model = registry.facts(model), registry.create_model(model)
    check_model(model, "compare")
    shape = tuple(model.inputs[0].shape[1:])
    if None in shape and input_shape is not None:
        analysis, shape = analyze(model, input_shape), tuple(input_shape)
    else:
        analysis = analyze(model)
    last = next((row for row in reversed(analysis.rows) if row.receptive_field == analysis.receptive_field), None)
    return Summary(
        model.name, shape, sum(row.parameters > 0 for row in analysis.rows), analysis.parameters, analysis.trainable,
        analysis.macs, any(row.macs is None for row in analysis.rows), analysis.activation_bytes,
        analysis.training_bytes,
        analysis.receptive_field, last.jump if last and analysis.receptive_field else None,
        bool(last and last.gated and analysis.receptive_field),
        published and published.top1, published.dataset if published else "", tuple(analysis.notes),
    )


def cell_field(row):
    if row.receptive_field is None:
        return "all"
    return f"{short(row.receptive_field)}{'*' * row.gated}"


COLUMNS = (
    tables.Column("model", lambda row: row.name, left=True),
    tables.Column("input", lambda row: " x ".join(map(str, row.input_shape)), left=True),
    tables.Column("trainable", lambda row: f"{row.trainable:,}"),
    tables.Column("others", lambda row: f"{row.parameters - row.trainable:,}"),
    tables.Column("MACs", lambda row: "≥ " * row.at_least + amount(row.macs)),
    tables.Column("inference", lambda row: tables.size(row.activation_bytes)),
    tables.Column("training", lambda row: tables.size(row.training_bytes)),
    tables.Column("field", cell_field),
    tables.Column("jump", lambda row: short(row.jump)),
    tables.Column("top-1 %", lambda row: f"{row.top1:g}" if row.top1 is not None else ""),
    tables.Column("data set", lambda row: row.dataset, left=True),
)
