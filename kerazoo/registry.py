"""Which models there are, and what has been published about each. Loads neither Keras nor a backend."""
import csv
import dataclasses
import difflib
import fnmatch
import functools
import importlib
import pathlib

TABLE = pathlib.Path(__file__).with_name("published.csv")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is published about one model, a row of `kerazoo/published.csv`.

    Attributes:
        name: the builder's name.
        family: the module in `kerazoo.models` that holds the builder.
        parameters: trainable parameters at the published input shape and number of classes.
        gmacs: multiply-accumulates of convolutions and dense layers for one image, in units of 1e9.
        input_shape: (height, width, channels) in pixels.
        classes: outputs of the head.
        dataset: the data set that the accuracies were measured on.
        top1, top5: published accuracy in percent, or None.
        paper: address of the paper.
        deviations: in what the model differs from the paper, on purpose; empty where in nothing.
        source: where the figures come from.
    """

    name: str
    family: str
    parameters: int
    gmacs: float
    input_shape: tuple
    classes: int
    dataset: str
    top1: float | None
    top5: float | None
    paper: str
    deviations: str
    source: str


@dataclasses.dataclass(frozen=True)
class Origin:
    """Which builder made a model, and with which arguments: {name: value}, None where they are as published."""

    name: str
    options: dict


@functools.cache
def table():
    """All rows of the table of published facts: {name: Facts}."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {
            row["name"]: Facts(
                name=row["name"],
                family=row["family"],
                parameters=int(row["parameters"]),
                gmacs=float(row["gmacs"]),
                input_shape=tuple(int(side) for side in row["input_shape"].split("x")),
                classes=int(row["classes"]),
                dataset=row["dataset"],
                top1=float(row["top1"]) if row["top1"] else None,
                top5=float(row["top5"]) if row["top5"] else None,
                paper=row["paper"],
                deviations=row["deviations"],
                source=row["source"],
            )
            for row in csv.DictReader(file)
        }


def list_models(pattern="*", family=None):
    """List the names of the models.

    Args:
        pattern: shell wildcards, such as "resnet*".
        family: only the models of one family, such as "vgg"; see `list_families`.

    Returns:
        A sorted list of names, each of them a function of `kerazoo` and known to `kerazoo.create_model`.

    Raises:
        ValueError: if there is no such family.

    Example:
        >>> kerazoo.list_models("vgg1?")
        ['vgg11', 'vgg13', 'vgg16', 'vgg19']
    """
    if family is not None and family not in list_families():
        raise ValueError(f"Unknown family {family!r}{nearest(family, list_families())} "
                         f"The families are: {', '.join(list_families())}.")
    # Numbers in names sort as numbers: resnet18 before resnet101.
    return sorted(
        (name for name, row in table().items()
         if fnmatch.fnmatchcase(name, pattern) and family in (None, row.family)),
        key=natural_order,
    )


def list_families():
    """List the families of models.

    Returns:
        A sorted list of names, for `kerazoo.list_models(family=...)`.

    Example:
        >>> "vgg" in kerazoo.list_families()
        True
    """
    return sorted({row.family for row in table().values()})


def facts(name):
    """Return what is published about a model.

    Args:
        name: a name from `kerazoo.list_models`.

    Returns:
        A `Facts` with parameters, MACs, input shape, accuracy, paper and source.

    Raises:
        ValueError: if the name is unknown; the nearest names are suggested.

    Example:
        >>> kerazoo.facts("resnet18").parameters
        11689512
    """
    return table()[check_name(name)]


def create_model(name, /, **options):
    """Build a model by name.

    Args:
        name: a name from `kerazoo.list_models`.
        options: what the builder takes, such as `classes` or `input_shape`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if the name is unknown; the nearest names are suggested.

    Example:
        >>> model = kerazoo.create_model("resnet18", classes=10)
    """
    return get_builder(name)(**options)


def get_builder(name):
    """Return the function that builds a model, by name."""
    return getattr(importlib.import_module(f"kerazoo.models.{table()[check_name(name)].family}"), name)


def sign(model, name, options):
    """Note on a model which builder made it; Keras does not keep the note in files."""
    model._kerazoo_origin = Origin(name, options)


def origin(model):
    """The `Origin` of a model; without arguments for one from a file that bears a builder's name; else None."""
    signed = getattr(model, "_kerazoo_origin", None)
    return signed or (Origin(model.name, {}) if getattr(model, "name", None) in table() else None)


def serve_as(model, **known):
    """Note on a model what its weights were published with: `class_names`, and `preprocessing`, a dictionary of `size`
    (height, width), `resize` and `interpolation`; Keras does not keep the note in files."""
    model._kerazoo_served_as = known


def served_as(model):
    """What `serve_as` noted on a model, a dictionary; empty where nothing is known."""
    return getattr(model, "_kerazoo_served_as", {})


def check_name(name):
    if not isinstance(name, str) or name not in table():
        raise ValueError(f"Unknown model {name!r}{nearest(name, table())} `kerazoo list`, or in Python "
                         f"kerazoo.list_models(), names all {len(table())} models.")
    return name


def nearest(name, known):
    """The end of an error's first sentence: what the user may have meant."""
    close = difflib.get_close_matches(str(name).lower(), list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else "."


def natural_order(name):
    """A sort key that takes runs of digits as numbers."""
    parts, digits = [""], False
    for character in name:
        if character.isdigit() != digits:
            parts.append("")
            digits = not digits
        parts[-1] += character
    return [int(part) if part.isdigit() else part for part in parts]
