"""Trains a small network where it is told to, and writes what came of it: python curve.py FOLDER NAME JSON.

JSON: {"place": [devices, hosts, host_index], "continue": [NAME, ...], "lose": whether to lose host 1 in the end}.
Results go to FOLDER/NAME.npz, checkpoints of the middle of the second epoch to FOLDER/NAME. "continue" names such
checkpoints from elsewhere, which it goes on from. With {"place": ..., "steps": 100, "rate": ..., "floatx": ...}, it is
that many steps of ResNet-20. Imported, `train` does the former in this process.
"""
import json
import os
import pathlib
import shutil
import signal
import sys

import keras
import numpy as np

import kerazoo
from kerazoo.train import Run, distribute, optimizer
from kerazoo.train.distribution import is_chief, prepare

EPOCHS, BATCH = 3, 16
CUT = (1, 2)  # epoch and batch before which the checkpoint is taken


def residual_network(shape, classes, filters=8):
    """A ResNet in small: one block, with a projection, and batch norms."""
    layers = keras.layers

    def convolution(x, filters, stride):
        x = layers.Conv2D(filters, 3, stride, "same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    inputs = keras.Input(shape)
    x = layers.ReLU()(convolution(layers.Rescaling(1 / 128, -1)(inputs), filters, 2))
    branch = convolution(layers.ReLU()(convolution(x, filters, 2)), filters, 1)
    x = layers.ReLU()(layers.Add()([branch, convolution(x, filters, 2)]))
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


class Record(keras.callbacks.Callback):
    """Notes the loss after each batch, and keeps the checkpoints of the middle."""

    def __init__(self, run, copy=None):
        super().__init__()
        self.run, self.copy, self.batches, self.epoch = run, copy, {}, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self.copy is not None and (self.epoch, batch) == CUT and is_chief():
            shutil.copytree(self.run.path, self.copy)

    def on_train_batch_end(self, batch, logs=None):
        self.batches[self.epoch, self.run.state["batch"]] = float(logs["loss"])


def fit(folder, model, sets, copy=None):
    """(losses of each batch, figures of each epoch) of a run in that folder, or of what is left of it."""
    train, validation, _ = sets
    with Run(folder, model, monitor="val_loss", save_every=0) as run:
        record = Record(run, copy)
        history = model.fit(
            run.data(train), validation_data=validation, epochs=EPOCHS, initial_epoch=run.initial_epoch, shuffle=False,
            verbose=0, callbacks=run.callbacks(record),
        ).history
    return list(record.batches.values()), np.array([history["loss"], history["val_loss"], history["val_accuracy"]])


def train(folder, name, others=(), whole=True):
    """Train from the start, unless not `whole`, and from the middle of others: a dictionary of arrays."""
    folder = pathlib.Path(folder)
    keras.utils.set_random_seed(0)
    # The last batch has 12 images: eight devices cannot share them.
    sets = kerazoo.data.load("mnist_sample", batch_size=BATCH, limit=44)
    model = residual_network((28, 28, 1), 10)
    model.load_weights(folder / "start.weights.h5")
    model.compile(
        optimizer(model, "sgd", 0.02, momentum=0.9, weight_decay=1e-4, verbose=False),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"],
    )
    results = {}
    if whole:
        results["batches"], results["epochs"] = fit(folder / f"{name}_run", model, sets, folder / name)
        # A number of images that no number of devices divides.
        odd = kerazoo.data.load("mnist_sample", "test", batch_size=BATCH, limit=41)
        results["evaluation"], results["predictions"] = model.evaluate(odd, verbose=0), model.predict(odd, verbose=0)
        results["pixels"], results["labels"] = (array.astype("float32") for array in kerazoo.data.arrays(odd))
    for other in others:
        run = folder / (f"{other}_for_{name}" if whole else other)
        results[other] = fit(run, model, sets)[0]
    return {key: np.array(value) for key, value in results.items()}


def long_curve(folder, placement, steps, rate, floatx):
    """The loss of each step of ResNet-20 on random images that tell their class."""
    keras.config.set_floatx(floatx)
    keras.utils.set_random_seed(0)
    model = kerazoo.create_model("resnet20", classes=10, input_shape=(16, 16, 3))
    start = folder / f"start_{floatx}.weights.h5"
    if start.exists():
        model.load_weights(start)
    else:
        model.save_weights(start)
    model.compile(
        optimizer(model, "sgd", rate, momentum=0.9, weight_decay=1e-4, verbose=False),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    prepare(model)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, (steps, 32))
    patterns, noise = rng.uniform(0, 127, (10, 16, 16, 3)), rng.uniform(0, 127, (steps, 32, 16, 16, 3))
    own = slice(placement.index * 32 // placement.hosts, (placement.index + 1) * 32 // placement.hosts)
    images = (patterns[labels] + noise).astype("uint8")
    batches = [(images[step][own], labels[step][own]) for step in range(steps)]
    # Epochs of one batch, so that each loss is that of one.
    data = Listed(batches)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices(tuple(map(np.stack, zip(*batches))))
    return model.fit(data, steps_per_epoch=1, epochs=steps, shuffle=False, verbose=0).history["loss"]


class Listed(keras.utils.PyDataset):
    """Batches in a list."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def lose_one(index):
    """Train on until host 1 is killed."""

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if index == 1 and batch == 5:
                os.kill(os.getpid(), signal.SIGKILL)

    model = residual_network((8, 8, 1), 10, filters=2)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = np.zeros((800, 8, 8, 1), "float32"), np.zeros(800, "int64")
    print(model.fit(images, labels, batch_size=8, verbose=0, callbacks=[Kill()]).history)


def main(folder, name, task):
    placement = distribute(*task["place"])
    if "steps" in task:
        results = {"loss": long_curve(pathlib.Path(folder), placement, task["steps"], task["rate"], task["floatx"])}
    else:
        results = train(folder, name, task["continue"])
    if placement.is_chief:
        np.savez(pathlib.Path(folder, f"{name}.npz"), **results)
    if task.get("lose"):
        lose_one(placement.index)


if __name__ == "__main__":
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # The caller's business, as it has to come first.
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
