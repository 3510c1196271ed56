"""One HTML file about a training run, or about several side by side."""
import pathlib

from kerazoo.files import put
from kerazoo.visualize import runs
from kerazoo.visualize.gather import look
from kerazoo.visualize.page import page
from kerazoo.visualize.run_facts import facts_table, subtitle, title_of
from kerazoo.visualize.sections import below, beside, beside_curves, diagnosis, inside, layers, missing, tests, training


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
    return make(folders, path, model, data)[0]


def make(folders, path=None, model=None, data=None):
    """Write the report -> (its path, what is told, a `Gathered` a run)."""
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
    return path, found


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
    sections = [
        ("Runs", facts_table(found)),
        ("Training", beside_curves(found)),
        ("Diagnosis", beside(found, diagnosis)),
        ("Test images", beside(found, tests)),
        ("Inside the models", beside(found, inside)),
        ("Layers", below(found, layers)),
        ("Not in this report", beside([run for run in found if run.missing], missing)),
    ]
    return page(f"{len(found)} runs side by side", subtitle(found), sections, "several")
