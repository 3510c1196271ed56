"""The recipe as a user runs it, on few images."""
import json
import os
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "recipes" / "augmentation_cifar10.py"


def run(folder, *options):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options], cwd=folder, text=True, capture_output=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_it_compares_augmentations_and_leaves_pictures(tmp_path):
    options = ("--dataset", "mnist_sample", "--train-images", "200", "--epochs", "1", "--seeds", "1", "--output", "out")
    result = run(tmp_path, *options)
    assert result.returncode == 0, result.stderr[-3000:]
    names = ["none", "crop + flip", "crop + flip + RandAugment", "crop + flip + CutMix"]
    table = result.stdout[result.stdout.index("mean ± standard deviation of 1"):].splitlines()[1:-1]
    assert [line[:27].strip() for line in table] == names

    written = json.loads((tmp_path / "out/accuracy.json").read_text())
    assert list(written["accuracy"]) == names and written["train_images"] == 200
    for line, (name, (accuracy,)) in zip(table, written["accuracy"].items()):
        assert line.split()[-4:] == [f"{100 * accuracy:.2f}", "±", "0.00", "%"]
        assert f"{name}, seed 0: {100 * accuracy:.2f} % of 2,000 test images" in result.stdout
    for picture in ("crop_flip", "crop_flip_randaugment", "crop_flip_cutmix"):
        assert min(Image.open(tmp_path / f"out/{picture}.png").size) > 400


def test_mistakes_are_answered_in_a_sentence(tmp_path):
    for options, message in (
        (["--train-images", "0"], "wanted a positive whole number, got '0'"),
        (["--dataset", "cifar"], "Unknown data set 'cifar'"),
        (["--train-imagse", "9"], "unrecognized arguments: --train-imagse"),
    ):
        result = run(tmp_path, *options)
        assert result.returncode in (1, 2) and message in result.stderr and "Traceback" not in result.stderr
