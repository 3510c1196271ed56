"""The same batches on every backend; under JAX and PyTorch, through Grain and without TensorFlow."""
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from kerazoo.augment import RandomErasing, RandomResizedCrop
from kerazoo.data import load, parts

# Shared with the other process: what is compared.
DIGEST = """
def digest(dataset):
    return hashlib.sha256(b"".join(
        np.asarray(images).tobytes() + np.asarray(labels).tobytes() for images, labels in dataset
    )).hexdigest()

def digests(root):
    options = dict(batch_size=10, image_size=32, limit=49, augmentation=[RandomErasing(), RandomResizedCrop(24)])
    train, _, test = load("mnist_sample", **options)
    found = [digest(train), digest(train.start(1, 2)), digest(test)]
    parts.MEMORY_LIMIT = 0
    train, _, test = load(f"folder:{root}", batch_size=8, image_size=(30, 20), label_mode="categorical")
    return [*found, digest(train), digest(train.start(5, 3)), digest(test)]
"""
TRIED = (
    """
import sys
sys.modules["tensorflow"] = None
import hashlib, json, keras, numpy as np
from kerazoo.augment import RandomErasing, RandomResizedCrop
from kerazoo.data import load, parts
"""
    + DIGEST
    + """
print(json.dumps(digests(sys.argv[1])))

# Keras
train, validation, test = load("mnist_sample", batch_size=16, limit=80)
model = keras.Sequential([
    keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10, kernel_initializer="zeros"),
])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(1e-6), loss, metrics=["accuracy"])
losses = []

class Place(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        data.set_epoch(epoch)
    def on_train_batch_end(self, batch, logs=None):
        losses.append(float(logs["loss"]))

# First the epoch that is gone on with: there, Keras draws a batch to build the optimizer.
for shuffle, data in ((True, train.start(2, 3)), (False, train)):
    history = model.fit(
        data, initial_epoch=2, epochs=4, shuffle=shuffle, validation_data=validation, callbacks=[Place()], verbose=0
    ).history
    assert len(history["val_loss"]) == 2 and np.isfinite(history["val_loss"]).all()
print(json.dumps(losses))
images = np.concatenate([images for images, _ in test])
np.testing.assert_allclose(model.predict(test, verbose=0), model.predict(images, verbose=0), atol=1e-5)
assert [len(x) for x, _ in test] == [16] * 5 and model.evaluate(test, verbose=0)[1] == model.evaluate(
    images, np.concatenate([labels for _, labels in test]), verbose=0)[1]

# A callback evaluates on the images that are trained on, in the middle of the epoch
read, seen = type(train).__getitem__, []

def noted(self, index):
    batch = read(self, index)
    seen.append(batch[0].tobytes())
    return batch

class Evaluate(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            if keras.backend.backend() == "jax":
                model.jax_state_sync()
            before = seen[:]
            model.evaluate(train.start(0, 0), verbose=0)
            assert seen[len(before):] == expected
            seen[:] = before

type(train).__getitem__ = noted
expected = [images.tobytes() for images, _ in train.start(0, 0)]
train.set_epoch(0)
model.fit(train, epochs=1, verbose=0, callbacks=[Evaluate()])
assert seen[-5:] == expected
type(train).__getitem__ = read

# By index, and through Grain
train.set_epoch(7)
third = list(train.start(7, 0))[3]
for batch in (train[3], train[-2], list(train.grain(7, start=3))[0]):
    np.testing.assert_array_equal(batch[0], third[0])
iterator = iter(train.grain(7).to_iter_dataset())
next(iterator), next(iterator)
state, at_two = iterator.get_state(), next(iterator)
iterator = iter(train.grain(7).to_iter_dataset())
iterator.set_state(state)
np.testing.assert_array_equal(next(iterator)[0], at_two[0])
try:
    train[5]
except IndexError as error:
    print(error)

# Hosts: a last batch of an odd number is everyone's
for images, labels in load("mnist_sample", "train", 10, limit=49, shard=(1, 2)):
    whole = len(labels) != 5
assert whole and images.every_process and labels.every_process and len(labels) == 9

# What cannot be done without TensorFlow
try:
    load("cifar10")
except ImportError as error:
    print(error)

# A lost file too many
import pathlib
train = load(f"folder:{sys.argv[1]}", "train", 8)
for file in pathlib.Path(sys.argv[1]).glob("a/*"):
    file.unlink()
try:
    model.fit(train, verbose=0)
except ValueError as error:
    print(error)

# Python exits in the middle of an epoch
left = iter(load("mnist_sample", "train", 8))
next(left)
"""
)


@pytest.fixture
def folder(make_folder):
    root = make_folder({"a": 20, "b": 20}, size=(50, 45))
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (31, 70, 3), "uint8")).save(root / "b" / "wide.png")
    return root


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_batches_are_the_same_without_tensorflow(backend, folder, run_python, monkeypatch):
    pytest.importorskip(backend)
    names = dict(hashlib=hashlib, np=np, load=load, parts=parts, RandomErasing=RandomErasing,
                 RandomResizedCrop=RandomResizedCrop)
    monkeypatch.setattr(parts, "MEMORY_LIMIT", parts.MEMORY_LIMIT)  # which the code changes
    exec(DIGEST, names)
    expected = names["digests"](folder)
    assert len(set(expected)) == 6
    found, losses, index, missing, lost = run_python(TRIED, folder, backend=backend).stdout.splitlines()
    assert json.loads(found) == expected
    assert len(json.loads(losses)) == (2 + 5) + (5 + 5)
    assert index == "batch 5 of 5"
    assert "'cifar10' is neither mnist_sample nor folder:PATH" in missing and "needs TensorFlow" in missing
    assert "of 41 image files cannot be read, more than corrupt_limit=0.01" in lost


@pytest.mark.slow
def test_a_streamed_set_comes_from_tf_data_on_jax(tiny_tfds, run_python, monkeypatch):
    pytest.importorskip("jax")
    code = """
import sys, json, numpy as np, kerazoo.data, kerazoo.data.parts
kerazoo.data.parts.MEMORY_LIMIT = 0
load = lambda **options: kerazoo.data.load("tiny_digits", "train", 8, 8, data_dir=sys.argv[1], **options)
train = load()
rest = train.start(1, 4)
print(json.dumps([[images.tolist() for images, _ in data] for data in (rest, rest)]))
try:
    train.grain()
except ValueError as error:
    print(error)
*_, (images, labels) = load(shard=(0, 2))
assert images.every_process and len(labels) == 1
"""
    epochs, message = run_python(code, tiny_tfds, backend="jax").stdout.splitlines()[-2:]
    monkeypatch.setattr(parts, "MEMORY_LIMIT", 0)
    train = load("tiny_digits", "train", 8, 8, data_dir=tiny_tfds)
    train.set_epoch(1)
    one, two = ([images.numpy().tolist() for images, _ in train] for _ in range(2))
    assert json.loads(epochs) == [one[4:], two]
    assert "tiny_digits is too large for memory and streamed" in message


def test_without_grain_the_error_says_how_to_install_it(run_python):
    pytest.importorskip("jax")
    code = "import sys; sys.modules['grain'] = None; import kerazoo.data; kerazoo.data.load('mnist_sample', 'test')"
    stderr = run_python(code, backend="jax", check=False).stderr
    assert "ImportError: On jax, kerazoo.data.load reads through Grain" in stderr and "pip install grain" in stderr
