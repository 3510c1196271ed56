"""Models from `.keras` files."""
import importlib
import os
import zipfile

import keras

from kerazoo.deep_graphs import deep_graphs


def load_model(path, compile=True):
    """Load a `.keras` file with layers of kerazoo's in it.

    `keras.saving.load_model` knows such layers only once their modules are imported, which kerazoo does on first use;
    this imports them first.

    Args:
        path: a file that `model.save` wrote.
        compile: whether to compile the model as it was, if it was.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if the file is not a Keras model, or damaged.

    Example:
        >>> model = kerazoo.load_model("runs/lenet5_mnist/best.keras")
    """
    for module in (
        "augment", "models.augmentation", "models.layers", "models.trained", "train.optimizers", "train.schedules",
    ):
        importlib.import_module(f"kerazoo.{module}")
    if str(path).endswith(".keras") and os.path.isfile(path) and not zipfile.is_zipfile(path):
        # Of which Keras would say that it is not there.
        raise ValueError(f"{path} is not a .keras file, or damaged: it was cut short, or is another kind of file.")
    with deep_graphs():
        model = keras.saving.load_model(path, compile=compile)
    from kerazoo.train import optimizers

    if optimizers.is_planned(getattr(model, "optimizer", None)):
        optimizers.refresh(model)  # shows it the frozen weights too, which Keras does not
    return model
