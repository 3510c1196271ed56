"""The same builders on JAX and PyTorch, where TensorFlow cannot be imported."""

import keras
import numpy as np
import pytest

import kerazoo

# (name, input shape, include_top): together they use every layer of the zoo but the
# auxiliary heads; tests/parity tries one model of each family on each backend. AlexNet goes without its dense layers,
# which weigh 200 MB and show nothing that the small ones do not.
MODELS = (
    ("mlp", (8, 8, 3), True), ("lenet5_1998", (28, 28, 1), True), ("alexnet_2012", (67, 67, 3), False),
    ("alexnet", (63, 63, 3), False), ("resnet20", (9, 9, 3), True), ("preact_resnet18", (16, 16, 3), True),
)
QUICK = tuple(one for one in MODELS if one[0] in ("lenet5_1998", "resnet20"))
CLIENT = """
import importlib.machinery
import sys


class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.split(".")[0] == "tensorflow" else None

    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {{spec.name!r}}")

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, NoTensorFlow())
folder = sys.argv[1]
import keras, kerazoo, numpy as np
from kerazoo.augment import MixUp, RandomAffine
for name, shape, top in {models}:
    model = kerazoo.create_model(name, input_shape=shape, classes=3, include_top=top)
    model.load_weights(f"{{folder}}/{{name}}.weights.h5")
    images = np.load(f"{{folder}}/{{name}}.npy")
    logits = keras.ops.convert_to_numpy(model(images))
    np.save(f"{{folder}}/{{name}}_logits.npy", logits)
model = kerazoo.resnet20(input_shape=(8, 8, 3), classes=3, augmentation=[RandomAffine(rotation=20), MixUp(0.4)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype("uint8")
history = model.fit(images, np.arange(16) % 3, batch_size=8, epochs=2, verbose=0).history
assert np.isfinite(history["loss"]).all()
print(kerazoo.analyze(model).trainable, tuple(kerazoo.feature_extractor(model, "stage2")(images).shape))
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Weights, images and logits of each model on TensorFlow."""
    folder, logits = tmp_path_factory.mktemp("backends"), {}
    for name, shape, top in MODELS:
        model = kerazoo.create_model(name, input_shape=shape, classes=3, include_top=top)
        rng = np.random.default_rng(len(name))
        for weight in model.weights:
            if "moving_variance" in weight.path or "gamma" in weight.path:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            elif "moving_mean" in weight.path or "beta" in weight.path:
                weight.assign(rng.normal(0, 0.2, weight.shape))
        images = rng.integers(0, 256, (2, *shape), dtype="uint8")
        model.save_weights(folder / f"{name}.weights.h5")
        np.save(folder / f"{name}.npy", images)
        logits[name] = keras.ops.convert_to_numpy(model(images))
    return folder, logits


@pytest.mark.parametrize(("backend", "models"), [
    ("jax", QUICK), pytest.param("jax", MODELS, marks=pytest.mark.slow),
    pytest.param("torch", MODELS, marks=pytest.mark.slow),
], ids=["jax-quick", "jax", "torch"])
def test_models_agree_across_backends(backend, models, reference, run_python):
    folder, expected = reference
    result = run_python(CLIENT.format(models=models), folder, backend=backend)
    assert result.stdout.splitlines()[-1] == "269267 (16, 4, 4, 32)"
    for name, *_ in models:
        logits = expected[name]
        found = np.load(folder / f"{name}_logits.npy")
        np.testing.assert_allclose(found, logits, rtol=0, atol=1e-4 * np.abs(logits).max(), err_msg=name)


HEADS = """
import keras, kerazoo, numpy as np
images, labels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("uint8"), np.arange(4) % 3
model = kerazoo.googlenet(input_shape=(32, 32, 3), classes=3)
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
before = model.get_layer("aux2_fc").get_weights()[0]
model.train_on_batch(images, labels)
assert not np.array_equal(before, model.get_layer("aux2_fc").get_weights()[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_auxiliary_heads_learn_on_every_backend(backend, run_python):
    run_python(HEADS, backend=backend)
