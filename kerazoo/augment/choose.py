"""One of several layers, and what a layer needs to know about the epoch."""

import keras
import numpy as np
from keras import ops

from kerazoo.augment import engine
from kerazoo.augment.checks import check_number
from kerazoo.augment.draws import fold, uniform
from kerazoo.augment.layer import as_dtype, carry_out
from kerazoo.augment.mix import Container, as_count, counts, rank, self_contained


@keras.saving.register_keras_serializable(package="kerazoo")
class OneOf(Container):
    """Draws one of several layers and does what that one does.

    With layers that mix among them, such as ``MixUp`` and ``CutMix``, the whole batch goes through one layer, as in
    torchvision's ``RandomChoice`` and in timm; only that one is computed. With kerazoo's image-wise layers alone, each
    image draws its own.

    Labels, weights and what a model's metrics say are as in ``MixUp`` and ``CutMix``; the number of classes is what
    the layers inside say. It is drawn from this layer's seed alone; those of the layers inside play no part.

    Args:
        layers: list of layers of ``kerazoo.augment``, one or more. Another ``OneOf`` may be among them.
        weights: how often each is drawn, in proportion; None: all alike.
        probability: how often any is drawn at all, 0 to 1.
        off_epoch: from this epoch on, counted from 0, nothing is done; None: never. The layer has to be told the
            epoch, by ``kerazoo.augment.EpochCallback()`` among the callbacks of ``fit``, or by ``set_epoch``.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, if a layer is none of ``kerazoo.augment``, if the layers inside
            disagree about the number of classes, or if ``off_epoch`` is given and the epoch is not.

    Example:
        >>> from kerazoo import augment
        >>> mixing = augment.OneOf([augment.MixUp(0.2), augment.CutMix()], probability=0.8, off_epoch=90)
        >>> model = kerazoo.resnet18(classes=10, augmentation=[augment.RandomFlip(), mixing])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> model.fit(images, labels, epochs=100, callbacks=[augment.EpochCallback()])

    Reference:
        Wightman et al. 2021, ResNet strikes back, section 3, https://arxiv.org/abs/2110.00476
    """

    def __init__(self, layers, weights=None, probability=1.0, off_epoch=None, seed=None, name=None):
        layers = check_layers(layers)
        mixing = [layer for layer in layers if layer.mixes]
        super().__init__(classes=common_classes(mixing), seed=seed, name=name)
        self.layers = layers
        self.mixes = bool(mixing)
        self.steps = max((layer.steps for layer in mixing), default=0)
        self.weights_given = check_weights(weights, len(layers))
        self.probability = check_number("probability", probability, 0, 1)
        if off_epoch is not None and (
            isinstance(off_epoch, bool) or not isinstance(off_epoch, (int, np.integer)) or off_epoch < 0
        ):
            raise ValueError(f"off_epoch: received {off_epoch!r}, wanted an integer of at least 0, or None.")
        self.off_epoch = None if off_epoch is None else int(off_epoch)
        shares = np.array(self.weights_given or [1.0] * len(layers), "float64")
        self._table = counts(self.probability * np.cumsum(shares) / shares.sum())
        self.epoch = Epoch()

    def set_epoch(self, epoch):
        """Tells the layer, and those inside, which epoch it is, counted from 0.

        In ``tf.data`` it takes effect with the next element that is drawn: call it between epochs; a data set that
        repeats itself may have prefetched some of the next one.
        """
        self.epoch.set(check_epoch(epoch))
        super().set_epoch(epoch)

    @property
    def image_wise(self):
        return all(layer.image_wise for layer in self.layers)

    def plan(self, seed, batch, height, width, channels):
        index, steps = self.chosen(seed, batch), []
        for place, layer in enumerate(self.layers):
            inner = layer.plan(fold(seed, place), batch, height, width, channels)
            steps += engine.only_where(index == place, engine.merge(inner))
        return steps

    def augment(self, images, labels, seed):
        if self.mixes:
            return super().augment(images, labels, seed)
        return self.blend_compiled(images, seed)[0], labels

    def blend(self, images, seed):
        if self.image_wise:
            return carry_out(self, images, seed), []
        batch = ops.shape(images)[0]
        dtype = keras.backend.standardize_dtype(images.dtype)
        none = (ops.arange(batch, dtype="int32"), ops.ones((batch,), "float32"))

        def branch(layer, place):
            def run(images):
                own = fold(seed, place)
                if layer.mixes:
                    blended, pairs = layer.blend(images, own)
                else:
                    blended, pairs = as_dtype(layer.augment(images, None, own)[0], dtype), []
                # Every branch answers alike: who mixes less often, mixes each image with itself as well.
                return answer(blended, [*pairs, *[none] * (self.steps - len(pairs))])

            return run

        def answer(images, pairs):
            return (images, *(tensor for pair in pairs for tensor in pair))

        branches = [branch(layer, place) for place, layer in enumerate(self.layers)]
        branches.append(lambda images: answer(images, [none] * self.steps))
        index = self.chosen(seed, 1)[0]
        if engine.is_eager():
            # JAX would compile all of them.
            blended, *tensors = branches[int(index)](images)
        else:
            blended, *tensors = ops.switch(index, branches, images)
        return blended, list(zip(tensors[::2], tensors[1::2]))

    def chosen(self, seed, count):
        """The index of the layer, drawn ``count`` times; the number of layers where nothing is to be done."""
        index = rank(self._table, as_count(uniform(seed, count, 1)))[:, 0]
        if self.off_epoch is None:
            return index
        if not self.epoch.told:
            raise ValueError(
                f"{self.name} ends with epoch {self.off_epoch} (off_epoch), and nobody says which epoch it is. Add "
                "kerazoo.augment.EpochCallback() to the callbacks of fit; for a layer in tf.data, "
                "EpochCallback(layer). In a loop of your own, call set_epoch(epoch) on it."
            )
        return ops.where(self.epoch.value() < self.off_epoch, index, len(self.layers))

    def get_config(self):
        return {
            **super().get_config(),
            "weights": self.weights_given and list(self.weights_given),
            "probability": self.probability,
            "off_epoch": self.off_epoch,
        }


class Epoch(keras.random.SeedGenerator):
    """The number of the epoch, as state of a layer.

    Keras hands a SeedGenerator's state through compiled steps, reads it anew in each, and counts it neither among the
    weights nor into their files. That is what an epoch needs, and an ordinary variable of a layer is always a weight.
    The state is a pair, of which the second is the epoch.
    """

    def __init__(self, name=None):
        super().__init__(seed=0, name=name)
        self.told = False

    def set(self, epoch):
        self.told = True
        self.state.assign(np.array([0, epoch], keras.backend.standardize_dtype(self.state.dtype)))

    def value(self):
        return ops.cast(self.state.value[1], "int32")

    def next(self, ordered=True):
        raise NotImplementedError("This generator holds an epoch and gives no seeds.")

    def get_config(self):
        return {"name": self.name}


class EpochCallback(keras.callbacks.Callback):
    """Tells layers which epoch begins: those of the model that have a method ``set_epoch``, and any others named.

    Args:
        layers: layers outside of the model, such as those in ``Dataset.map``.

    Example:
        >>> model.fit(images, labels, epochs=100, callbacks=[kerazoo.augment.EpochCallback()])
    """

    def __init__(self, *layers):
        super().__init__()
        for layer in layers:
            if not hasattr(layer, "set_epoch"):
                raise ValueError(
                    f"layers: received {layer!r}, wanted layers with a method set_epoch, such as kerazoo.augment.OneOf."
                )
        self.layers = layers

    def on_epoch_begin(self, epoch, logs=None):
        for layer in (*self.model._flatten_layers(), *self.layers):
            if hasattr(layer, "set_epoch"):
                layer.set_epoch(epoch)


def check_layers(layers):
    if not isinstance(layers, (list, tuple)):
        raise ValueError(f"layers: received {layers!r}, wanted a list of layers of kerazoo.augment.")
    if not layers:
        raise ValueError("layers: received an empty list, wanted one or more layers of kerazoo.augment.")
    for layer in layers:
        if not self_contained(layer):
            raise ValueError(
                f"layers: received {getattr(layer, 'name', layer)!r} among them, wanted layers of kerazoo.augment "
                "alone, and none inside them that draws from a seed of its own. Put others beside this layer."
            )
        if layer.output_size(991, 997) != (991, 997):
            raise ValueError(
                f"layers: received {layer.name}, which changes the size of the images, and those that drew another "
                "layer would keep theirs. Put it before or after this layer, not into it."
            )
    if len({id(layer) for layer in layers}) < len(layers):
        raise ValueError("layers: received a layer twice. Give it a larger weight instead.")
    return list(layers)


def check_weights(weights, n):
    if weights is None:
        return None
    wanted = f"weights: received {weights!r}, wanted {n} numbers of at least 0, not all of them 0, or None."
    if not isinstance(weights, (list, tuple, np.ndarray)) or len(weights) != n:
        raise ValueError(wanted)
    try:
        numbers = [check_number("weights", float(w), 0, 1e9) for w in weights]
    except (TypeError, ValueError):
        raise ValueError(wanted) from None
    if not any(numbers):
        raise ValueError(wanted)
    return tuple(numbers)


def check_epoch(epoch):
    if isinstance(epoch, bool) or not isinstance(epoch, (int, np.integer)) or epoch < 0:
        raise ValueError(f"epoch: received {epoch!r}, wanted an integer of at least 0.")
    return int(epoch)


def common_classes(layers):
    """What the layers that know the number of classes agree on."""
    known = [layer.classes for layer in layers if layer.classes is not None]
    for classes in known:
        if classes != known[0]:
            raise ValueError(
                f"classes: the layers inside were told different numbers, {known[0]!r} and {classes!r}. Give all of "
                "them the same, or one of them alone."
            )
    return known[0] if known else None
