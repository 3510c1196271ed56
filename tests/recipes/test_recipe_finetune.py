"""Fine-tuning and the learning rate range test as a user runs them: scripts, in processes of their own."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]


def run(name, folder, *options, backend="tensorflow"):
    return subprocess.run(
        [sys.executable, str(ROOT / "recipes" / f"{name}.py"), *options], cwd=folder, text=True, capture_output=True,
        timeout=1800, env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
    )


@pytest.mark.slow
def test_fine_tuning_leaves_a_model_and_an_export(tmp_path):
    """On a folder of one's own, with weights from a file: the road that the docstring names."""
    import kerazoo
    from kerazoo.export.predict import Predictor

    images, labels = kerazoo.data.arrays(kerazoo.data.load("mnist_sample", "test", limit=60))
    for label in range(3):
        (tmp_path / "photos" / str(label)).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(images, labels)):
        Image.fromarray(image[..., 0]).convert("RGB").save(tmp_path / "photos" / str(label % 3) / f"{number}.png")
    pretrained = kerazoo.resnet18(classes=7, input_shape=(32, 32, 3))
    kerazoo.save_weights(pretrained, tmp_path / "own.safetensors")

    options = ("--dataset", "folder:photos", "--weights", "own.safetensors", "--image-size", "32", "--head-epochs", "2",
               "--epochs", "1", "--rate", "1e-9", "--output", "runs/own")
    result = run("finetune_resnet18", tmp_path, *options)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "images are computed once: 512 numbers each" in result.stdout
    assert "20 batch norms in inference mode" in result.stdout and "x 10" in result.stdout
    written = json.loads((tmp_path / "runs/own/test.json").read_text())
    assert f"Test accuracy: {100 * written['accuracy']:.2f} % of {written['images']} images" in result.stdout

    diagnosis = json.loads((tmp_path / "runs/own/diagnosis.json").read_text())
    assert diagnosis["measures"][0]["step"] == 0 and "stem_conv" in diagnosis["measures"][0]["layers"]
    page = (tmp_path / "runs/own/report.html").read_text()
    assert "Diagnosis" in page and "No diagnosis was kept" not in page

    # At such a rate, the backbone is what was in the file.
    model = kerazoo.load_model(tmp_path / "runs/own/best.keras")
    for name in ("stem_conv", "stage4_block2_conv2"):
        kernels = [np.asarray(one.get_layer(name).get_weights()[0]) for one in (model, pretrained)]
        np.testing.assert_allclose(*kernels, atol=1e-6)
    images, _ = kerazoo.data.arrays(kerazoo.data.load(f"folder:{tmp_path}/photos", "test", image_size=32))
    expected = np.asarray(model.predict(images, verbose=0)).argmax(-1)
    found = [best[0][0] for best in Predictor(tmp_path / "saved_models/own").predict(images)]
    assert found == [str(label) for label in expected]


@pytest.mark.slow
def test_smoke_of_fine_tuning(tmp_path):
    result = run("finetune_resnet18", tmp_path, "--smoke", backend="jax")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "With the head alone: " in result.stdout and (tmp_path / "runs/finetune_resnet18_smoke/best.keras").exists()


def test_smoke_of_the_range_test(tmp_path):
    result = run("lr_find", tmp_path, "--smoke")
    assert result.returncode == 0, result.stderr[-3000:]
    written = json.loads((tmp_path / "runs/lr_find_smoke/lr_find.json").read_text())
    assert 1e-4 < written["suggestion"] < 1 and f"Suggested learning rate: {written['suggestion']:.1e}" in result.stdout
    assert min(Image.open(tmp_path / "runs/lr_find_smoke/lr_find.png").size) > 400


@pytest.mark.slow
def test_mistakes_are_answered_in_a_sentence(tmp_path):
    for name, options, message in (
        ("finetune_resnet18", ["--dataset", "folder:nowhere"], "nowhere"),
        ("finetune_resnet18", ["--dataset", "mnist_sample", "--image-size", "32", "--weights", "no.pth"], "no.pth"),
        ("lr_find", ["--optimizer", "adamx"], "Unknown optimizer 'adamx'"),
    ):
        result = run(name, tmp_path, *options)
        assert result.returncode in (1, 2) and message in result.stderr, result.stderr
        assert "Traceback" not in result.stderr
