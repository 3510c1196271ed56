"""What every augmentation layer has in common: its inputs, its dtypes and its seeds."""

import numbers
import sys
import threading
import zlib

import keras
import numpy as np

from kerazoo.augment import engine
from kerazoo.augment.draws import fold
from kerazoo.augment.primitives import MAX_PIXELS, MAX_SIDE

KEYS = ("images", "labels", "sample_weight")
_mapped = threading.local()  # whether Dataset.map calls, in this thread
_next = threading.Lock()  # parallel calls must not read one state twice
FLOATS = ("float16", "bfloat16", "float32", "float64")


class AugmentationLayer(keras.layers.Layer):
    """Base class of the augmentation layers.

    A layer takes images, ``(batch, height, width, channels)`` or one ``(height, width, channels)``, with pixels from
    0 to 255, or a dictionary ``{"images": ..., "labels": ...}``, with or without ``"sample_weight"``, and returns the
    same structure. uint8 comes back as uint8; a float dtype comes back as it was, and numbers are float32 in between,
    whatever the global dtype policy says. Every image of a batch gets draws of its own.

    It works inside a model, inside ``tf.data.Dataset.map`` and by hand on arrays. Where height and width are known,
    ``Dataset.map`` runs it compiled by XLA: once for each size and batch size, which takes some seconds; map it over
    batches with ``num_parallel_calls`` for speed. Under JAX it is compiled as well, and called through
    ``tf.numpy_function``; under PyTorch it is called so too, but not compiled, which is not the fast way.

    Calling a layer takes two options besides its inputs:

    - ``training``: True by default, as in Keras's own augmentation layers. With False the inputs come back untouched.
    - ``seed``: a pair of integers or integer tensors, or one tensor of shape (2,). The result then depends on inputs
      and seed alone. Without it, the layer draws from its own ``keras.random.SeedGenerator``; in ``Dataset.map`` with
      several parallel calls, which batch gets which draw is then left to chance. Replicas of ``tf.distribute`` draw
      differently.

    The numbers drawn depend on the seed and on the image's place in its batch. They, and the uint8 pixels that come of
    them, are the same on every backend, compiled or not. With one call-time seed, two layers draw the same numbers,
    and so do two layers of one class with the same ``seed=``: give each its own, or put them into a ``Compose``.

    A subclass of your own implements ``augment(images, labels, seed)``. It gets a batch (the dtype as it came), labels
    or None, and the seed of this call, an int32 tensor of shape (2,), for ``kerazoo.augment.draws``. It returns images
    (any dtype, still 0 to 255) and labels. kerazoo's own image-wise layers implement ``plan`` instead.

    Args:
        seed: integer from 0 to 2**31 - 1, the start of the layer's own random sequence; None: different each time.
        name: the layer's name.

    Raises:
        ValueError: if inputs are neither images nor such a dictionary, or if an argument is out of its range.

    Example:
        >>> layer = kerazoo.augment.RandomAffine(rotation=15, seed=1)
        >>> images = layer(images)
        >>> dataset = dataset.map(lambda image, label: (layer(image), label))
    """

    inference_input = 0  # with training=False, the inputs come back untouched: `kerazoo.export` leaves the layer out
    mixes = False  # whether the layer blends images, labels and weights of a batch: mix_batch is called, not augment

    def __init__(self, seed=None, name=None):
        # Pixels must not be cast to float16 or bfloat16 by a mixed policy: bfloat16 has no room for 256 levels.
        super().__init__(name=name, dtype="float32", autocast=False)
        if seed is not None and (
            isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not 0 <= seed < 2**31
        ):
            raise ValueError(f"seed: received {seed!r}, wanted an integer from 0 to 2**31 - 1, or None.")
        self.seed = None if seed is None else int(seed)
        # Not the seed itself: a flip and an operation of one seed would draw the same numbers, and always go together.
        own = None if seed is None else (self.seed + zlib.crc32(type(self).__name__.encode())) % 2**31
        self.generator = keras.random.SeedGenerator(own)
        self.built = True

    def plan(self, seed, batch, height, width, channels):
        """What happens to each image of a batch.

        Args:
            seed: int32 tensor (2,).
            batch, height, width: integers, or int32 tensors where they are not known.
            channels: an integer.

        Returns:
            A list of ``kerazoo.augment.engine.Step``.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement augment(images, labels, seed).")

    def augment(self, images, labels, seed):
        height, width = images.shape[1:3]
        # XLA compiles anew for every size: where images may have any, it would not end.
        function = engine.plain if None in (height, width) else engine.compiled
        return function(self, carry_out)(images, seed), labels

    @property
    def image_wise(self):
        """Whether the layer is all in its plan, so that it can share one pass over the pixels with others."""
        return not self.mixes and type(self).augment is AugmentationLayer.augment

    def output_size(self, height, width):
        """(height, width) of the images that come out in training."""
        return height, width

    def check_channels(self, channels):
        """Raises a ValueError if the layer cannot use images with so many channels."""
        return  # AutoGraph cannot convert a function without statements

    def label_spec(self, labels):
        """The shapes and dtypes of the labels that come out in training, from those that go in."""
        return labels

    def check_labels(self, labels, images):
        """Raises a ValueError if the layer cannot use these labels. Most layers never look at them."""
        return

    def __call__(self, inputs, *others, **kwargs):
        if others:
            raise ValueError(
                f"{self.name}: received {1 + len(others)} arguments, wanted images, or a dictionary. Pass labels as "
                '{"images": images, "labels": labels}; in tf.data: '
                'dataset.map(lambda images, labels: layer({"images": images, "labels": labels})).'
            )
        inputs = self._check(_to_arrays(inputs, self.name), labels=kwargs.get("training", True) is not False)
        if kwargs.get("seed") is not None:
            kwargs["seed"] = _check_seed(kwargs["seed"])
        if _is_foreign_graph(inputs["images"] if isinstance(inputs, dict) else inputs):
            return self._through_numpy(inputs, **kwargs)
        return super().__call__(inputs, **kwargs)

    def call(self, inputs, training=True, seed=None):
        if not training:
            return inputs
        parts = inputs if isinstance(inputs, dict) else {"images": inputs}
        seed = self.next_seed() if seed is None else keras.ops.cast(keras.ops.convert_to_tensor(seed), "int32")
        single = len(parts["images"].shape) == 3
        if single:
            parts = keras.tree.map_structure(lambda x: keras.ops.expand_dims(x, 0), parts)
        images, labels, weights = (parts.get(key) for key in KEYS)
        dtype = keras.backend.standardize_dtype(images.dtype)
        if dtype != "uint8" and engine.maps():
            images = engine.checked(images, self.name)
        if images.shape[0] == 0:
            size = self.output_size(*images.shape[1:3])
            images = keras.ops.zeros((0, *size, images.shape[-1]), dtype)
        elif self.mixes:
            images, labels, weights = self.mix_batch(images, labels, weights, seed)
        else:
            images, labels = self.augment(images, labels, seed)
        changed = {"images": as_dtype(images, dtype), "labels": labels, "sample_weight": weights}
        parts = {key: changed[key] for key in parts}
        if single:
            parts = keras.tree.map_structure(lambda x: keras.ops.squeeze(x, 0), parts)
        return parts if isinstance(inputs, dict) else parts["images"]

    def next_seed(self):
        """The next of the layer's own seeds, int32 (2,)."""
        with _next:
            seed = keras.ops.cast(engine.alone(self, self.generator.next), "int32")
        replica = engine.replica()
        return seed if replica is None else fold(seed, replica)

    def compute_output_spec(self, inputs, training=True, seed=None):
        spec = keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), inputs)
        if not training:
            return spec
        images = spec["images"] if isinstance(spec, dict) else spec
        *batch, height, width, channels = images.shape
        images = keras.KerasTensor((*batch, *self.output_size(height, width), channels), images.dtype)
        if not isinstance(spec, dict):
            return images
        return {**spec, "images": images, "labels": self.label_spec(spec["labels"])}

    def compute_output_shape(self, input_shape):
        if isinstance(input_shape, dict):
            return {**input_shape, "images": self.compute_output_shape(input_shape["images"])}
        *batch, height, width, channels = input_shape
        return (*batch, *self.output_size(height, width), channels)

    def get_config(self):
        # Not Keras's own configuration: the dtype is no choice of the user's.
        return {"name": self.name, "seed": self.seed}

    def _check(self, inputs, labels=True):
        """The inputs, if the layer can work on them; the labels with them where they will be used."""
        if isinstance(inputs, dict):
            if set(inputs) - {"sample_weight"} != {"images", "labels"}:
                raise ValueError(
                    f"{self.name}: received a dictionary with the keys {sorted(map(str, inputs))}, wanted "
                    '{"images": ..., "labels": ...}, with or without "sample_weight". Rename, add or leave out what '
                    "differs, or pass the images alone."
                )
            images = inputs["images"]
        else:
            images = inputs
        wanted = (
            "wanted images (batch, height, width, channels) or one image (height, width, channels), or a dictionary "
            "with images and labels"
        )
        if not hasattr(images, "shape") or not hasattr(images, "dtype"):
            raise ValueError(f"{self.name}: received {type(images).__name__}, {wanted}. Pass an array or a tensor.")
        if hasattr(images, "row_splits"):
            raise ValueError(
                f"{self.name}: received a ragged batch, {wanted}, all of one size. In tf.data, map before batching, "
                "with RandomResizedCrop(size) among the layers, or resize the images."
            )
        rank = rank_of(images.shape)
        if rank is None:
            raise ValueError(
                f"{self.name}: received images of unknown rank, {wanted}. In tf.data, call image.set_shape(...) "
                "first, or decode with tf.io.decode_image(..., expand_animations=False)."
            )
        if rank not in (3, 4):
            raise ValueError(
                f"{self.name}: received images of shape {tuple(images.shape)}, {wanted}. "
                "Add the missing axis, for example images[..., None] for gray images."
            )
        if images.shape[-1] is None:
            raise ValueError(
                f"{self.name}: received images of shape {tuple(images.shape)}, {wanted} with a known number of "
                "channels. In tf.data, decode with channels=3, or call image.set_shape([None, None, 3])."
            )
        dtype = dtype_name(images)
        if dtype != "uint8" and dtype not in FLOATS:
            raise ValueError(
                f"{self.name}: received images of dtype {dtype}, wanted uint8 or one of {', '.join(FLOATS)}. "
                'Cast them first, for example images.astype("uint8").'
            )
        known = [n for n in images.shape[-3:-1] if n is not None]
        if 0 in known or np.prod(known, dtype="float64") > MAX_PIXELS or max(known, default=0) > MAX_SIDE:
            raise ValueError(
                f"{self.name}: received images of shape {tuple(images.shape)}, wanted 1 to {MAX_PIXELS:,} pixels, at "
                f"most {MAX_SIDE:,} a side. Resize them first."
            )
        self.check_channels(images.shape[-1])
        if dtype != "uint8" and by_hand():
            _check_values(self.name, as_seen(images))
        if isinstance(inputs, dict) and labels:
            self.check_labels(inputs["labels"], images)
        return inputs

    def _through_numpy(self, inputs, training=True, seed=None):
        """Runs the layer eagerly inside a TensorFlow graph that is not the backend's own (``tf.data``)."""
        import tensorflow as tf  # the caller's graph is TensorFlow's, so it is there

        spec = self.compute_output_spec(
            keras.tree.map_structure(lambda x: keras.KerasTensor(tuple(x.shape), x.dtype.name), inputs), training
        )
        flat, flat_spec = tf.nest.flatten(inputs), tf.nest.flatten(spec)
        dtypes = [tf.as_dtype(x.dtype).as_numpy_dtype for x in flat_spec]
        seeds = [] if seed is None else [tf.convert_to_tensor(seed, "int32")]

        def run(*arrays):
            batch = tf.nest.pack_sequence_as(inputs, arrays[: len(flat)])
            _mapped.running = True
            try:
                with engine.on_cpu():
                    outputs = self(batch, training=training, seed=arrays[-1] if seeds else None)
                # JAX has no 64 bits, unless it was told to.
                return [keras.ops.convert_to_numpy(x).astype(d) for x, d in zip(tf.nest.flatten(outputs), dtypes)]
            finally:
                _mapped.running = False

        outputs = tf.numpy_function(run, flat + seeds, [x.dtype for x in flat_spec])
        for x, one in zip(outputs, flat_spec):
            x.set_shape(one.shape)
        return tf.nest.pack_sequence_as(spec, outputs)


def carry_out(layer, images, seed):
    """The images after what the layer plans for them, in the dtype that they had."""
    dtype = keras.backend.standardize_dtype(images.dtype)
    return as_dtype(engine.run(layer.plan(seed, *keras.ops.shape(images)), images), dtype)


def _check_values(name, images):
    """Raises a ValueError if these are not pixels from 0 to 255, or look like pixels from 0 to 1."""
    if images is None or not images.size:
        return
    low, high = float(images.min()), float(images.max())
    if 0 < high <= 1 and low >= 0 and (images != np.floor(images)).any():
        advice = "Undo the scaling: images * 255. kerazoo's models scale pixels themselves."
    elif 0 <= low and high <= 255:
        return
    elif np.isfinite(low) and np.isfinite(high):
        advice = "Clip them, or undo the scaling; kerazoo's models scale pixels themselves."
    else:
        advice = "Find the images that hold what is no number, and repair or remove them."
    raise ValueError(f"{name}: received pixel values from {low:.6g} to {high:.6g}, wanted 0 to 255. {advice}")


def by_hand():
    """Whether the user calls a layer, and not a model, another layer or ``Dataset.map`` on the user's behalf.

    Keras keeps what is being called, on every backend, compiled or not; JAX's trainer calls a model in a stateless
    scope instead. There is no public way to ask for either. Should they move, the answer is no, and a user is not
    warned.
    """
    try:
        from keras.src.backend.common import global_state, stateless_scope

        calling = global_state.get_global_attribute("current_call_ctx") is not None
        return not calling and not stateless_scope.in_stateless_scope() and not getattr(_mapped, "running", False)
    except (ImportError, AttributeError):
        return False


def as_seen(x):
    """The values as a NumPy array where they can be had at once; None for what is traced or on another device."""
    try:
        return np.asarray(x)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return None


def _check_seed(seed):
    wanted = "wanted a pair of integers. Pass for example seed=(epoch, index)."
    if isinstance(seed, (tuple, list)) and len(seed) == 2 and any(_is_tensor(n) and n.shape == () for n in seed):
        # In tf.data one of the two may be the place in the data set; the graph may not be the backend's own.
        tf = sys.modules.get("tensorflow")
        if tf is not None and any(isinstance(n, (tf.Tensor, tf.Variable)) for n in seed):
            return tf.stack([tf.cast(n, "int32") for n in seed])
        return keras.ops.stack([keras.ops.cast(n, "int32") for n in seed])
    if _is_tensor(seed):
        known = rank_of(seed.shape) is not None
        if known and tuple(seed.shape) not in ((2,), (None,)) or "int" not in dtype_name(seed):
            raise ValueError(f"seed: received a tensor of shape {seed.shape} and dtype {dtype_name(seed)}, {wanted}")
        return seed
    array = np.asarray(seed)
    if array.shape != (2,) or array.dtype.kind not in "iu":
        raise ValueError(f"seed: received {seed!r}, {wanted}")
    return array.astype("int32")  # wraps around where it is longer, which does a seed no harm


def _is_tensor(x):
    return hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, (np.ndarray, np.generic))


def _to_arrays(inputs, name):
    """Lists become arrays; anything else stays what it is."""
    if isinstance(inputs, dict):
        return {key: _to_arrays(value, name) for key, value in inputs.items()}
    if not isinstance(inputs, (list, numbers.Number)):
        return inputs
    try:
        return np.asarray(inputs)
    except ValueError:  # no array at all
        raise ValueError(
            f"{name}: received a list of {len(inputs)} entries that differ in shape, wanted images of one size in one "
            "array, and labels of several heads in a dictionary. Resize the images, or pass them one by one."
        ) from None


def rank_of(shape):
    """How many axes a shape has; None where that is not known."""
    try:
        return len(shape)
    except ValueError:  # TensorFlow's answer when it does not know
        return None


def dtype_name(x):
    """The dtype's name in Keras, or, for strings and the like, its own."""
    try:
        return keras.backend.standardize_dtype(x.dtype)
    except ValueError:
        return str(x.dtype)


def as_dtype(images, dtype):
    """Images in a dtype: rounded and clipped for uint8."""
    dtype = keras.backend.standardize_dtype(dtype)
    if keras.backend.standardize_dtype(images.dtype) == dtype:
        return images
    if dtype == "uint8":
        images = keras.ops.clip(keras.ops.round(images), 0, 255)
    return keras.ops.cast(images, dtype)


def _is_foreign_graph(x):
    tf = sys.modules.get("tensorflow")
    if tf is None or keras.backend.backend() == "tensorflow":
        return False
    return isinstance(x, tf.Tensor) and not tf.executing_eagerly()
