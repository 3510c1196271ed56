"""Classify images with an export, without Keras."""
import os
import pathlib
import warnings

import numpy as np

from kerazoo.export import NEEDS_TENSORFLOW
from kerazoo.pixels import pixel_problems

SIGNATURES = ("serving_default", "serving_uint8")
OUTPUTS = {"probabilities", "logits", "label"}


class Predictor:
    """An exported classifier, loaded with TensorFlow alone.

    Args:
        path: the folder that `kerazoo.export` wrote.

    Attributes:
        input_shape: (height, width, channels) of one image; None for a side that may have any size.
        class_names: the names of the classes, in the order of the probabilities.

    Raises:
        FileNotFoundError: if nothing is at `path`.
        ValueError: if what is there is not a SavedModel, or one without the signatures of `kerazoo.export`.
        ImportError: if TensorFlow is not installed.

    Example:
        >>> predictor = Predictor("saved_models/lenet5_mnist")
        >>> predictor.predict(images, top=2)[0]
        [('7', 0.998), ('9', 0.001)]
    """

    def __init__(self, path):
        path = pathlib.Path(os.path.expanduser(path))
        if not path.exists():
            raise FileNotFoundError(f"there is nothing at {path}. Name a folder that kerazoo.export wrote.")
        if not any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            what = "a folder without saved_model.pb" if path.is_dir() else "a file"
            raise ValueError(f"{path} is not a SavedModel but {what}. Name the folder that kerazoo.export wrote.")
        try:
            import tensorflow as tf
        except ImportError as error:
            raise ImportError(f"loading a SavedModel needs {NEEDS_TENSORFLOW}") from error

        try:
            # The signatures' variables live only as long as the object that was loaded.
            self._loaded = tf.saved_model.load(str(path))
        except Exception as error:
            # TensorFlow answers a damaged file with exceptions of many types.
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ValueError(f"the SavedModel {path} cannot be loaded: {reason}. Export the model again.") from error
        self._signatures = self._loaded.signatures
        names = path / "assets" / "class_names.txt"
        if not names.is_file() or not all(self._is_ours(name) for name in SIGNATURES):
            found = [
                f"{name} ({', '.join(sorted(taken(call)))} -> {', '.join(sorted(call.structured_outputs))})"
                for name, call in self._signatures.items()
            ]
            raise ValueError(
                f"the SavedModel {path} was not written by kerazoo.export. Wanted: the signatures "
                f"{' and '.join(SIGNATURES)} (images -> {', '.join(sorted(OUTPUTS))}), and assets/class_names.txt. "
                f"Found: {', '.join(found) or 'no signatures'}; {'the' if names.is_file() else 'no'} class names."
            )
        self.class_names = tuple(names.read_bytes().decode("utf-8").split("\n")[:-1])
        self.input_shape = tuple(taken(self._signatures["serving_uint8"])["images"].shape)[1:]
        self._warned = set()

    def predict(self, images, top=1, source="images"):
        """The most probable classes of each image.

        Args:
            images: pixels in 0..255, an array of shape (batch, height, width, channels), uint8 or other numbers.
            top: how many classes to name per image; at most as many as there are.
            source: what to call the images in a warning, such as a file name.

        Returns:
            For each image a list of (label, probability), the most probable first.

        Example:
            >>> [best[0][0] for best in predictor.predict(images)]
            ['7', '2', '1']

        Raises:
            TypeError: if `images` are not numbers.
            ValueError: if the shape is not what the model takes, or `top` is not a positive integer.

        Warns:
            UserWarning: once a source, if pixels are NaN or infinite, or seem to be on another scale than 0..255.
        """
        if isinstance(top, bool) or not isinstance(top, (int, np.integer)) or top < 1:
            raise ValueError(f"top must be a positive integer, how many classes to name; got {top!r}.")
        images = np.asarray(images)
        if images.dtype.kind not in "uif":
            raise TypeError(f"images must be an array of numbers; got dtype {images.dtype}.")
        self._check_shape(images.shape)
        if not len(images):
            return []
        for problem in [] if source in self._warned else pixel_problems(images, source):
            self._warned.add(source)
            warnings.warn(problem, stacklevel=2)
        name = "serving_uint8" if images.dtype == np.uint8 else "serving_default"
        images = images if images.dtype == np.uint8 else images.astype("float32")
        probabilities = self._call(name, images)
        order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top]
        return [
            [(self.class_names[index], float(row[index])) for index in best] for row, best in zip(probabilities, order)
        ]

    def _call(self, name, images):
        import tensorflow as tf

        return self._signatures[name](images=tf.constant(images))["probabilities"].numpy()

    def _is_ours(self, name):
        call = self._signatures.get(name)
        return call is not None and set(taken(call)) == {"images"} and set(call.structured_outputs) == OUTPUTS

    def _check_shape(self, shape):
        wanted = ", ".join("any" if side is None else str(side) for side in self.input_shape)
        hint = ""
        if len(shape) == 3 and all(w in (None, s) for w, s in zip(self.input_shape, shape)):
            hint = " That is one image: pass images[None], a batch of one."
        if len(shape) != 4:
            raise ValueError(f"images must have the shape (batch, {wanted}); got {shape}.{hint}")
        if not all(w in (None, s) for w, s in zip(self.input_shape, shape[1:])):
            raise ValueError(
                f"images must have the shape (batch, {wanted}); got {shape}. Resize them or convert their colors first."
            )


def taken(call):
    """The arguments of a signature, by name."""
    return call.structured_input_signature[1]
