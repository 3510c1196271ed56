"""Which weights are published for our models, and what is known about each. Loads neither Keras nor a backend.

`weights="imagenet"` takes a model's default: torchvision's newest weights where there are any; timm's conversions of
the authors' weights for `tf_efficientnet` and `efficientnet_lite`, of plain training where there are such, of
AutoAugment for B6 and B7; Keras Applications' for the models that only it has.

The table, tags.csv, is written by make_tags.py, which says where its figures come from. Revisions and digests of files
on the Hugging Face Hub could not be pinned in it: the newest revision is taken, and checked against the SHA-256 that
the Hub announces. The library huggingface_hub is not used: version 2.4.0 was measured to keep nothing of an interrupted
download.
"""
import csv
import dataclasses
import functools
import os
import pathlib

from kerazoo.registry import check_name, nearest, table as models

TABLE = pathlib.Path(__file__).with_name("tags.csv")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tag:
    """One file of published weights for one model, a row of `kerazoo/weights/tags.csv`.

    Attributes:
        model: the builder's name.
        tag: which weights: "tv_in1k" and "tv2_in1k" are torchvision's IMAGENET1K_V1 and V2, "keras_in1k" Keras
            Applications'; the others are timm's names, "a1_in1k" say.
        default: whether `weights="imagenet"` takes it.
        url: where the file is; "" where it is on the Hugging Face Hub.
        repo, file: where the file is on the Hugging Face Hub; "" where there is an `url`.
        revision: the commit of the repository; "" for the newest.
        hash: the algorithm and the first digits of the file's digest, as "sha256:f37072fd"; "" on the Hub, which
            announces the digest itself.
        megabytes: about how large the file is, in units of 1e6 bytes, or None.
        layout: whose layer names the file has: "torchvision", "timm" or "keras_applications".
        license: the SPDX identifier of the license that the source names, in lower case.
        top1, top5: published accuracy in percent on ImageNet's validation set at `input_size`, or None.
        mean, std: of the red, green and blue channel of pixels from 0 to 1, in effect: pixels are given to the model as
            (pixel - mean) / std.
        bgr: whether the file expects blue first. Users never see it: loading turns the first kernel round.
        aux_heads: whether the file holds the auxiliary heads of a model that has the option `aux_heads`; None for other
            models. A model without them takes a file with them, but not the other way round.
        input_size: height and width of the crop from the center that the accuracies are for, in pixels.
        resize_size: the shorter side before cropping, in pixels, or None where no source says.
        interpolation: "bilinear" or "bicubic", or None where no source says.
        antialias: whether resizing filters when it makes smaller, or None where no source says.
        classes: outputs of the head, in the order of `kerazoo.weights.imagenet.class_names`.
        source: where the figures come from.
    """

    model: str
    tag: str
    default: bool = False
    url: str = ""
    repo: str = ""
    file: str = ""
    revision: str = ""
    hash: str = ""
    megabytes: float | None = None
    layout: str
    license: str
    top1: float | None = None
    top5: float | None = None
    mean: tuple
    std: tuple
    bgr: bool = False
    aux_heads: bool | None = None
    input_size: int
    resize_size: int | None = None
    interpolation: str | None = None
    antialias: bool | None = None
    classes: int = 1000
    source: str

    @property
    def name(self):
        """What a user writes: weights="imagenet/tv2_in1k"."""
        return f"imagenet/{self.tag}"


@functools.cache
def table():
    """All rows of the table of published weights: {(model, tag): Tag}, the default of each model first."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = [Tag(**{name: READ.get(name, str)(cell) for name, cell in row.items()}) for row in csv.DictReader(file)]
    return {(row.model, row.tag): row for row in rows}


def list_weights(model):
    """List the published weights of a model.

    Args:
        model: a name from `kerazoo.list_models`.

    Returns:
        A list of names for the `weights` of the model's builder, the default first; empty if none are published.

    Raises:
        ValueError: if the model is unknown; the nearest names are suggested.

    Example:
        >>> kerazoo.list_weights("resnet101_v2")
        ['imagenet/a1h_in1k']
    """
    found = [row.name for row in table().values() if row.model == model]
    if not found:
        check_name(model)
    return found


def get_tag(model, weights="imagenet"):
    """Return what is known about published weights of a model.

    Args:
        model: a name from `kerazoo.list_models`.
        weights: "imagenet" for the default, or a name from `kerazoo.list_weights`, such as "imagenet/a1_in1k"; a string
            or `os.PathLike`.

    Returns:
        A `Tag` with where the file is, its license, accuracy and how images are prepared for it.

    Raises:
        ValueError: if the model or the weights are unknown, with the nearest names; or if none are published for it.

    Example:
        >>> get_tag("resnet50", "imagenet/tv_in1k").top1
        76.13
    """
    known = list_weights(model)
    if isinstance(weights, os.PathLike):
        weights = os.fspath(weights)
    if not known:
        has = nearest(model, {row.model for row in table().values()} & set(models()))
        raise ValueError(f"No weights are published for {model}{has} Build it with weights=None and train it, or load "
                         "a file of your own.")
    if weights == "imagenet":
        weights = known[0]
    if weights not in known:
        # A tag on its own is a likely slip: "tv2_in1k" for "imagenet/tv2_in1k".
        raise ValueError(f"Unknown weights {weights!r} for {model}{nearest(f'imagenet/{last(weights)}', known)} "
                         f"{model} has: {', '.join(['imagenet', *known])}.")
    return table()[model, last(weights)]


def is_tag(weights):
    """Tell published weights from the path of a file.

    Args:
        weights: a string or `os.PathLike`, as builders take it.

    Returns:
        True for "imagenet" and "imagenet/<tag>", unless there is a file of that name; a folder does not count.

    Example:
        >>> is_tag("imagenet/tv_in1k"), is_tag("resnet18.pth")
        (True, False)
    """
    path = os.fspath(weights)
    return path.split("/")[0] == "imagenet" and not os.path.isfile(path)


def last(weights):
    return str(weights).split("/")[-1]


def read_optional(convert):
    return lambda cell: convert(cell) if cell else None


def read_bool(cell):
    return {"true": True, "false": False}[cell]


def read_channels(cell):
    return tuple(float(part) for part in cell.split())


# How the cells that are not plain text are read.
READ = {
    "default": read_bool, "megabytes": read_optional(float), "top1": read_optional(float),
    "top5": read_optional(float), "mean": read_channels, "std": read_channels, "bgr": read_bool,
    "aux_heads": read_optional(read_bool), "input_size": int,
    "resize_size": read_optional(int), "interpolation": read_optional(str), "antialias": read_optional(read_bool),
    "classes": int,
}
