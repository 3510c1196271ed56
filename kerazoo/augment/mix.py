"""Layers that mix the images of a batch with one another, and their labels with them."""

import keras
import numpy as np
from keras import ops

from kerazoo import handover
from kerazoo.augment.draws import uniform
from kerazoo.augment.layer import AugmentationLayer, check_number, dtype_name


@keras.saving.register_keras_serializable(package="kerazoo")
class MixUp(AugmentationLayer):
    """Blends each image with another of its batch: ``keep * image + (1 - keep) * partner``.

    The shares are drawn from Beta(alpha, alpha) for each image, the partner by a permutation of the batch. ``keep`` is
    the larger share: the mixed pairs are the same ones, as every image is a partner too, and an accuracy that knows
    only the image's own label still says something. A batch of one stays as it is.

    Called on a dictionary, the layer mixes the labels as well: integers (batch,) need ``classes``; one-hot or soft
    float labels (batch, classes) do not. They come out as float32 (batch, classes). With ``training=False`` the
    dictionary comes back as it was, integer labels included.

    Called on images alone, as inside a model, it cannot see the labels. The loss has to be mixed instead, and
    ``take_mixing`` says how. Models built by kerazoo do that by themselves.

    Args:
        alpha: above 0; small values keep most images nearly whole, 1 makes every share equally likely.
        classes: number of classes, needed for integer labels only.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or the labels do not fit.

    Example:
        >>> layer = kerazoo.augment.MixUp(0.2, classes=10)
        >>> dataset = dataset.batch(32).map(lambda images, labels: layer({"images": images, "labels": labels}))

    Reference:
        Zhang et al. 2017, mixup: Beyond Empirical Risk Minimization, https://arxiv.org/abs/1710.09412
    """

    def __init__(self, alpha=0.2, classes=None, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        # Beyond these limits Beta(alpha, alpha) is a coin toss, or one half.
        self.alpha = check_number("alpha", alpha, 1e-3, 1e6)
        if classes is not None and (isinstance(classes, bool) or not isinstance(classes, int) or classes < 1):
            raise ValueError(f"classes: received {classes!r}, wanted an integer of at least 1, or None.")
        self.classes = classes
        self._table = beta_table(self.alpha)

    def call(self, inputs, training=True, seed=None):
        handover.forget(self)
        return super().call(inputs, training=training, seed=seed)

    def augment(self, images, labels, seed):
        batch = ops.shape(images)[0]
        drawn = uniform(seed, batch, 2)
        keep = beta_quantile(drawn[:, 0], self._table, self.alpha)
        keep = ops.maximum(keep, 1 - keep)
        partner = ops.cast(ops.argsort(drawn[:, 1]), "int32")
        if labels is None:
            handover.leave(self, (partner, keep))
        else:
            if not _is_float(labels):
                labels = ops.one_hot(labels, self.classes, dtype="float32")
            labels = mix(labels, partner, keep)
        return mix(images, partner, keep), labels

    def take_mixing(self):
        """What the last training call on images alone drew, once.

        Asked inside ``keras.Model.compute_loss``, it gives what the loss needs:
        ``keep * loss(y, y_pred) + (1 - keep) * loss(y[partner], y_pred)``, image by image.

        Returns:
            (partner, keep): int32 and float32 tensors of shape (batch,), such that image i became
            ``keep[i] * images[i] + (1 - keep[i]) * images[partner[i]]``. None if there was no training call in this
            thread and this trace (of ``tf.function`` or ``jax.jit``), if a call with ``training=False`` came after
            it, or if the answer was taken already.
        """
        return handover.take(self)

    def check_labels(self, labels, images):
        received = f"{self.name}: received labels of "
        if not hasattr(labels, "shape") or not hasattr(labels, "dtype"):
            raise ValueError(f"{received}type {type(labels).__name__}, wanted one array of integers or of floats.")
        shape, dtype = tuple(labels.shape), dtype_name(labels)
        rank = len(shape) + (len(images.shape) == 3)  # a single image has labels without the batch axis
        if "int" not in dtype and "float" not in dtype:
            raise ValueError(f"{received}dtype {dtype}, wanted integers or floats. Convert them to one of the two.")
        if _is_float(labels):
            if rank != 2:
                raise ValueError(
                    f"{received}dtype {dtype} and shape {shape}, wanted one-hot or soft labels (batch, classes). "
                    "If they are class numbers, cast them to int32 and pass classes=."
                )
            if None not in (self.classes, shape[-1]) and shape[-1] != self.classes:
                raise ValueError(
                    f"{received}shape {shape}, wanted {self.classes} classes, as the layer was told. "
                    "Pass the right classes= to MixUp, or none for one-hot labels."
                )
        else:
            if rank != 1:
                raise ValueError(
                    f"{received}dtype {dtype} and shape {shape}, wanted integers (batch,) or floats (batch, classes). "
                    "Remove the last axis, labels[:, 0], or, if they are one-hot, cast them to float32."
                )
            if self.classes is None:
                raise ValueError(
                    f"{received}dtype {dtype}, wanted classes= to make mixable labels of them. "
                    "Write MixUp(..., classes=10) for 10 classes, or pass one-hot labels (batch, classes)."
                )
        if len(images.shape) == 4 and None not in (shape[0], images.shape[0]) and shape[0] != images.shape[0]:
            raise ValueError(
                f"{received}shape {shape} with images of shape {tuple(images.shape)}, wanted one label an image. "
                "Pass the images and labels of the same batch."
            )

    def label_spec(self, labels):
        shape = labels.shape if _is_float(labels) else (*labels.shape, self.classes)
        return keras.KerasTensor(shape, "float32")

    def compute_output_shape(self, input_shape):
        if not isinstance(input_shape, dict):
            return input_shape
        single = len(input_shape["images"]) == 3
        labels = tuple(input_shape["labels"])
        if len(labels) == (0 if single else 1):
            labels = (*labels, self.classes)
        return {"images": input_shape["images"], "labels": labels}

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "classes": self.classes}


def mix(values, partner, keep):
    """``keep * values + (1 - keep) * values[partner]`` in float32, to the bit ``values`` where both are the same."""
    keep = ops.reshape(keep, (-1,) + (1,) * (len(values.shape) - 1))
    own, other = (ops.cast(x, "float32") for x in (values, ops.take(values, partner, axis=0)))
    return own + (1 - keep) * (other - own)


def beta_table(alpha, points=4097):
    """The lower half of the quantile function of Beta(alpha, alpha), for ``beta_quantile``.

    The density t^(alpha-1) (1-t)^(alpha-1) is infinite at 0 for alpha below 1. With t = u^(1/alpha) it becomes
    (1-t)^(alpha-1), which is smooth on the lower half, and the quantile is nearly linear in u. For alpha above 1, u is
    t. The upper half mirrors the lower.

    Args:
        alpha: above 0.
        points: length of the table.

    Returns:
        float32 (points,): u at probabilities 0 to 1/2, evenly spaced.
    """
    power = min(alpha, 1.0)
    u = np.linspace(0, 0.5**power, 100_001)
    t = u ** (1 / power)
    density = (1 - t) ** (alpha - 1) if alpha < 1 else (4 * t * (1 - t)) ** (alpha - 1)
    mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(np.linspace(0, 1, points), mass / mass[-1], u).astype("float32")


def beta_quantile(probability, table, alpha):
    """Quantiles of Beta(alpha, alpha); ``keras.random.beta`` cannot be compiled by XLA under TensorFlow."""
    position = ops.minimum(probability, 1 - probability) * (2 * (len(table) - 1))
    index = ops.clip(ops.cast(position, "int32"), 0, len(table) - 2)
    table = ops.convert_to_tensor(table)
    low, high = ops.take(table, index), ops.take(table, index + 1)
    u = low + (position - ops.cast(index, "float32")) * (high - low)
    x = u ** (1 / min(alpha, 1.0))
    return ops.where(probability < 0.5, x, 1 - x)


def _is_float(x):
    return "float" in dtype_name(x)
