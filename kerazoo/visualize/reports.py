"""One HTML file about a training run, or about several side by side."""
import base64
import contextlib
import dataclasses
import datetime
import html
import io
import math
import pathlib
import string

import numpy as np

from kerazoo.files import put
from kerazoo.visualize import runs
from kerazoo.visualize.figures import DPI
from kerazoo.words import duration

PAGE = pathlib.Path(__file__).with_name("report.html")
SHARP = 2  # pixels of a picture for one of the page
MOST_IMAGES = 10_000  # of a test split
MOST_BYTES = 500_000_000  # of their pixels
BATCH = 64
EXAMPLES = 8  # images for Grad-CAM
MISTAKES = 24
LONG_TABLE = 40  # rows; longer ones are folded


@dataclasses.dataclass
class Run:
    """What a report tells of one run: what was found in its folder, the model, and its answers to test images."""

    name: str
    left: runs.Left
    model: object = None
    analysis: object = None
    images: np.ndarray | None = None
    labels: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    class_names: list | None = None
    data: str = ""  # what the images are
    missing: list = dataclasses.field(default_factory=list)  # (what, why) in sentences


def report(*folders, path=None, model=None, data=None):
    """Write a training run, or several side by side, as one HTML file that needs nothing else.

    It tells what was trained on what, by which command and versions; shows curves, learning rate, diagnosis, confusion
    matrix, mistakes, filters, maps of features, Grad-CAM and the table of layers; and says what it could not find.
    Pictures are inside the file; it loads nothing and runs no script.

    Args:
        folders: the folder of a run of `kerazoo.train.Run`, or several.
        path: the file to write, ending in .html; None: `report.html` in the folder of the one run, or, of several, in
            the current folder.
        model: the trained `keras.Model`, built, of one run; None: `best.keras` or `last.keras` of the folder.
        data: the test images, of one run: a data set of `kerazoo.data.load`, or any iterable of (images, labels)
            batches, or two arrays (images, labels). None: the test split of the data set that the run's options name,
            if that can be had without a download. At most 10,000 images are looked at.

    Returns:
        The path of the file, a `pathlib.Path`.

    Raises:
        ValueError: if a folder holds nothing of a run, or an argument does not fit.
        OSError: if a folder is not there, or the file cannot be written.

    Example:
        >>> kerazoo.visualize.report("runs/lenet5_mnist")
        PosixPath('runs/lenet5_mnist/report.html')
    """
    if not folders:
        raise ValueError("folders: got none, wanted the folder of a training run, such as runs/x, or several.")
    if len(folders) > 1 and (model is not None or data is not None):
        raise ValueError("model, data: they are for the report of one run; of several, each is read from its folder.")
    check_model(model)
    path = target(folders, path)
    left = [runs.read_run(folder, more=model is not None) for folder in folders]
    found = [look(one, model, data) for one in left]
    content = single(found[0]) if len(found) == 1 else several(found)
    write(path, content)
    return path


def check_model(model):
    if model is None:
        return
    import keras

    if not isinstance(model, keras.Model):
        raise ValueError(
            f"model: got {model!r}, wanted a keras.Model. Those in files are loaded by kerazoo.load_model(path)."
        )
    if not model.built:
        raise ValueError(
            f"model: {model.name!r} has not been built, so that it has no weights. Call it on images, or "
            "model.build((None, height, width, channels))."
        )


def target(folders, path):
    path = pathlib.Path(folders[0] if len(folders) == 1 else ".", "report.html") if path is None else pathlib.Path(path)
    path = path.expanduser()
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise ValueError(f"path: got {str(path)!r}, wanted a file whose name ends in .html.")
    return path


def write(path, content):
    """The file, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path, content)
    except OSError as error:
        raise type(error)(f"The report {path} cannot be written ({error.strerror}). Name another file.") from None


# What there is


def look(left, model, data):
    """All that is known of a run; what cannot be had is noted, and does not stop the rest."""
    run = Run(str(left.folder), left)
    for sentence in left.problems:
        run.missing.append(("A file", sentence))
    run.model = load(run) if model is None else model
    if run.model is None:
        return run
    with noting(run, "Test images"):
        dataset = find_data(run) if data is None else data
        if dataset is not None:
            run.images, run.labels, run.data = read_data(dataset)
            run.class_names = getattr(dataset, "class_names", None)
    with noting(run, "The table of layers"):
        import kerazoo.analyze

        run.analysis = kerazoo.analyze(run.model, open_size(run))
    run.class_names = run.class_names or left.class_names
    if run.images is not None:
        with noting(run, "The model's answers"):
            answer(run)
    return run


def open_size(run):
    """The test images' (height, width, channels) where the model leaves its own open; None where it does not."""
    inputs = getattr(run.model, "inputs", None) or []
    is_open = any(None in tensor.shape[1:] for tensor in inputs)
    return run.images.shape[1:] if is_open and run.images is not None else None


@contextlib.contextmanager
def noting(run, what):
    """Whatever goes wrong in one part of a report is told in it, and is no reason to lose the others."""
    try:
        yield
    except Exception as error:  # a foreign model may raise anything
        run.missing.append((what, reason(error)))


def reason(error):
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, (ValueError, ImportError, OSError)) else f"{type(error).__name__}: {lines[0]}"


def load(run):
    file = run.left.model_file
    if file is None:
        run.missing.append((
            "The model", "neither best.keras nor last.keras is in the folder. A run writes the best after an epoch, "
            "and the last when it ends."
        ))
        return None
    from kerazoo.saving import load_model

    # Compiled, it knows its schedule; what cannot be compiled again is worth looking at all the same.
    with contextlib.suppress(Exception):
        return load_model(file)
    with noting(run, "The model"):
        return load_model(file, compile=False)
    return None


def find_data(run):
    """The test split of the data set that the run was trained on, if it is at hand."""
    import kerazoo.data

    options = run.left.options
    name = options.get("dataset") or run.left.note.get("data", {}).get("name")
    if not isinstance(name, str) or not name:
        run.missing.append(("Test images", "what the run has left names no data set; pass data=... to the function."))
        return None
    if not at_hand(name, options.get("data_dir")):
        run.missing.append(("Test images", f"the data set {name!r} is not here, and a report downloads none."))
        return None
    size = run.model.inputs[0].shape[1:3]
    more = {"data_dir": options["data_dir"]} if is_text(options.get("data_dir")) else {}
    return kerazoo.data.load(
        name, "test", batch_size=256, image_size=None if None in size or name == "mnist_sample" and size == (28, 28)
        else tuple(size), limit=whole(options.get("limit")), **more,
    )


def at_hand(name, data_dir):
    """Whether a data set can be read without a download."""
    if name == "mnist_sample" or name.startswith("folder:"):
        return True
    from kerazoo.data import tfds

    with tfds.quiet():
        return tfds.find_builder(name, data_dir if is_text(data_dir) else None).data_path.exists()


def is_text(value):
    return isinstance(value, str) and value not in ("", "None")


def whole(value):
    """An option as a whole number; runs keep those that are None as text."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_data(dataset):
    """(images, class indices, what they are in words) of a data set, of its first images where there are many."""
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2 and hasattr(dataset[0], "shape"):
        batches = [dataset]
    else:
        everything = getattr(dataset, "of_all_hosts", None)
        batches = everything() if everything else dataset
    images, labels, count, size = [], [], 0, 0
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise ValueError("data: wanted batches of (images, labels), or two arrays.")
        some, theirs = np.asarray(batch[0]), np.asarray(batch[1])
        if some.ndim != 4 or len(some) != len(theirs):
            raise ValueError(f"data: got images {some.shape} and labels {theirs.shape}, wanted one label an image.")
        room = max(min(MOST_IMAGES - count, (MOST_BYTES - size) // max(some[:1].nbytes, 1)), 0)
        images.append(some[:room])
        labels.append(theirs[:room])
        count, size = count + len(images[-1]), size + images[-1].nbytes
        if room < len(some) or count >= MOST_IMAGES:
            break
    if not count:
        raise ValueError("data: there are no images in it.")
    images, labels = np.concatenate(images), np.concatenate(labels)
    labels = labels.argmax(-1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(len(labels), -1)[:, 0]
    total = getattr(dataset, "num_examples", None)
    name, split = getattr(dataset, "name", ""), getattr(dataset, "split", "")
    which = f"the first {count:,} of {total:,}" if total and total > count else f"{count:,}"
    return images, labels.astype("int64"), f"{which} {split or 'test'} images" + (f" of {name}" if name else "")


def answer(run):
    """The model's probabilities for the test images, and a name for each class."""
    from kerazoo.visualize.figures import check_answers
    from kerazoo.visualize.network import ending, network_of, to_probabilities

    network = network_of(run.model, "The report")
    kind, _ = ending(network, "The report")
    probabilities = to_probabilities(outputs_of(run.model, run.images), kind)
    check_answers(run.labels, probabilities)
    classes = probabilities.shape[-1]
    if run.class_names is not None and len(run.class_names) != classes:
        run.missing.append((
            "Class names", f"there are {len(run.class_names)} of them, and the model has {classes} classes; they are "
            "called by their indices."
        ))
        run.class_names = None
    run.class_names = [str(name) for name in run.class_names] if run.class_names else [str(k) for k in range(classes)]
    run.probabilities = probabilities


def outputs_of(model, images):
    """The model's outputs, in batches of one size, so that it is compiled once."""
    from tqdm import tqdm

    outputs = []
    for start in tqdm(range(0, len(images), BATCH), "Test images for the report", unit="batch", delay=10, leave=False,
                      disable=None):
        batch = images[start : start + BATCH]
        missing = min(BATCH, len(images)) - len(batch)
        outputs.append(model.predict_on_batch(np.pad(batch, [(0, missing), *[(0, 0)] * 3]))[: len(batch)])
    return np.concatenate(outputs)


# The page


def single(run):
    sections = [
        ("Run", facts_table([run])),
        ("Diagnosis", diagnosis(run)),
        ("Training", training(run)),
        ("Test images", tests(run)),
        ("Inside the model", inside(run)),
        ("Layers", layers(run)),
        ("Not in this report", missing(run)),
    ]
    return page(title_of(run), subtitle([run]), sections, "single")


def several(found):
    # Folders of the same name are told apart by their path.
    sections = [
        ("Runs", facts_table(found)),
        ("Training", beside_curves(found)),
        ("Diagnosis", beside(found, diagnosis)),
        ("Test images", beside(found, tests)),
        ("Inside the models", beside(found, inside)),
        ("Layers", beside(found, layers)),
        ("Not in this report", beside(found, missing, empty="Nothing is missing.")),
    ]
    return page(f"{len(found)} runs side by side", subtitle(found), sections, "several")


def page(title, said, sections, kind):
    sections = [(name, body) for name, body in sections if body]
    contents = " ".join(f'<a href="#part{k}">{escape(name)}</a>' for k, (name, _) in enumerate(sections))
    body = "\n".join(
        f'<section id="part{k}">\n<h2>{escape(name)}</h2>\n{text}\n</section>'
        for k, (name, text) in enumerate(sections)
    )
    template = string.Template(PAGE.read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), subtitle=escape(said), contents=contents, body=body, kind=kind)


def escape(text):
    """Text for HTML; what UTF-8 cannot hold, such as half a name of a broken folder, as a question mark."""
    return html.escape(str(text).encode("utf-8", "replace").decode("utf-8"))


def title_of(run):
    data = run.left.options.get("dataset") or run.left.note.get("data", {}).get("name")
    model = model_name(run)
    return f"{model} on {data}" if model and data else str(model or run.name)


def model_name(run):
    noted = run.left.note.get("model", {}).get("name")
    return run.left.options.get("model") or getattr(run.model, "name", None) or noted


def subtitle(found):
    from kerazoo.version import __version__

    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    where = ", ".join(run.name for run in found)
    return f"{where} · report of {now}, kerazoo {__version__}"


def facts_table(found):
    """What was trained on what: one column a run; rows that differ are marked."""
    columns = [facts(run) for run in found]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = []
    for name in names:
        cells = [column.get(name, "–") for column in columns]
        differs = ' class="differs"' if len(set(cells)) > 1 else ""
        cells = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr{differs}><th scope="row">{escape(name)}</th>{cells}</tr>')
    head = ""
    if len(found) > 1:
        head = f"<thead><tr><th></th>{''.join(f'<th scope=col>{escape(run.name)}</th>' for run in found)}</tr></thead>"
    note = '<p class="quiet">Rows in which the runs differ have a colored ground.</p>' if len(found) > 1 else ""
    return f'{note}<div class="scroll"><table class="facts">{head}<tbody>{"".join(rows)}</tbody></table></div>'


def facts(run):
    """{name: HTML} of what there is to say of a run in a line each."""
    from kerazoo.analyze.tables import macs_in_words

    left, found = run.left, {}

    def add(name, text):
        if text not in (None, ""):
            found[name] = escape(text)

    # A file may hold a model that was never built.
    known = run.model is not None and run.model.built
    parameters = run.model.count_params() if known else left.note.get("model", {}).get("parameters")
    macs = getattr(run.analysis, "macs", None)
    add("Model", ", ".join(filter(None, [
        str(model_name(run) or "not known"),
        f"{parameters:,} parameters" if isinstance(parameters, int) else "",
        f"{macs_in_words(macs)} multiply-accumulates an image" if macs else "",
    ])))
    add("Data", data_in_words(run))
    accuracy = left.test.get("accuracy")
    if is_number(accuracy):
        images = left.test.get("images")
        add("Test accuracy", f"{100 * accuracy:.2f} %" + (f" of {images:,} images" if isinstance(images, int) else "")
            + ", as the recipe measured it")
    if run.probabilities is not None:
        right = float((run.probabilities.argmax(-1) == run.labels).mean())
        if not is_number(accuracy) or abs(right - accuracy) > 5e-5 or len(run.labels) != left.test.get("images"):
            add("Test accuracy here", f"{100 * right:.2f} % of {run.data}")
    if best := runs.best_epoch(left):
        epoch, monitor, value = best
        shown = f"{100 * value:.2f} %" if "accuracy" in monitor else f"{value:.4g}"
        add("Best epoch", f"{epoch}: {monitor.replace('val_', 'validation ').replace('_', ' ')} {shown}")
    add("Epochs", epochs_in_words(left))
    if times := runs.sessions(left):
        begun, seconds, count = times
        add("Trained", begun.astimezone().strftime("%Y-%m-%d %H:%M")
            + (f", {duration(seconds)}" if seconds is not None else "")
            + (f", in {count} sessions" if count > 1 else ""))
    add("Optimizer", optimizer_in_words(left.note.get("optimizer")))
    add("Learning rate", rates_in_words(left.log.get("learning_rate")))
    if isinstance(left.note.get("command"), str):
        found["Command"] = f"<code>{escape(left.note['command'])}</code>"
    shown = {key: value for key, value in left.options.items() if str(value) not in ("None", "")}
    add("Options", ", ".join(f"{key} {value}" for key, value in sorted(shown.items())))
    versions = left.note.get("versions")
    if isinstance(versions, dict):
        add("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())
            + (f"; on {left.note['backend']}" if left.note.get("backend") else ""))
    add("Folder", left.folder)
    return found


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def data_in_words(run):
    note = run.left.note.get("data", {})
    name = run.left.options.get("dataset") or note.get("name") or "not known"
    parts = [str(name)]
    if isinstance(note.get("num_examples"), int):
        parts.append(f"{note['num_examples']:,} training images")
    classes = len(run.class_names) if run.class_names else note.get("classes")
    parts += [f"{classes:,} classes"] if isinstance(classes, int) else []
    shape = note.get("image_shape")
    parts += [" × ".join(map(str, shape)) + " pixels"] if isinstance(shape, list) else []
    return ", ".join(parts)


def epochs_in_words(left):
    done, planned = max(map(len, left.log.values()), default=0), whole(left.options.get("epochs"))
    said = f"{done:,}" + (f" of {planned:,}" if planned and planned != done else "")
    if left.place:
        return f"{said}; interrupted, or still running: saved at {left.place}"
    if not done and not planned:
        return ""
    return said + ("; training has stopped early" if planned and 0 < done < planned else "")


def optimizer_in_words(compiled):
    """The optimizer's name and settings, without its table of weights and what is off."""
    if not isinstance(compiled, dict):
        return compiled
    off = ("None", "False", "0", "0.0", "")
    idle = ("table", "name", *(["ema_"] if str(compiled.get("use_ema")) in off else []))
    settings = [
        f"{name} {value}" for name, value in compiled.items() if not name.startswith(idle) and str(value) not in off
    ]
    return ", ".join([str(compiled.get("name", "")), *settings]).removeprefix(", ")


def rates_in_words(rates):
    rates = [rate for rate in rates or [] if math.isfinite(rate)]
    if not rates:
        return ""
    if min(rates) == max(rates):
        return f"{rates[0]:.3g}"
    return f"{rates[0]:.3g} at the end of the first epoch, highest {max(rates):.3g}, last {rates[-1]:.3g}"


def diagnosis(run):
    """The findings of `kerazoo.train.Diagnostics` in words."""
    found = run.left.diagnosis
    if found is None:
        return note("No diagnosis was kept. kerazoo.train.Diagnostics(train, folder=run.path) among the callbacks of a "
                    "run watches training and says what is wrong.")
    findings = found.get("findings")
    if not isinstance(findings, list) or not all(isinstance(one, dict) for one in findings):
        return note("diagnosis.json holds no list of findings.")
    if not findings:
        return '<div class="finding healthy"><h3>Nothing was found to be wrong</h3></div>'
    return "".join(map(finding, findings))


def finding(one):
    severity = str(one.get("severity", "")).lower()
    kind = {"warning": " warning", "hint": " hint", "info": " hint", "note": " hint"}.get(severity, "")
    title = str(one.get("title") or one.get("kind") or "A finding")
    head = escape(title[:1].upper() + title[1:])
    epoch = one.get("epoch")
    where = [str(one["where"])] if one.get("where") else []
    where += [f"epoch {epoch}"] if is_number(epoch) else []
    parts = [f"<h3>{head}</h3>"]
    if where or severity:
        parts.append(f'<p class="quiet">{escape(", ".join([*where, *([severity] if severity else [])]))}</p>')
    if one.get("evidence"):
        parts.append(f"<p>{escape(sentence(one['evidence']))}</p>")
    if remedies := one.get("remedies"):
        remedies = remedies if isinstance(remedies, list) else [remedies]
        parts.append("<p>What to try, the most likely first:</p><ol>"
                     + "".join(f"<li>{escape(remedy)}</li>" for remedy in remedies) + "</ol>")
    return f'<div class="finding{kind}">{"".join(parts)}</div>'


def sentence(evidence):
    return "; ".join(map(str, evidence)) if isinstance(evidence, (list, tuple)) else evidence


def training(run):
    from kerazoo.visualize.training import curves, rates, schedule, usable

    log = {name: values for name, values in run.left.log.items() if usable(values)}
    if not log:
        return note("No epoch is in the log, so that there are no curves.")
    figures = [attempt(run, "curves", lambda: figure_html(
        curves(log), "Loss and accuracy over the epochs, in training and in validation",
        "Training and validation. In training, the model changes while the figures of an epoch are taken, and "
        "augmentation and dropout are at work."))]
    rate, steps = schedule_of(run.model)
    if rate is not None:
        figures.append(attempt(run, "schedule", lambda: figure_html(
            schedule(rate, steps), "Learning rate over the training", "The learning rate, as it was planned.")))
    elif log.get("learning_rate"):
        figures.append(attempt(run, "learning rate", lambda: figure_html(
            rates(run.left.log["learning_rate"]), "Learning rate over the epochs", "The learning rate.")))
    return f'<div class="figures">{"".join(figures)}</div>'


def schedule_of(model):
    """(the schedule that a model was compiled with, the batches of the training as far as is known), or (None, 0)."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "_learning_rate", None)  # `learning_rate` is what it says at this moment
    if rate is None or not hasattr(rate, "get_config"):
        return None, 0
    steps = max(int(getattr(rate, "end", 0)), int(np.asarray(optimizer.iterations)))
    return (rate, steps) if steps else (None, 0)


def beside_curves(found):
    from kerazoo.visualize.training import curves_of_runs, rates_of_runs

    logs = {run.name: run.left.log for run in found}
    figures = []
    for draw, alt in ((curves_of_runs, "Figures of all runs over the epochs"),
                      (rates_of_runs, "Learning rates of all runs over the epochs")):
        if (figure := draw(logs)) is not None:
            figures.append(figure_html(figure, alt, ""))
    return "".join(figures) or note("No run has an epoch in its log, so that there are no curves.")


def tests(run):
    from kerazoo.visualize.predictions import calibration, confusion_matrix, mistakes

    if run.probabilities is None:
        return note("There are no answers of the model to test images; see below.")
    labels, probabilities, names = run.labels, run.probabilities, run.class_names
    first = " (the first 20 of them)" if len(names) > 20 else ""
    return "".join([
        f"<p>The model's answers to {escape(run.data)}.</p>",
        '<div class="figures">',
        attempt(run, "confusion matrix", lambda: figure_html(
            confusion_matrix(labels, probabilities, names), "Confusion matrix",
            f"Which classes{first} it takes for which. A row is a true class, a column what the model says.")),
        attempt(run, "calibration", lambda: figure_html(
            calibration(labels, probabilities), "Calibration curve",
            "Whether it is right as often as it says. Dots below the dashed line: it is too sure of itself.")),
        "</div>",
        attempt(run, "mistakes", lambda: figure_html(
            mistakes(run.images, labels, probabilities, names, MISTAKES), "Misclassified test images",
            "Mistakes, the most confident first: look here for wrong labels, too.")),
    ])


def inside(run):
    from kerazoo.visualize.attribution import grad_cam
    from kerazoo.visualize.diagram import architecture
    from kerazoo.visualize.layers import feature_maps, filters

    if run.model is None:
        return note("There is no model to look into; see below.")
    parts = [
        attempt(run, "filters", lambda: figure_html(
            filters(run.model), "Filters of the first layer", "What the first layer looks for.")),
    ]
    if run.images is not None:
        parts.append(attempt(run, "maps of features", lambda: figure_html(
            feature_maps(run.model, run.images[0]), "Maps of features",
            "What layers make of the first test image: the first channels of the last map of each size.")))
        chosen = first_of_classes(run.labels)
        if run.probabilities is not None:
            parts.append(attempt(run, "Grad-CAM", lambda: figure_html(
                grad_cam(run.model, run.images[chosen], class_names=run.class_names), "Grad-CAM heatmaps",
                "Where the model sees the class that it names, in the first test images of some classes.")))
    parts.append(attempt(run, "drawing of the model", lambda: figure_html(
        architecture(run.model), "Drawing of the model", "How the layers are put together, from the image to the "
        "scores; of a deep model, the first page.")))
    return "".join(parts)


def first_of_classes(labels):
    """Places of the first image of each class, of some classes."""
    _, places = np.unique(labels, return_index=True)
    return np.sort(places)[:EXAMPLES]


def layers(run):
    if run.analysis is None:
        return note("There is no table of layers; see below.")
    table = getattr(run.analysis, "to_html", None)
    text = table() if table else f"<pre>{escape(run.analysis)}</pre>"
    rows = len(getattr(run.analysis, "rows", ()))
    text = f'<div class="scroll">{text}</div>'
    if rows <= LONG_TABLE:
        return text
    return f"<details><summary>{rows:,} layers: show the table</summary>{text}</details>"


def missing(run):
    if not run.missing:
        return ""
    said = dict.fromkeys(f"<li>{escape(what)}: {escape(why)}</li>" for what, why in run.missing)
    return f"<ul>{''.join(said)}</ul>"


def beside(found, part, empty=""):
    """The same part of all runs, each under its name."""
    bodies = [part(run) for run in found]
    if not any(bodies):
        return note(empty) if empty else ""
    return '<div class="beside">' + "".join(
        f"<div><h3>{escape(run.name)}</h3>{body or note(empty)}</div>" for run, body in zip(found, bodies)
    ) + "</div>"


def attempt(run, what, draw):
    """A picture, or a sentence about why there is none."""
    try:
        return draw()
    except Exception as error:  # a foreign model may raise anything, and the other pictures are worth having
        return note(f"No {what}: {reason(error)}")


def note(text):
    return f'<p class="note">{escape(text)}</p>' if text else ""


def figure_html(figure, alt, caption):
    """A figure with its picture inside of the page."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=SHARP * DPI)
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    text = base64.b64encode(small(content)).decode()
    return (
        f'<figure><div class="scroll"><img src="data:image/png;base64,{text}" width="{width}" height="{height}" '
        f'style="--w:{width}px" '
        f'alt="{escape(alt)}"></div><figcaption>{escape(caption)}</figcaption></figure>'
    )


def small(content):
    """A PNG with as few colors as do: those of drawings and heatmaps are few."""
    from PIL import Image

    picture = Image.open(content).convert("RGB")
    packed = io.BytesIO()
    if picture.getcolors(256) is None:
        picture = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(packed, "PNG", optimize=True)
    return packed.getvalue()
