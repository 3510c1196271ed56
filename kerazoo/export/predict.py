"""Classify images with an export, without Keras."""
import warnings

import numpy as np

from kerazoo.export import runtimes
from kerazoo.pixels import pixel_problems


class Predictor:
    """An exported classifier, loaded with the runtime of its format alone.

    Args:
        path: what `kerazoo.export` wrote, in any format but "torch".
        threads: how many CPU threads to run on; None: as many as the runtime takes by itself.

    Attributes:
        input_shape: (height, width, channels) of one image; None for a side that may have any size.
        class_names: the names of the classes, in the order of the probabilities.
        preprocessing: how an image file becomes pixels: a dictionary of `size`, `resize` and `interpolation`; empty
            where the export does not say.

    Raises:
        FileNotFoundError: if nothing is at `path`.
        ValueError: if what is there is not an export of kerazoo's, or is damaged.
        ImportError: if the format's runtime is not installed.

    Example:
        >>> predictor = Predictor("saved_models/lenet5_mnist")
        >>> predictor.predict(images, top=2)[0]
        [('7', 0.998), ('9', 0.001)]
    """

    def __init__(self, path, threads=None):
        self._loaded = runtimes.load(path, threads)
        self.input_shape = self._loaded.image_shape
        self.class_names = self._loaded.class_names
        self.preprocessing = self._loaded.preprocessing
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
        images = images if images.dtype == np.uint8 else images.astype("float32")
        probabilities = self._loaded.run(images)["probabilities"]
        order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top]
        return [
            [(self.class_names[index], float(row[index])) for index in best] for row, best in zip(probabilities, order)
        ]

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
