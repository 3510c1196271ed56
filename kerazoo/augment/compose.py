"""Several layers in a row, in as few passes over the pixels as can be."""

import itertools

import keras

from kerazoo import handover
from kerazoo.augment.choose import common_classes
from kerazoo.augment.draws import fold
from kerazoo.augment.foreign import FOREIGN_MIXERS, call_foreign, compiles, size_after
from kerazoo.augment.layer import AugmentationLayer, as_dtype, carry_out
from kerazoo.augment.mix import Container, MixingLayer, blend_compiled, mixed_labels, self_contained, soft, warn_unheard


@keras.saving.register_keras_serializable(package="kerazoo")
class Compose(Container):
    """Layers in a row, as one layer.

    Neighboring image-wise layers of kerazoo share one pass over the pixels, and those among them that only resample
    (flips, crops, affine and perspective maps) one resampling: their matrices are multiplied, which is faster and
    sharper than one after the other. The picture is the same but for this: pixels are interpolated once, bilinearly
    if one of the layers does so; and what one layer would have moved out of the frame, a later one can bring back,
    where it would have found fill. Layers with different fills are not merged. On 20 photos of 120 x 120 pixels, merged
    against one after the other: equal where no layer interpolates; 0.05 levels of 255 apart on average, 2 at most,
    where one does; 2.0 on average, 15 in one value of a hundred, where two do, since the second blurs the first again.

    Layers of Keras and KerasCV may stand in between; they are called as they are, with ``training=True``, on float32
    pixels, which are rounded again if uint8 came in, and draw from seeds of their own. Everything else is drawn from
    this layer's seed alone; the seeds of the layers inside play no part. Labels, weights and what a model's metrics say
    are as in ``MixUp`` and ``CutMix``, if one of them is inside.

    Args:
        layers: list of layers, one or more, in order.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if the list is empty, holds what is no layer, or a layer that mixes labels and is none of kerazoo.

    Example:
        >>> from kerazoo import augment
        >>> row = [augment.RandomFlip(), augment.RandAugment(), augment.CutMix(classes=1000)]
        >>> augmentation = augment.Compose([augment.RandomResizedCrop(224), *row])
        >>> dataset = dataset.map(lambda x, y: augmentation({"images": x, "labels": y}), num_parallel_calls=8)
    """

    def __init__(self, layers, seed=None, name=None):
        layers = check_row(layers)
        own = [layer for layer in layers if isinstance(layer, AugmentationLayer)]
        mixing = [layer for layer in own if layer.mixes]
        super().__init__(classes=common_classes(mixing), seed=seed, name=name)
        self.layers = layers
        self.mixes = bool(mixing)
        self.steps = sum(layer.steps for layer in mixing)
        self.passes = as_passes(layers)
        if not all(map(compiles, layers)):
            # Then `compile` chooses jit_compile=False, or warns and goes on without.
            self.supports_jit = False

    @property
    def image_wise(self):
        return all(isinstance(layer, AugmentationLayer) and layer.image_wise for layer in self.layers)

    def plan(self, seed, batch, height, width, channels):
        return plan_row(enumerate(self.layers), seed, batch, height, width, channels)

    def augment(self, images, labels, seed):
        images, labels, _ = self.mix_batch(images, labels, None, seed)
        return images, labels

    def mix_batch(self, images, labels, weights, seed):
        if self_contained(self):
            if self.mixes:
                return super().mix_batch(images, labels, weights, seed)
            return self.blend_compiled(images, seed)[0], labels, weights
        # Layers that are not ours may not compile, and those of the user's may change labels.
        dtype, pairs, softened = keras.backend.standardize_dtype(images.dtype), [], False
        images = between_passes(images, dtype)
        for one in self.passes:
            images, labels, more = one(images, labels, seed)
            images = between_passes(images, dtype)
            if more and labels is not None:
                labels = labels if softened else self.each_head(soft, labels)
                softened = True
                labels, weights = mixed_labels(labels, weights, more)
            pairs += more
        if labels is None and self.mixes:
            warn_unheard(self)
            handover.leave(self, pairs)
        return images, labels, weights

    def blend(self, images, seed):
        dtype, pairs = keras.backend.standardize_dtype(images.dtype), []
        images = between_passes(images, dtype)
        for one in self.passes:
            images, _, more = one(images, None, seed)
            images = between_passes(images, dtype)
            pairs += more
        return as_dtype(images, dtype), pairs

    def output_size(self, height, width):
        for layer in self.layers:
            if isinstance(layer, AugmentationLayer):
                height, width = layer.output_size(height, width)
            else:
                height, width = size_after(layer, height, width)
        return height, width


class OnePass:
    """Image-wise layers that are carried out together: (place, layer) pairs."""

    def __init__(self, places):
        self.places = places
        self.layers = [layer for _, layer in places]

    def plan(self, seed, batch, height, width, channels):
        return plan_row(self.places, seed, batch, height, width, channels)

    def blend(self, images, seed):
        return carry_out(self, images, seed), []

    def __call__(self, images, labels, seed):
        images, pairs = blend_compiled(self, images, seed)
        return images, labels, pairs


class OneLayer:
    """A layer that mixes, or one that is not ours."""

    def __init__(self, place, layer):
        self.place, self.layer = place, layer

    def __call__(self, images, labels, seed):
        if not isinstance(self.layer, AugmentationLayer):
            # Some of them compute with what they get, which uint8 does not allow.
            return call_foreign(self.layer, keras.ops.cast(images, "float32")), labels, []
        seed = fold(seed, self.place)
        if isinstance(self.layer, MixingLayer) and self_contained(self.layer):
            images, pairs = self.layer.blend_compiled(images, seed)
            return images, labels, pairs
        return *self.layer.augment(images, labels, seed), []


class Nested:
    """A pass of a ``Compose`` inside, which has layers that are not ours: they may change labels between mixings."""

    def __init__(self, place, one):
        self.place, self.one = place, one

    def __call__(self, images, labels, seed):
        return self.one(images, labels, fold(seed, self.place))


def between_passes(images, dtype):
    """uint8 all the way for uint8; float32 for others, rounded to their dtype at the end alone."""
    return as_dtype(images, "uint8" if dtype == "uint8" else "float32")


def as_passes(layers):
    """The row, neighboring image-wise layers together."""
    passes = []
    for together, group in itertools.groupby(enumerate(layers), lambda pair: getattr(pair[1], "image_wise", False)):
        if together:
            passes.append(OnePass(list(group)))
            continue
        for place, layer in group:
            nested = isinstance(layer, Compose) and not self_contained(layer)
            passes += [Nested(place, one) for one in layer.passes] if nested else [OneLayer(place, layer)]
    return passes


def plan_row(places, seed, batch, height, width, channels):
    steps = []
    for place, layer in places:
        steps += layer.plan(fold(seed, place), batch, height, width, channels)
        height, width = layer.output_size(height, width)
    return steps


def check_row(layers):
    if not isinstance(layers, (list, tuple)) or not layers:
        raise ValueError(f"layers: received {layers!r}, wanted a list of one or more layers.")
    for layer in layers:
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                f"layers: received {layer!r} among them, wanted Keras layers, such as kerazoo.augment.RandomFlip()."
            )
        if type(layer).__name__ in FOREIGN_MIXERS and not isinstance(layer, AugmentationLayer):
            raise ValueError(
                f"layers: received {type(layer).__module__.partition('.')[0]}'s {type(layer).__name__}, which mixes "
                f"labels in a form of its own. Use kerazoo.augment's MixUp or CutMix, or call it beside this layer."
            )
    if len({id(layer) for layer in layers}) < len(layers):
        raise ValueError("layers: received a layer twice. Make a second one.")
    return list(layers)
