"""benchmarks/accuracy.sh, at the size of a trial."""
import os
import pathlib
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest

import kerazoo

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "benchmarks" / "accuracy.py"))


def in_order(images, labels):
    return sorted((int(label), image[..., 0].tobytes()) for image, label in zip(images, labels))


def test_images_come_out_as_they_went_in(script, tmp_path, capsys):
    script["prepare"](tmp_path, tiny=True)
    assert script["unpack"](tmp_path, {"train": 20, "test": 10}) == 0
    # One part alone: what is missing is counted.
    for file in (tmp_path / "cifar10").rglob("*.png"):
        file.unlink()
    hidden = (tmp_path / "part2").rename(tmp_path / "away")
    assert script["unpack"](tmp_path, {"train": 20, "test": 10}) == 150
    hidden.rename(tmp_path / "part2")
    assert script["unpack"](tmp_path, {"train": 20, "test": 10}) == 0
    options = dict(batch_size=100, validation_split=0)
    for split in ("train", "test"):
        images, labels = kerazoo.data.arrays(kerazoo.data.load(f"folder:{tmp_path / 'cifar10'}", split, **options))
        count = len(labels)
        expected, marks = kerazoo.data.arrays(
            kerazoo.data.load("mnist_sample", split, image_size=32, limit=count, **options)
        )
        assert images.shape[1:] in ((32, 32, 1), (32, 32, 3))
        assert in_order(images, labels) == in_order(expected, marks)


def test_the_committed_table_names_every_training(script):
    text = (ROOT / "benchmarks/results/accuracy-gpu.md").read_text()
    for name, training in script["TRAININGS"].items():
        command = " ".join((f"recipes/{training.recipe}.py", *training.options))
        assert f"| {name} | `{command}` |" in text


@pytest.mark.slow
def test_a_trial_trains_each_seed_and_prints_mean_and_spread(tmp_path):
    command = [ROOT / "benchmarks/accuracy.sh", "--tiny", "--only", "ResNet-20", "--seeds", "2", "--work", tmp_path]
    result = subprocess.run(
        list(map(str, command)), text=True, capture_output=True, timeout=1800,
        env={**os.environ, "PYTHON": sys.executable},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    row = re.search(r"\| ResNet-20 \| .* \| ([\d.]+) ± ([\d.]+) \| .* \| ([\d.]+) ([\d.]+) \| 1 \|", result.stdout)
    mean, spread, *each = map(float, row.groups())
    assert mean == pytest.approx(np.mean(each), abs=0.006) and spread == pytest.approx(np.std(each, ddof=1), abs=0.006)
    assert "these figures mean nothing" in (tmp_path / "tiny/table.md").read_text()
