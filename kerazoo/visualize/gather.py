"""What is known of a run for its report: what its folder holds, its model, and the model's answers to test images."""
import contextlib
import dataclasses

import numpy as np

from kerazoo.visualize import runs

MOST_IMAGES = 10_000  # of a test split
MOST_BYTES = 500_000_000  # of their pixels
BATCH = 64


@dataclasses.dataclass
class Gathered:
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


def look(left, model, data):
    """All that is known of a run; what cannot be had is noted, and does not stop the rest."""
    run = Gathered(str(left.folder), left)
    run.missing += [("A file", sentence) for sentence in left.problems]
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
    """The best model, else the last one; None where neither can be loaded."""
    if not run.left.model_files and not run.left.damaged_models:
        run.missing.append((
            "The model", "neither best.keras nor last.keras is in the folder. A run writes the best after an epoch, "
            "and the last when it ends."
        ))
    from kerazoo.saving import load_model

    for file in run.left.model_files:
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
