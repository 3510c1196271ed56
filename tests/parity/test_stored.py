"""The same comparison where no other library is installed: weights by rule, and stored logits of PyTorch."""
import importlib.util
import pathlib

import numpy as np
import pytest

import kerazoo
from kerazoo.weights.writers import write_pytorch, write_safetensors

spec = importlib.util.spec_from_file_location("make_stored", pathlib.Path(__file__).with_name("make_stored.py"))
make_stored = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_stored)


@pytest.mark.parametrize("name", make_stored.NETWORKS)
def test_logits_are_the_stored_ones(name, tmp_path):
    stored = make_stored.read(name)
    arrays, path = make_stored.fill(stored["arrays"]), tmp_path / "weights.pth"
    (write_pytorch if name == "resnet18" else write_safetensors)(path, arrays)
    dense = name.startswith(("alexnet", "vgg"))
    options = {"aux_heads": False} if name in ("googlenet_bn", "inception_v3") else {}
    model = None
    for size, expected in stored["logits"].items():
        size = int(size)
        if dense or model is None:
            model = kerazoo.create_model(
                name, classes=10, preprocessing=None, input_shape=(size, size, 3) if dense else (None, None, 3),
                **options,
            )
            kerazoo.load_weights(model, path)
        logits = np.asarray(model(make_stored.image(size)))[0]
        assert np.std(expected) > 0.01 * np.abs(expected).max()
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_what_is_stored_is_small():
    assert sum(path.stat().st_size for path in make_stored.STORED.iterdir()) < 200_000
