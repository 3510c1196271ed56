"""The command `kerazoo`."""
import argparse
import os
import pathlib
import runpy
import sys
import textwrap

import kerazoo
from kerazoo import registry
from kerazoo.errors import plain_errors


def main(argv=None):
    """Run `kerazoo COMMAND ...`; return the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    plain_errors()
    # TensorFlow reports on its own start-up at this level; its warnings and errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if arguments[:1] == ["train"]:
        # The recipe has its own options, --help among them.
        return train(arguments[1:])
    args = make_parser().parse_args(arguments)
    return args.run(args)


def make_parser():
    parser = argparse.ArgumentParser(prog="kerazoo", description="A model zoo for Keras.")
    parser.add_argument("--version", action="version", version=f"kerazoo {kerazoo.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("list", help="list the models", description="List the models.")
    command.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="wildcards, such as 'resnet*'")
    command.add_argument("--family", help=f"one of: {', '.join(registry.list_families())}")
    command.set_defaults(run=list_models)

    command = commands.add_parser(
        "show", help="show a model's published facts and its layers",
        description="Show what is published about a model, and its layers with their output shapes, parameters and "
                    "multiply-accumulates (MACs).",
    )
    command.add_argument("name", metavar="NAME", help="a name from `kerazoo list`")
    command.set_defaults(run=show)

    command = commands.add_parser(
        "convert", help="convert a weight file between libraries",
        description="Convert a weight file of kerazoo, torchvision, timm, EfficientNet-PyTorch or Keras Applications "
                    "(.safetensors, .pth, .pt, .h5, .weights.h5). Nothing in the file is executed.",
    )
    command.add_argument("file", metavar="FILE", help="the weight file")
    command.add_argument(
        "--model", required=True, metavar="NAME", help="whose weights they are, a name from `kerazoo list`"
    )
    command.add_argument(
        "--to", required=True, choices=("keras", "safetensors", "torchvision"),
        help="keras: .weights.h5; safetensors: kerazoo's names; torchvision: its state dict, .pth or .safetensors",
    )
    command.add_argument("--output", metavar="FILE", help="the file to write (default: NAME with the ending of --to)")
    command.set_defaults(run=convert)

    commands.add_parser("train", help="run a recipe: kerazoo train RECIPE [OPTIONS]")

    command = commands.add_parser(
        "predict", help="classify images with an exported model",
        description="Classify images with a SavedModel that kerazoo exported.",
    )
    command.add_argument("saved_model", metavar="SAVED_MODEL", help="a folder such as saved_models/lenet5_mnist")
    command.add_argument("images", metavar="IMAGE", nargs="+", help="image files, or .npy arrays of pixels in 0..255")
    command.add_argument("--top", type=int, default=3, help="classes shown an image (default: %(default)s)")
    command.set_defaults(run=predict)
    return parser


def list_models(args):
    names = registry.list_models(args.pattern, args.family)
    if not names:
        raise ValueError(f"No model matches {args.pattern!r}{registry.nearest(args.pattern, registry.table())} "
                         "`kerazoo list` names all models.")
    width = max(map(len, names))
    print(f"{'model':{width}}  {'parameters':>12}  {'GMACs':>8}  {'input':>11}  {'top-1 %':>7}  data set")
    for name in names:
        facts = registry.facts(name)
        shape = "x".join(map(str, facts.input_shape))
        print(f"{name:{width}}  {facts.parameters:12,}  {facts.gmacs:8.4g}  {shape:>11}  {facts.top1 or '':>7}  "
              f"{facts.dataset}")


def show(args):
    facts = registry.facts(args.name)
    accuracy = ", ".join(f"{name} {value} %" for name, value in (("top-1", facts.top1), ("top-5", facts.top5)) if value)
    for label, text in (
        ("model", f"{facts.name} (family {facts.family})"),
        ("parameters", f"{facts.parameters:,} trainable"),
        ("MACs", f"{1e3 * facts.gmacs:,.4g} million an image"),
        ("input", " x ".join(map(str, facts.input_shape)) + f" pixels, {facts.classes} classes ({facts.dataset})"),
        ("accuracy", accuracy or "none published"),
        ("paper", facts.paper),
        ("source", facts.source),
    ):
        print(textwrap.fill(f"{label:12}{text}", 110, subsequent_indent=" " * 12))
    if facts.deviations:
        print(textwrap.fill(f"{'differs':12}{facts.deviations}", 110, subsequent_indent=" " * 12))
    for name in kerazoo.list_weights(args.name):
        print(textwrap.fill(f"{'weights':12}{describe_weights(args.name, name)}", 110, subsequent_indent=" " * 12))
    print()
    print(kerazoo.analyze(registry.create_model(args.name)))


def describe_weights(model, name):
    from kerazoo.weights.tags import get_tag

    tag = get_tag(model, name)
    accuracy = "" if tag.top1 is None else f"top-1 {tag.top1} % at {tag.input_size} pixels, "
    return f'"{name}"{" (default)" if tag.default else ""}: {accuracy}{tag.license}'


def convert(args):
    from kerazoo.weights.convert import convert as convert_file

    _, summary = convert_file(args.file, args.model, args.to, args.output)
    print(summary)


def train(arguments):
    recipes = recipe_folder()
    names = sorted(path.stem for path in recipes.glob("*.py") if not path.stem.startswith("_"))
    usage = f"usage: kerazoo train RECIPE [OPTIONS]\n\nThe recipes are: {', '.join(names)}. " \
            "`kerazoo train RECIPE --help` shows a recipe's options."
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage)
        return 0 if arguments else 2
    name = arguments[0]
    if name not in names:
        raise ValueError(f"Unknown recipe {name!r}{registry.nearest(name, names)} The recipes are: {', '.join(names)}.")
    sys.argv = [f"kerazoo train {name}", *arguments[1:]]
    runpy.run_path(str(recipes / f"{name}.py"), run_name="__main__")


def recipe_folder():
    """In an installed kerazoo the recipes are inside the package, in a checkout beside it."""
    package = pathlib.Path(kerazoo.__file__).parent
    return next(folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir())


def predict(args):
    from kerazoo.data import read_image
    from kerazoo.export.predict import Predictor

    predictor = Predictor(args.saved_model)
    height, width, channels = predictor.input_shape
    if channels not in (1, 3):
        raise ValueError(f"{args.saved_model} takes images of {channels} channels; image files have 1 or 3.")
    size = None if None in (height, width) else (height, width)
    for path in args.images:
        image = read_image(path, channels, size)
        best = predictor.predict(image[None], top=args.top, source=path)[0]
        print(f"{path}: " + ", ".join(f"{label} {100 * probability:.1f} %" for label, probability in best))
