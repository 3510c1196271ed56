"""Clients that are not TensorFlow, many clients at once, and an export that is killed."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.export import runtimes

ROOT = pathlib.Path(kerazoo.__file__).parents[1]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return kerazoo.create_model("resnet20")


@pytest.fixture(scope="module")
def saved_model(model, tmp_path_factory):
    return kerazoo.export(model, tmp_path_factory.mktemp("exports") / "resnet20", verbose=False)


def test_openvino_reads_the_saved_model_as_it_is(model, saved_model, tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy\n"
        "for name in ('tensorflow', 'keras', 'kerazoo'): sys.modules[name] = None\n"
        "import openvino\n"
        "exact = {'INFERENCE_PRECISION_HINT': 'f32'}\n"
        "compiled = openvino.compile_model(openvino.convert_model(sys.argv[1]), 'CPU', exact)\n"
        "numpy.save(sys.argv[3], compiled({'images': numpy.load(sys.argv[2])})['logits'])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, saved_model, tmp_path / "images.npy", tmp_path / "logits.npy"],
        capture_output=True, text=True,
    )
    assert result.returncode == 0, result.stderr
    wanted = keras.ops.convert_to_numpy(model(images, training=False))
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), wanted, atol=1e-4 * max(1, np.abs(wanted).max()))


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.1, 0.6, 0.9, 1.0])
def test_an_export_that_is_killed_leaves_the_old_one_or_the_new_one(moment, tmp_path):
    """`moment` is a part of the seconds that the second export takes."""
    code = (
        "import sys, time, keras, kerazoo\n"
        "keras.utils.set_random_seed(0)\n"
        "model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])\n"
        "begun = time.monotonic()\n"
        "kerazoo.export(model, sys.argv[1], class_names=['old'] * 3, verbose=False)\n"
        "print(time.monotonic() - begun, flush=True)\n"
        "kerazoo.export(model, sys.argv[1], class_names=['new'] * 3, verbose=False)\n"
    )
    path = tmp_path / "model"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        seconds = float(process.stdout.readline())
        time.sleep(moment * seconds)
        os.killpg(process.pid, signal.SIGKILL)
    names = set(runtimes.load(path).class_names)
    assert names in ({"old"}, {"new"})
    assert names == {"old"} or moment > 0.3
    kerazoo.export(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]), path)
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.slow
def test_many_clients_at_once(saved_model):
    script = [sys.executable, ROOT / "benchmarks" / "export_load.py", saved_model, "--threads", "100"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([*script, "--seconds", "20"], capture_output=True, text=True, env=environment)
    print(result.stdout)
    assert result.returncode == 0 and " 0 wrong;" in result.stdout, result.stderr[-2000:]


@pytest.mark.slow
def test_one_model_of_each_family_goes_into_every_format():
    for package in ("onnxruntime", "tf2onnx", "ai_edge_litert", "openvino"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    script = [sys.executable, ROOT / "benchmarks" / "export_zoo.py", "--only-families", "--no-write"]
    result = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    print(result.stdout)
    lines = [line for line in result.stdout.splitlines() if line and not line.startswith(" ")]
    assert result.returncode == 0 and len(lines) == 10, result.stderr[-2000:]
    cells = [cell for line in lines for cell in line.split("  ")[2:] if cell]
    wrong = [cell for cell in cells if not re.fullmatch(r"\de-(0[4-9]|1\d)|0e\+00|not run|torchvision has no .*", cell)]
    # lenet5, cnn_mnist and resnet20.
    assert not wrong and sum(cell.startswith("torchvision has no") for cell in cells) == 3
