"""The command `kerazoo`."""
import argparse
import os
import pathlib
import runpy
import signal
import sys
import textwrap

import kerazoo
from kerazoo import registry
from kerazoo.errors import plain_errors
from kerazoo.words import amount


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
        "compare", help="put models beside each other",
        description="Put models beside each other: parameters, multiply-accumulates (MACs), memory, receptive field, "
                    "published accuracy.",
    )
    command.add_argument("names", nargs="+", metavar="NAME", help="names from `kerazoo list`, or .keras files")
    command.add_argument(
        "--picture", metavar="FILE", help="also draw the published accuracy, of those that have one on the same data "
                                           "set, against MACs and parameters: .png, .svg or .pdf"
    )
    command.set_defaults(run=compare)

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
        "report", help="write a training run, or several, as one HTML page",
        description="Write a training run as one HTML page: what was trained on what, curves, diagnosis, mistakes, and "
                    "what the network sees. Several runs are put side by side.",
    )
    command.add_argument("runs", nargs="+", metavar="RUN", help="folders of training runs, such as runs/lenet5_mnist")
    command.add_argument(
        "--output", metavar="FILE", help="the page to write (default: RUN/report.html, or report.html for several)"
    )
    command.set_defaults(run=report)

    command = commands.add_parser(
        "export", help="export a model to serve",
        description="Export a model with its weights: a SavedModel for TensorFlow Serving, or another format.",
    )
    command.add_argument(
        "model", metavar="MODEL", help="a name from `kerazoo list`, a .keras file, or the folder of a training run"
    )
    command.add_argument(
        "--weights", metavar="WEIGHTS",
        help="for a name: 'imagenet', 'imagenet/TAG', or a weight file (default: imagenet)",
    )
    command.add_argument("--format", default="tf_saved_model", metavar="FORMAT", help=(
        "tf_saved_model (default), onnx, litert, openvino, torch (torchvision's state dict), or web"
    ))
    command.add_argument("--output", metavar="PATH", help="what to write (default: saved_models/NAME)")
    command.add_argument(
        "--class-names", metavar="FILE", help="the names of the classes, one a line; or 'imagenet' (default: as known)"
    )
    command.add_argument("--size", type=int, metavar="PIXELS", help="height and width that image files are made")
    command.add_argument("--resize", type=int, metavar="PIXELS", help="the shorter side before --size is cropped")
    command.add_argument("--interpolation", choices=("bilinear", "bicubic"), help="for resizing image files")
    command.add_argument("--quantize", metavar="NUMBERS", help=(
        "smaller numbers than float32: float16, dynamic or int8 for litert, float16 for openvino"
    ))
    command.add_argument(
        "--calibration", metavar="FOLDER", help="images to calibrate --quantize int8 with, some hundred"
    )
    command.add_argument(
        "--web-runtime", metavar="FOLDER",
        help="for web: node_modules/onnxruntime-web/dist, to copy beside the page (default: loaded from jsDelivr)",
    )
    command.set_defaults(run=export)

    command = commands.add_parser(
        "predict", help="classify images with an exported model",
        description="Classify images with a model that kerazoo exported, in any format but torch.",
    )
    command.add_argument("export", metavar="EXPORT", help="such as saved_models/lenet5_mnist, or resnet18.onnx")
    command.add_argument("images", metavar="IMAGE", nargs="+", help="image files, or .npy arrays of pixels in 0..255")
    command.add_argument("--top", type=int, default=3, help="classes shown an image (default: %(default)s)")
    command.set_defaults(run=predict)

    command = commands.add_parser(
        "benchmark-export", help="time exported models beside each other",
        description="Time exported models beside each other, in turns, on this machine's CPU: latency of one image, "
                    "throughput in batches, size, and top-1 accuracy on labeled images.",
    )
    command.add_argument("exports", metavar="EXPORT", nargs="+", help="what `kerazoo export` wrote")
    command.add_argument("--images", metavar="FOLDER", help=(
        "labeled images: one folder a class, called by the class's name or its index (default: random pixels)"
    ))
    command.add_argument("--batch", type=int, default=8, help="images a batch for throughput (default: %(default)s)")
    command.add_argument("--rounds", type=int, default=7, help="turns that each export takes (default: %(default)s)")
    command.add_argument("--threads", type=int, help="CPU threads (default: what each runtime takes by itself)")
    command.set_defaults(run=benchmark_export)

    command = commands.add_parser(
        "demo", help="try an exported model in the browser",
        description="Start a page on this machine where one drops a picture and sees the five most probable classes, "
                    "and where in the picture they are seen (Grad-CAM).",
    )
    command.add_argument("saved_model", metavar="SAVED_MODEL", help="a SavedModel that kerazoo exported")
    command.add_argument("--port", type=int, default=7860, help="of this machine (default: %(default)s)")
    command.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets others in (default: %(default)s)")
    command.set_defaults(run=demo)
    return parser


def list_models(args):
    names = registry.list_models(args.pattern, args.family)
    if not names:
        raise ValueError(f"No model matches {args.pattern!r}{registry.nearest(args.pattern, registry.table())} "
                         "`kerazoo list` names all models.")
    width = max(map(len, names))
    print(f"{'model':{width}}  {'parameters':>12}  {'MACs':>7}  {'input':>11}  {'top-1 %':>7}  data set")
    for name in names:
        facts = registry.facts(name)
        shape = "x".join(map(str, facts.input_shape))
        print(f"{name:{width}}  {facts.parameters:12,}  {amount(1e9 * facts.gmacs):>7}  {shape:>11}  "
              f"{facts.top1 or '':>7}  {facts.dataset}")


def show(args):
    facts = registry.facts(args.name)
    accuracy = ", ".join(f"{name} {value} %" for name, value in (("top-1", facts.top1), ("top-5", facts.top5)) if value)
    for label, text in (
        ("model", f"{facts.name} (family {facts.family})"),
        ("parameters", f"{facts.parameters:,} trainable"),
        ("MACs", f"{amount(1e9 * facts.gmacs)} an image"),
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


def compare(args):
    files = {name: model_file(name) for name in args.names if name.endswith(".keras")}
    names = [registry.facts(name).name for name in args.names if name not in files]
    if args.picture:
        # First, what can be wrong with the file: the table may take a minute.
        picture = pathlib.Path(args.picture).expanduser()
        if picture.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise ValueError(f"--picture: got {args.picture!r}, wanted a file that ends in .png, .svg or .pdf.")
        if not picture.parent.is_dir():
            raise FileNotFoundError(f"--picture: there is no folder {picture.parent}. Make it first.")
    models = [kerazoo.load_model(files[name], compile=False) if name in files else name for name in args.names]
    print(kerazoo.compare(*models))
    if args.picture:
        from kerazoo.visualize.published import draw, in_words, sort_out

        # It draws what it can; the table is there already.
        shown, left_out = sort_out(names, list(files))
        if not shown:
            raise ValueError(
                f"--picture: nothing to draw, as no accuracy is published of {', '.join(left_out)}. Name a model that "
                "has one: `kerazoo list` shows them."
            )
        draw(shown, left_out).savefig(picture)
        print(f"Drawn: {picture}" + (f"; not in it: {in_words(left_out)}" if left_out else ""))


def report(args):
    from kerazoo.visualize.reports import make

    path, found = make(args.runs, args.output)
    for run in found:
        for what, why in dict.fromkeys(run.missing):
            print(f"{run.name}: {what}: {why}", file=sys.stderr)
    print(path)


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


def export(args):
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # A service manager's kill, too, cleans up behind itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    path = args.output or str(pathlib.Path("saved_models") / default_name(args))
    kerazoo.export.check(path, format=args.format, quantize=args.quantize)
    if args.weights and os.path.exists(args.weights) and os.path.exists(path) and os.path.samefile(args.weights, path):
        raise ValueError(f"{path} is the file with the weights itself. Name another --output.")
    model, folder = model_to_export(args)
    known = registry.served_as(model)
    given = {"size": args.size and (args.size, args.size), "resize": args.resize, "interpolation": args.interpolation}
    given = {name: value for name, value in given.items() if value is not None}
    if given:
        given = {**known.get("preprocessing", {}), **given}
    names = args.class_names
    if names == "imagenet":
        from kerazoo.weights.imagenet import class_names

        names = class_names()
    elif names is not None:
        names = read_lines(names, "--class-names")
    elif folder is not None and (folder / "class_names.txt").is_file():
        names = read_lines(folder / "class_names.txt", "the run's class names")
    elif "class_names" not in known:
        print("The classes are called by their indices; --class-names FILE (or imagenet) gives them names.")
    calibration = args.calibration and calibration_images(args.calibration, model, given or None)
    kerazoo.export(
        model, path, format=args.format, class_names=names, preprocessing=given or None, quantize=args.quantize,
        calibration=calibration, runtime=args.web_runtime,
    )


def default_name(args):
    """The name of the model, file or run, and what tells its exports apart."""
    path = pathlib.Path(args.model)
    name = path.name.removesuffix(".keras")
    if path.suffix == ".keras" and name in ("best", "last"):
        name = path.absolute().parent.name
    of_format = {"onnx": "", "litert": "", "torch": "", "tf_saved_model": ""}.get(args.format, f"_{args.format}")
    ending = {"onnx": ".onnx", "litert": ".tflite", "torch": ".pth"}.get(args.format, "")
    return f"{name}{of_format}{f'_{args.quantize}' if args.quantize else ''}{ending}"


def model_to_export(args):
    """The model that `kerazoo export` names, and the folder of the run that it is from, or None."""
    path = pathlib.Path(args.model).expanduser()
    if args.model not in registry.table():
        if args.weights:
            raise ValueError(f"--weights is for the name of a model; got {args.model!r}"
                             + (", which has its own." if path.exists() else ". `kerazoo list` names all models."))
        if path.is_dir():
            found = next((path / name for name in ("best.keras", "last.keras") if (path / name).is_file()), None)
            if not found:
                raise FileNotFoundError(f"{path} holds neither best.keras nor last.keras. Name the folder of a "
                                        "training run, or a .keras file.")
            return kerazoo.load_model(found, compile=False), path
        if path.suffix == ".keras":
            return kerazoo.load_model(model_file(path), compile=False), path.parent
        hint = " For a file of weights, name its model: kerazoo export NAME --weights FILE." if path.is_file() else ""
        raise ValueError(f"Unknown model {args.model!r}{registry.nearest(args.model, registry.table())} Wanted: a name "
                         f"from `kerazoo list`, a .keras file, or the folder of a training run.{hint}")
    weights = args.weights or "imagenet"
    if weights.split("/")[0] != "imagenet":
        from kerazoo.weights.convert import build_for

        return build_for(weights, args.model)[0], None
    if args.weights is None and not kerazoo.list_weights(args.model):
        raise ValueError(f"There are no published weights for {args.model}, and without any its answers mean nothing. "
                         f"Name a file: kerazoo export {args.model} --weights FILE.")
    return kerazoo.create_model(args.model, weights=weights), None


def model_file(name):
    """The path of a .keras file that is there."""
    path = pathlib.Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    return path


def read_lines(path, option):
    try:
        text = pathlib.Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{option}: {path} cannot be read as lines of text: {error}") from None
    return [line.removesuffix("\r") for line in text.rstrip("\r\n").split("\n")]


def calibration_images(folder, model, preprocessing):
    """All images in a folder as the network will see them."""
    import dataclasses

    import numpy as np
    import tqdm

    from kerazoo.export.classifier import check_preprocessing

    published = registry.served_as(model).get("preprocessing")
    known = check_preprocessing(preprocessing, published, model.input_shape[1:])
    if known is None:
        raise ValueError("The model takes images of any size. Say to which the images for --calibration are to be "
                         "resized: --size PIXELS.")
    options, files = dataclasses.asdict(known), image_files(folder)
    channels = model.input_shape[-1]
    return np.stack([read(file, channels, options) for file in tqdm.tqdm(files, desc="reading images", leave=False)])


def image_files(folder):
    folder = pathlib.Path(folder).expanduser()
    endings = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in endings)
    if not files:
        raise ValueError(f"{folder} holds no image files ({', '.join(endings)})." if folder.is_dir() else
                         f"{folder} is no folder. Wanted: a folder of image files.")
    return files


def read(path, channels, preprocessing):
    from kerazoo.data import read_image

    return read_image(
        path, channels, tuple(preprocessing["size"]), resize=preprocessing.get("resize"),
        interpolation=preprocessing.get("interpolation", "bilinear"),
    )


def predict(args):
    from kerazoo.data import read_image
    from kerazoo.export.predict import Predictor

    predictor = Predictor(args.export)
    height, width, channels = predictor.input_shape
    if channels not in (1, 3):
        raise ValueError(f"{args.export} takes images of {channels} channels; image files have 1 or 3.")
    failed = 0
    for path in args.images:
        try:
            if predictor.preprocessing:
                image = read(path, channels, predictor.preprocessing)
            else:
                image = read_image(path, channels, None if None in (height, width) else (height, width))
            best = predictor.predict(image[None], top=args.top, source=path)[0]
        except (OSError, ValueError) as error:
            if len(args.images) == 1:
                raise
            # One bad file among many is no reason to leave out those behind it.
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"{path}: " + ", ".join(f"{label} {100 * probability:.1f} %" for label, probability in best))
    if failed:
        raise ValueError(f"{failed} of {len(args.images)} images could not be classified.")


def benchmark_export(args):
    import numpy as np
    import tqdm

    from kerazoo.export import runtimes
    from kerazoo.export.benchmark import benchmark

    for option, value in (("--batch", args.batch), ("--rounds", args.rounds), ("--threads", args.threads)):
        if value is not None and value < 1:
            raise ValueError(f"{option} must be at least 1; got {value}.")
    first = runtimes.load(args.exports[0])
    for other in args.exports[1:]:
        about = runtimes.load(other)
        if (about.image_shape, about.class_names) != (first.image_shape, first.class_names):
            raise ValueError(
                f"{other} and {args.exports[0]} are not of one model: they take {about.image_shape} and "
                f"{first.image_shape} pixels, and their {len(about.class_names)} and {len(first.class_names)} classes "
                f"begin with {about.class_names[0]!r} and {first.class_names[0]!r}. Benchmark exports of one model at "
                "a time."
            )
    height, width, channels = first.image_shape
    if args.images:
        images, labels = labeled_images(args.images, first)
    else:
        shape = (args.batch, height or 224, width or 224, channels)
        images, labels = np.random.default_rng(0).integers(0, 256, shape, dtype="uint8"), None
    with tqdm.tqdm(total=len(args.exports) * (args.rounds + 1), leave=False, bar_format="{desc} {bar}") as bar:
        def progress(sentence):
            bar.set_description(sentence)
            bar.update()

        timings = benchmark(
            dict(zip(args.exports, args.exports)), images, batches=sorted({1, args.batch}), rounds=args.rounds,
            threads=args.threads, progress=progress,
        )
    reference = timings[args.exports[0]].probabilities.argmax(-1)
    width = max(map(len, args.exports))
    print(f"{'':{width}}  {'MB':>7}  {'1st answer s':>12}  {'latency ms':>10}  {f'images/s, {args.batch}':>12}  "
          f"{'top-1 %' if labels is not None else '':>7}  same class as the first")
    for name, timing in timings.items():
        best = timing.probabilities.argmax(-1)
        top1 = f"{100 * np.mean(best == labels):.1f}" if labels is not None else ""
        print(f"{name:{width}}  {timing.megabytes:7.2f}  {timing.load_seconds:12.2f}  {timing.latency(1):10.2f}  "
              f"{timing.throughput(args.batch):12.1f}  {top1:>7}  {np.sum(best == reference)} of {len(images)}")


def labeled_images(folder, about):
    """Images from one folder a class, and the classes' indices."""
    import numpy as np

    if about.image_shape[2] not in (1, 3):
        raise ValueError(f"image files have 1 or 3 channels; the models take {about.image_shape[2]}.")
    places = {name: index for index, name in reversed(list(enumerate(about.class_names)))}
    labels, files = [], image_files(folder)
    for file in files:
        name = file.parent.name
        if name not in places and not (name.isdecimal() and int(name) < len(about.class_names)):
            raise ValueError(f"{file.parent} is called by no class of the model: wanted a class's name, or an index "
                             f"below {len(about.class_names)}.")
        labels.append(places[name] if name in places else int(name))
    preprocessing = about.preprocessing or {"size": about.image_shape[:2]}
    if None in preprocessing["size"]:
        raise ValueError("The model takes images of any size, and its export does not say to which image files are to "
                         "be resized. Export it with --size PIXELS.")
    return np.stack([read(file, about.image_shape[2], preprocessing) for file in files]), np.array(labels)


def demo(args):
    from kerazoo.export.demo import serve

    serve(args.saved_model, host=args.host, port=args.port)
