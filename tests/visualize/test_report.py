"""The report of a run: one HTML file, whatever the run has left."""
import base64
import html.parser
import io
import json
import re
import shutil

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import kerazoo
from kerazoo.train import Diagnostics, Run, WarmupCosine, checkpoint, optimizer
from kerazoo.visualize import report, runs

NAMES = ["<b>zero</b>", "one & two", "$three$"]
HOSTILE = '"><script>alert(1)</script>&amp;'


class Reader(html.parser.HTMLParser):
    """What is in a page: tags with their attributes, and the text that is read."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


def digits(n=60, size=12):
    random = np.random.default_rng(0)
    labels = np.arange(n) % 3
    images = random.integers(0, 60, (n, size, size, 1))
    for k, label in enumerate(labels):
        images[k, 4 * label : 4 * label + 4] += 150
    return images.astype("uint8"), labels


def network(kind="cnn"):
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 1))
    x = layers.Rescaling(1 / 255)(image)
    if kind == "cnn":
        x = layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    if kind == "lambda":
        x = layers.Lambda(lambda t: t + 1)(x)
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)), name=kind)


class Names(list):
    """Batches with the attributes of `kerazoo.data.load`."""

    class_names, num_examples, name, split = NAMES, 60, "stripes", "test"


def train(folder, kind="cnn", epochs=2, options=None):
    model, (images, labels) = network(kind), digits()
    model.compile(
        optimizer(model, "sgd", WarmupCosine(0.1, epochs, steps=4), momentum=0.9, verbose=False),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"],
    )
    with Run(folder, model, options) as run:
        model.fit(images, labels, 16, validation_data=(images, labels), epochs=epochs, verbose=0,
                  initial_epoch=run.initial_epoch, callbacks=run.callbacks())
    return model


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, its model, and what is not the run's own: run.json and the diagnosis."""
    folder = tmp_path_factory.mktemp("runs") / "stripes"
    model = train(folder, options={"dataset": "stripes", "model": "cnn", "epochs": 2, "batch_size": 16})
    note = {
        "version": 1, "command": f"python train.py --name '{HOSTILE}'", "backend": "tensorflow",
        "options": {"dataset": "stripes", "model": "cnn", "epochs": 2, "note": HOSTILE},
        "versions": {"kerazoo": "0.1.0", "keras": "3.15.0"}, "monitor": "val_accuracy",
        "data": {"name": "stripes", "num_examples": 60, "classes": 3, "image_shape": [12, 12, 1]},
        "optimizer": {"name": "SGD", "momentum": "0.9", "nesterov": "False", "table.0.0": "conv/kernel"},
        "sessions": [{"started": "2026-01-01T10:00:00+00:00", "ended": "2026-01-01T10:01:30+00:00"}],
    }
    (folder / "run.json").write_text(json.dumps(note))
    finding = {
        "kind": "dead", "title": "dying ReLUs", "where": HOSTILE, "evidence": "45 % are <zero>", "severity": "severe",
        "remedies": ["a lower rate", 'activation="leaky_relu"'], "epoch": 2,
    }
    (folder / "diagnosis.json").write_text(json.dumps({"version": 1, "findings": [finding], "measures": [{}] * 4}))
    return folder, model


def test_a_report_tells_all_of_a_run_and_is_one_file(finished, tmp_path):
    folder, model = finished
    images, labels = digits()
    path = report(folder, model=model, data=Names([(images[:40], labels[:40]), (images[40:], labels[40:])]),
                  path=tmp_path / "out" / "r.html")
    page = read(path)
    for words in (
        "cnn on stripes", "python train.py", "keras 3.15.0", "60 training images, 3 classes, 12 × 12 × 1 pixels",
        "1:30 min", "Best epoch", "Dying ReLUs", "45 % are <zero>", 'activation="leaky_relu"', "a lower rate",
        "60 test images of stripes", "The learning rate, as it was planned.", "rescaling", "Test accuracy",
        "SGD, momentum 0.9 ", "k multiply-accumulates an image", "2 epochs, 4 measurements",
    ):
        assert words in page.text, words
    assert "table.0.0" not in page.text and "nesterov" not in page.text
    assert "Not in this report" not in page.text and not re.search(r"\bNo (curves|\w+ matrix|filters|maps)", page.text)
    alts = [image["alt"] for image in page.all("img")]
    assert len(alts) == 9
    assert {"Confusion matrix", "Grad-CAM heatmaps", "Maps of features", "Drawing of the model"} <= set(alts)
    for image in page.all("img"):
        picture = Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))))
        assert picture.format == "PNG" and picture.width == 2 * int(image["width"])
    # Nothing of a name became markup, nothing is fetched, nothing runs.
    assert not page.all("script") and not page.all("b") and HOSTILE in page.text
    urls = [value for _, tag in page.tags for key, value in tag.items() if key in ("src", "href")]
    assert all(url.startswith(("data:", "#")) for url in urls)
    (policy,) = (tag["content"] for tag in page.all("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert path.stat().st_size < 1_500_000


def test_the_folder_alone_will_do(finished):
    folder, _ = finished
    assert report(str(folder)) == folder / "report.html"
    page = read(folder / "report.html")
    assert "rescaling" in page.text
    assert "Filters of the first layer" in [image["alt"] for image in page.all("img")]
    assert "Test images: Unknown data set 'stripes'" in page.text and "There are no answers of the model" in page.text


def test_no_name_becomes_markup(tmp_path):
    """Names of a folder, a data set, a model, a layer, a file and of what a run has noted, all in the page's text."""
    folder = tmp_path / "<b>run & co"
    folder.mkdir()
    image = keras.Input((12, 12, 1))
    x = layers.Conv2D(3, 3, name="<i>conv & co")(image)
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)), name="<u>net & co")
    (folder / "step_<s>.checkpoint").write_bytes(b"other")
    note = {"options": {"<em>": "<big>"}, "versions": {"<tt>": "<q>"}, "backend": "<sub>", "monitor": ["<sup>"]}
    (folder / "run.json").write_text(json.dumps(note))
    data = Names([digits()])
    data.name, data.split, data.class_names = "<h4>stripes & co", "<h5>test", ["<h6>a"]
    marks = {"b", "i", "u", "s", "em", "big", "tt", "q", "sub", "sup", "h4", "h5", "h6"}
    # TensorFlow runs no model of such a name, so that the data set has a report of its own.
    for given, names in (
        ({"model": model}, ("<i>conv & co", "<u>net & co")),
        ({"model": network(), "data": data}, ("60 <h5>test images of <h4>stripes & co",)),
    ):
        page = read(report(folder, **given))
        for name in ("<b>run & co", "step_<s>.checkpoint", "<em> <big>", "<tt> <q>", "<sub>", *names):
            assert name in page.text, name
        assert not marks.intersection(tag for tag, _ in page.tags)


def test_multiply_accumulates_are_told_in_words(tmp_path):
    image = keras.Input((224, 224, 3))
    x = layers.Conv2D(64, 3, padding="same")(layers.Conv2D(64, 3, padding="same")(image))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert "1.936 G multiply-accumulates an image" in read(report(tmp_path, model=model)).text


def test_a_model_of_open_size_is_told_at_the_size_of_the_images(tmp_path):
    image = keras.Input((None, None, 1))
    x = layers.Conv2D(4, 3, name="conv")(image)
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    text = read(report(tmp_path, model=model, data=digits())).text
    assert "The table of layers" not in text and "10 x 10 x 4" in text
    # Without images, nothing says how large they are.
    assert "The table of layers: " in read(report(tmp_path, model=model)).text


def test_a_data_set_that_is_at_hand_is_found(tmp_path):
    model = kerazoo.mlp(units=(8,))
    model.save(tmp_path / "best.keras")
    test = {"accuracy": 0.5, "images": 30, "dataset": "mnist_sample", "model": "mlp", "limit": 30}
    (tmp_path / "test.json").write_text(json.dumps(test))
    page = read(report(tmp_path))
    assert "30 test images of mnist_sample" in page.text and "50.00 % of 30 images" in page.text
    # Without convolutions: the dense weights as pictures, and a sentence where there is nothing to see.
    assert "No maps of features: mlp has no convolution" in page.text
    assert "No Grad-CAM: mlp has no map of features" in page.text
    assert "Filters of the first layer" in [image["alt"] for image in page.all("img")]
    assert "No epoch is in the log" in page.text and "No diagnosis was kept" in page.text


def test_a_set_that_would_be_downloaded_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    network().save(tmp_path / "last.keras")
    (tmp_path / "test.json").write_text(json.dumps({"dataset": "cifar10", "data_dir": str(tmp_path / "none")}))
    page = read(report(tmp_path))
    assert "'cifar10' is not here, and a report downloads none" in page.text and not (tmp_path / "none").exists()


def test_a_run_that_was_cut(finished, tmp_path):
    folder, _ = finished
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copy(folder / "log.csv", cut)
    options = {"dataset": "stripes", "model": "cnn", "epochs": 9}
    note = {"options": options, "state": {"epoch": 2, "batch": 3, "step": 11}}
    checkpoint.write(cut / "step_000000011.checkpoint", note, {"w": np.zeros(3)})
    page = read(report(cut))
    assert "2 of 9; interrupted, or still running: saved at batch 3 of epoch 3" in page.text
    assert "The model: neither best.keras nor last.keras is in the folder" in page.text
    assert "Loss and accuracy over the epochs, in training and in validation" in [i["alt"] for i in page.all("img")]


def test_a_real_run_that_is_killed_has_a_report(tmp_path):
    model, (images, labels) = network(), digits()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        with Run(tmp_path, model, {"model": "cnn", "epochs": 5}, save_every=0) as run:
            model.fit(images, labels, 16, validation_data=(images, labels), epochs=5, verbose=0,
                      callbacks=run.callbacks(Kill()))
    text = read(report(tmp_path)).text
    assert "2 of 5; interrupted, or still running: saved at the end of epoch 2" in text


def test_damaged_files_are_told_and_do_not_stop_the_rest(tmp_path):
    (tmp_path / "best.keras").write_bytes(b"PK no")
    (tmp_path / "test.json").write_text("{")
    (tmp_path / "diagnosis.json").write_text('["x"]')
    (tmp_path / "log.csv").write_text("epoch,loss\n0,much\n")
    (tmp_path / "class_names.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "step_000000001.checkpoint").write_bytes(b"other")
    text = read(report(tmp_path)).text
    for words in ("test.json cannot be read", "diagnosis.json is not what a run writes", "log.csv cannot be read",
                  "class_names.txt cannot be read: it is not text", "best.keras cannot be read: it is damaged",
                  "step_000000001.checkpoint cannot be read"):
        assert words in text, words
    assert "log.csv cannot be read, so that there are no curves" in text and "not known, as log.csv" in text
    assert "not found" not in text.lower() and "The model:" not in text


@pytest.mark.parametrize(("content", "said"), [
    (b"\xd6\x00\xff" * 50, "it is not text"), (b"hello, world\nthis is no log\n", "it is no table of epochs"),
    (b"garbage", "it is no table of epochs"), (b"", "it is no table of epochs"),
    (b"epoch,loss\n0,1,2\n", "a line of it has more entries"), (b"epoch,loss\n0,much\n", "could not convert"),
], ids=["bytes", "words", "word", "empty", "wide", "no number"])
def test_garbage_in_place_of_a_log_is_told(content, said, tmp_path):
    (tmp_path / "log.csv").write_bytes(content)
    text = read(report(tmp_path)).text
    assert f"A file: log.csv cannot be read: {said}" in text and "log.csv cannot be read, so that there are no" in text


def test_the_last_model_stands_in_for_a_best_one_that_is_damaged(tmp_path):
    network().save(tmp_path / "last.keras")
    whole = (tmp_path / "last.keras").read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:-100], whole[:middle] + bytes(64) + whole[middle + 64 :]):
        (tmp_path / "best.keras").write_bytes(damaged)
        page = read(report(tmp_path))
        assert "best.keras cannot be read: it is damaged, or was cut short; last.keras stands in for it." in page.text
        assert "Filters of the first layer" in [image["alt"] for image in page.all("img")]


@pytest.mark.parametrize(("log", "measures", "shown", "said"), [
    ("epoch,loss\n0,1\n1,1\n2,1\n", 8, "healthy", "Nothing was found to be wrong (3 epochs, 8 measurements)"),
    ("epoch,loss\n0,1\n", 1, "healthy", "Nothing was found to be wrong (1 epoch, 1 measurement)"),
    ("epoch,loss\n0,1\n", 0, "hint", "Nothing that could be seen was found to be wrong (1 epoch, 0 measurements)"),
    ("garbage", 8, "warning", "(8 measurements) Files of the run cannot be read"),
], ids=["many", "one", "blind", "damaged"])
def test_the_verdict_says_what_it_rests_on_and_is_green_for_what_was_seen_whole(log, measures, shown, said, tmp_path):
    (tmp_path / "log.csv").write_text(log)
    diagnosis = {"version": 1, "findings": [], "measures": [{"epoch": 0}] * measures}
    (tmp_path / "diagnosis.json").write_text(json.dumps(diagnosis))
    page = read(report(tmp_path))
    assert said in page.text
    assert [box["class"] for box in page.all("div") if "finding" in box.get("class", "")] == [f"finding {shown}"]


@pytest.mark.parametrize("watched", [True, False])
def test_a_run_that_was_cut_in_its_first_epoch_has_no_diagnosis_yet(watched, tmp_path):
    model, (images, labels) = network(), digits()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise KeyboardInterrupt

    own = [Kill(), *([Diagnostics((images, labels), folder=tmp_path, verbose=False)] if watched else [])]
    with pytest.raises(SystemExit):
        with Run(tmp_path, model, {"model": "cnn", "epochs": 5}) as run:
            model.fit(images, labels, 16, epochs=5, verbose=0, callbacks=run.callbacks(*own))
    text = read(report(tmp_path)).text
    assert ("There is no diagnosis yet: no epoch has ended" in text) == watched
    assert ("No diagnosis was kept. kerazoo.train.Diagnostics" in text) != watched


DAMAGED = {
    "nothing": (
        {"model": None, "data": None, "options": None, "monitor": None, "sessions": None, "versions": None}, ()
    ),
    "words": (
        {"model": "cnn", "data": "stripes", "options": "all", "monitor": 3},
        ("its 'model' is a str", "its 'data' is a str", "its 'options' is a str", "its 'monitor' is a int"),
    ),
    "lists": (
        {"model": [1], "data": [1], "options": ["x"], "monitor": ["x"], "optimizer": [1], "versions": [1],
         "command": ["x"], "sessions": [["x"]]},
        ("its 'model' is a list", "its 'data' is a list", "its 'options' is a list", "its 'monitor' is a list"),
    ),
    "inside": (
        {"model": {"name": [1], "parameters": "2"}, "data": {"name": [1], "classes": "x", "image_shape": "x"},
         "options": {"dataset": ["x"], "epochs": "x", "model": {}}, "sessions": [{"started": 1}]}, (),
    ),
}


@pytest.mark.parametrize(("note", "said"), DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("with_model", [False, True])
def test_a_note_that_no_run_wrote_is_told_and_does_not_stop_the_rest(note, said, with_model, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(note))
    (tmp_path / "log.csv").write_text("epoch,loss,val_loss\n0,3,2\n1,2,1\n")
    state = {"epoch": note["model"], "batch": "x", "step": None}
    checkpoint.write(tmp_path / "step_000000001.checkpoint", {"options": note["options"], "state": state}, {})
    page = read(report(tmp_path, model=network() if with_model else None))
    for words in said:
        assert f"run.json is not what a run writes: {words}." in page.text, words
    assert ("run.json is not" in page.text) == bool(said)
    assert "Best epoch 2: validation loss 1" in page.text and "before its first step was saved" in page.text


def test_a_log_with_a_byte_of_nothing_is_told(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"epoch,loss\n0,\x001\n")
    assert "log.csv cannot be read" in read(report(tmp_path)).text


def test_a_model_with_a_lambda(tmp_path):
    model, (images, labels) = network("lambda"), digits()
    model.save(tmp_path / "best.keras")
    # Keras refuses to run what is in the file.
    assert "The model: " in read(report(tmp_path)).text
    page = read(report(tmp_path, model=model, data=(images, labels)))
    assert "Confusion matrix" in [image["alt"] for image in page.all("img")] and "Lambda" in page.text


def test_a_subclassed_model_is_told(tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x):
            return self.dense(layers.Flatten()(x))

    model, (images, labels) = Own(), digits()
    model(images[:1].astype("float32"))
    text = read(report(tmp_path, model=model, data=(images, labels))).text
    assert "is a subclassed model (Own)" in text and "Not in this report" in text


def test_several_runs_side_by_side(finished, tmp_path, monkeypatch):
    folder, _ = finished
    other = tmp_path / "other"
    train(other, "dense", 3, {"model": "dense", "epochs": 3})
    monkeypatch.chdir(tmp_path)
    path = report(folder, other)
    assert path.resolve() == tmp_path / "report.html"
    page = read(path)
    alts = [image["alt"] for image in page.all("img")]
    assert "Figures of all runs over the epochs" in alts and alts.count("Drawing of the model") == 2
    assert "2 runs side by side" in page.text and str(other) in page.text
    marked = [row for row in page.all("tr") if row.get("class") == "differs"]
    assert len(marked) > 3
    assert re.search(r"after epochs: [\d.e-]+ after the first, highest [\d.e-]+, [\d.e-]+ after the last", page.text)
    # Tables are as wide as the page: one below the other.
    tables = path.read_text(encoding="utf-8").split("<h2>Layers</h2>")[1].split("<h2>")[0]
    assert tables.count("<table") == 2 and 'class="beside"' not in tables


def test_a_log_that_ends_within_a_line_is_read_without_it(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,learning_rate\n0,2.0,0.1\n1,1.5,8.5", encoding="utf-8")
    page = read(report(tmp_path))
    assert "log.csv ends in the middle of a line, which is left out" in page.text and "8.5" not in page.text


def test_a_loss_that_never_was_a_number_has_a_picture(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,accuracy,learning_rate\n0,nan,0.1,0.1\n", encoding="utf-8")
    (tmp_path / "run.json").write_text(json.dumps({"version": 1, "options": {"epochs": 5}}))
    page = read(report(tmp_path))
    assert "Loss and accuracy over the epochs, in training and in validation" in [i["alt"] for i in page.all("img")]
    assert "1 of 5; training ended before, as early stopping ends it" in page.text
    (tmp_path / "log.csv").write_text("epoch,learning_rate\n0,0.1\n", encoding="utf-8")
    assert "No loss of an epoch is in the log" in read(report(tmp_path)).text


def test_two_runs_have_one_row_of_test_accuracy_and_no_word_on_what_is_not_missing(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        kerazoo.mlp(units=(8,)).save(tmp_path / name / "best.keras")
        (tmp_path / name / "run.json").write_text(json.dumps({"options": {"dataset": "mnist_sample", "limit": 30}}))
    (tmp_path / "a" / "test.json").write_text(json.dumps({"accuracy": 0.99, "images": 2000}))
    path = report(tmp_path / "a", tmp_path / "b", path=tmp_path / "r.html")
    rows = re.findall(r'<th scope="row">(Test accuracy.*?)</th>(.*?)</tr>', path.read_text(encoding="utf-8"))
    assert [name for name, _ in rows] == ["Test accuracy"]
    first, second = re.findall("<td>(.*?)</td>", rows[0][1])
    assert first.startswith("99.00 % of 2,000 images, as the recipe measured it; ")
    own = " % of 30 test images of mnist_sample, measured for this report"
    assert first.endswith(own) and second.endswith(own)
    text = read(path).text
    assert "Nothing is missing" not in text and "Not in this report" not in text
    # Of several, those alone that miss something are named.
    (tmp_path / "b" / "class_names.txt").write_bytes(b"\xff")
    text = read(report(tmp_path / "a", tmp_path / "b", path=tmp_path / "r.html")).text
    assert text.rpartition("Not in this report")[2].strip().startswith(f"{tmp_path / 'b'} A file: class_names.txt")


def test_the_best_epoch_and_the_time_are_those_of_the_files(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,val_loss\n0,3,2\n1,2,\n2,1,1.5\n3,0.5,1.5\n")
    left = runs.read_run(tmp_path)
    assert runs.best_epoch(left) == (3, "val_loss", 1.5)
    left.note["sessions"] = [{"started": "2026-01-01T00:00:00", "ended": None}]
    assert runs.sessions(left)[1:] == (None, 1)
    # A time without a zone is that of the clock here.
    left.note["sessions"] = [{"started": "2026-01-01T00:00:00", "ended": "2026-01-05T00:00:00+00:00"}]
    assert abs(runs.sessions(left)[1] - 4 * 86400) <= 14 * 3600
    left.note["sessions"] = [{"started": "0001-01-01T00:00:00", "ended": "9999-12-31T23:59:59+00:00"}]
    runs.sessions(left)
    left.note["sessions"] = "yesterday"
    assert runs.sessions(left) is None


MISTAKES = {
    "none": (lambda folder: report(), ValueError, "folders: got none"),
    "not there": (lambda folder: report(folder / "x"), FileNotFoundError, "There is no folder .*x. Wanted: the folder"),
    "empty": (lambda folder: report(folder / "empty"), ValueError, "nothing of a training run in .*empty: no log.csv"),
    "file": (lambda folder: report(folder / "notes.txt"), NotADirectoryError, "notes.txt is a file.*such as runs/x"),
    "file of a run": (
        lambda folder: report(folder / "above/a/log.csv"), NotADirectoryError, "log.csv is a file. Wanted: .*above/a.$"
    ),
    "above": (lambda folder: report(folder / "above"), ValueError, "sub-folders do: kerazoo report .*above/a .*/b"),
    "path": (lambda folder: report(folder / "above/a", path=folder / "report.txt"), ValueError, "ends in .html"),
    "model's file": (
        lambda folder: report(folder / "above/a", model="best.keras"), ValueError,
        "model: got 'best.keras', wanted a keras.Model. .* kerazoo.load_model"
    ),
    "model without weights": (
        lambda folder: report(folder / "above/a", model=keras.Sequential([layers.Dense(3)], name="bare")), ValueError,
        "model: 'bare' has not been built"
    ),
    "model of several": (lambda folder: report(folder, folder, model=1), ValueError, "for the report of one run"),
}


@pytest.mark.parametrize(("call", "kind", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_does_not_fit_is_answered_in_words(call, kind, message, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    for name in "ab":
        (tmp_path / "above" / name).mkdir(parents=True)
        (tmp_path / "above" / name / "log.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(kind, match=message):
        call(tmp_path)
    assert not list(tmp_path.rglob("*.html"))


# In a browser


@pytest.mark.parametrize("width", [1200, 360])
def test_it_opens_without_requests_and_complaints(finished, tmp_path, chromium, width):
    folder, model = finished
    path = report(folder, model=model, data=Names([digits()]), path=tmp_path / "report.html")
    page = chromium.new_page(viewport={"width": width, "height": 800})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    loaded = "[...document.images].map(image => image.complete && image.naturalWidth > 0)"
    pictures = page.evaluate(loaded)
    assert len(pictures) == 9 and all(pictures)
    # The page itself never scrolls sideways, also on a phone.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
    page.close()
    assert said == [] and [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
