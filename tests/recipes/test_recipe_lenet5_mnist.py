"""The recipe as a user runs it: the script, in a process of its own."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "recipes" / "lenet5_mnist.py"


def start(folder, *options):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--output", "runs/digits", *options], cwd=folder, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run(folder, *options):
    process = start(folder, *options)
    output, errors = process.communicate(timeout=600)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder of digits to train on, small enough for seconds: 10 classes, 30 images each."""
    from kerazoo.data import load

    folder = tmp_path_factory.mktemp("recipe")
    images, labels = next(load("mnist_sample", "train", batch_size=1000).as_numpy_iterator())
    for label in range(10):
        (folder / "images" / str(label)).mkdir(parents=True)
        for i, image in enumerate(images[labels == label][:30]):
            Image.fromarray(image[..., 0]).save(folder / "images" / str(label) / f"{i}.png")
    return folder


def test_it_leaves_a_model_logs_pictures_and_an_export(digits):
    code, output, errors = run(digits, "--dataset", "folder:images", "--epochs", "2", "--mixed-precision")
    assert code == 0, errors[-3000:]
    assert "Test accuracy: " in output and "Epoch 2/2" in output
    files = {path.name for path in (digits / "runs/digits").iterdir()}
    assert {"best.keras", "log.csv", "tensorboard", "curves.png", "mistakes.png", "test.json", "report.html"} <= files
    for picture in ("curves.png", "mistakes.png"):
        width, height = Image.open(digits / "runs/digits" / picture).size
        assert width > 300 and height > 200
    result = json.loads((digits / "runs/digits/test.json").read_text())
    assert 0 <= result["accuracy"] <= 1 and result["seed"] == 0

    # The export and the best checkpoint say the same, in a process without Keras.
    import kerazoo
    from kerazoo.export.predict import Predictor

    images, _ = next(kerazoo.data.load(f"folder:{digits}/images", "test").as_numpy_iterator())
    model = kerazoo.load_model(digits / "runs/digits/best.keras")
    expected = np.asarray(model.predict(images, verbose=0)).argmax(-1)
    found = [best[0][0] for best in Predictor(digits / "saved_models/digits").predict(images)]
    assert found == [str(label) for label in expected]


def test_ctrl_c_ends_with_one_line_and_the_same_command_goes_on(digits):
    options = ("--dataset", "folder:images", "--epochs", "12", "--output", "runs/cut")
    process = start(digits, *options)
    log = digits / "runs/cut/log.csv"
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGINT and "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert "Interrupted. Saved in runs/cut" in last and "The same command goes on" in last

    code, output, errors = run(digits, *options[:2], "--epochs", "13", "--output", "runs/cut")
    assert code == 1 and "error: runs/cut holds an interrupted run with other options (--epochs 12 then" in errors

    code, output, errors = run(digits, *options)
    assert code == 0, errors[-3000:]
    assert "Going on from " in output and "Epoch 12/12" in output and "Epoch 1/12" not in output
    assert len(log.read_text().splitlines()) == 13 and not list(log.parent.glob("step_*"))


MISTAKES = {
    "data set": (["--dataset", "minst"], "error: Unknown data set 'minst'"),
    "model": (["--model", "lenet6"], "error: Unknown model 'lenet6'; did you mean lenet5"),
    "epochs": (["--epochs", "0"], "wanted a positive whole number, got '0'"),
    "output": (["--output", "file"], "error: The output must be a folder; file is a file"),
    "export": (["--output", "runs/taken"], "taken: the folder holds notes.txt, and only a SavedModel exported earlier"),
}


@pytest.mark.parametrize(("options", "message"), [
    pytest.param(*one, marks=() if name in ("data set", "export") else pytest.mark.slow, id=name)
    for name, one in MISTAKES.items()
])
def test_mistakes_are_answered_in_a_sentence(options, message, digits):
    (digits / "file").touch()
    (digits / "saved_models/taken").mkdir(parents=True, exist_ok=True)
    (digits / "saved_models/taken/notes.txt").touch()
    code, _, errors = run(digits, *options)
    assert code in (1, 2) and message in errors and "Traceback" not in errors


@pytest.mark.slow
def test_the_readme_command_reaches_its_accuracy(tmp_path):
    code, output, errors = run(tmp_path)
    assert code == 0, errors[-3000:]
    assert json.loads((tmp_path / "runs/digits/test.json").read_text())["accuracy"] >= 0.985
