"""Layers that mix the images of a batch with one another, and their labels and weights with them."""

import warnings

import keras
import numpy as np
from keras import ops

from kerazoo import handover
from kerazoo.augment import engine
from kerazoo.augment.checks import check_number
from kerazoo.augment.draws import uniform
from kerazoo.augment.layer import AugmentationLayer, as_dtype, as_seen, by_hand, dtype_name, rank_of

ONE = 2**24  # probabilities are counted in steps of 2^-24, as `draws.uniform` draws them
SHARES = 4096  # MixUp's shares are multiples of 2^-12: times a pixel, float32 holds them exactly


class MixingLayer(AugmentationLayer):
    """What layers that mix a batch have in common: labels, sample weights, and what the loss of a model needs.

    A subclass implements ``blend(images, seed) -> (images, pairs)``: the images in the dtype that they came in, and a
    list of (partner, keep) pairs in order of application, ``steps`` of them, as ``take_mixing`` hands them out.
    """

    mixes = True
    steps = 1

    def __init__(self, classes=None, seed=None, name=None):
        super().__init__(seed=seed, name=name)
        self.classes = check_classes(classes)

    def __call__(self, inputs, *others, **kwargs):
        if others:
            return super().__call__(inputs, *others)  # which says how labels are passed
        if self.mixes and kwargs.get("training", True) and not isinstance(inputs, (dict, keras.KerasTensor)):
            if hasattr(inputs, "shape") and by_hand():
                raise ValueError(
                    f"{self.name}: received images alone, missing labels: they have to be mixed as the images are. "
                    'Pass {"images": images, "labels": labels}, or put the layer into a model, '
                    "augmentation=[...], which mixes its loss."
                )
        if self.mixes and kwargs.get("training", True) and by_hand():
            self.check_partners(inputs)
        return super().__call__(inputs, **kwargs)

    def check_partners(self, inputs):
        """Raises a ValueError if there can be nobody to mix with."""
        shape = getattr(inputs["images"] if isinstance(inputs, dict) and "images" in inputs else inputs, "shape", None)
        if shape is None or rank_of(shape) not in (3, 4):
            return  # which is told elsewhere
        if len(shape) == 3 or shape[0] == 1:
            raise ValueError(
                f"{self.name}: received one image, of shape {tuple(shape)}, wanted a batch of several, (batch, height, "
                "width, channels): an image is mixed with others. In tf.data, call batch(...) first."
            )

    def call(self, inputs, training=True, seed=None):
        handover.forget(self)
        return super().call(inputs, training=training, seed=seed)

    def blend(self, images, seed):
        raise NotImplementedError(f"{type(self).__name__} must implement blend(images, seed).")

    def blend_compiled(self, images, seed):
        """The same, compiled where that is of use."""
        return blend_compiled(self, images, seed)

    def augment(self, images, labels, seed):
        images, labels, _ = self.mix_batch(images, labels, None, seed)
        return images, labels

    def mix_batch(self, images, labels, weights, seed):
        """Mixes a batch; without labels, it leaves for ``take_mixing`` what the loss needs.

        Args:
            images: (batch, height, width, channels).
            labels: as the layer takes them; None: those of the loss are to be mixed.
            weights: (batch,) sample weights, or None.
            seed: int32 tensor (2,).

        Returns:
            (images, labels, weights), None where None came.
        """
        if weights is not None:
            self.check_weights(weights, images)
        images, pairs = self.blend_compiled(images, seed)
        if labels is None:
            warn_unheard(self)
            handover.leave(self, pairs)
        else:
            labels = self.each_head(soft, labels)
        return images, *mixed_labels(labels, weights, pairs)

    def check_weights(self, weights, images):
        wanted = "wanted one array (batch,)"
        if not hasattr(weights, "shape"):
            raise ValueError(
                f"{self.name}: received sample_weight of type {type(weights).__name__}, {wanted}: an image is mixed "
                "for all heads alike."
            )
        if rank_of(weights.shape) != 1 or None not in (weights.shape[0], images.shape[0]) and (
            weights.shape[0] != images.shape[0]
        ):
            raise ValueError(
                f"{self.name}: received sample_weight of shape {weights.shape} with images of shape {images.shape}, "
                f"{wanted}. Remove the axes of what is not one number an image, for example sample_weight[:, 0]."
            )

    def take_mixing(self):
        """What the last training call on images alone drew, once.

        Asked inside ``keras.Model.compute_loss``, it gives what the loss needs: for each pair in turn,
        ``keep * loss(y, y_pred) + (1 - keep) * loss(y[partner], y_pred)``, image by image.

        Returns:
            A list of (partner, keep) pairs in order of application: int32 and float32 tensors of shape (batch,), such
            that image i became ``keep[i]`` of itself and ``1 - keep[i]`` of image ``partner[i]``. None if there was no
            training call in this thread and this trace (of ``tf.function`` or ``jax.jit``), if a call with
            ``training=False`` came after it, or if the answer was taken already.
        """
        return handover.take(self)

    def each_head(self, function, labels):
        """``function(labels, classes)`` of the labels, or of each head's."""
        if not isinstance(labels, dict):
            return function(labels, self.classes)
        return {head: function(one, self.classes_of(head)) for head, one in labels.items()}

    def classes_of(self, head):
        return self.classes.get(head) if isinstance(self.classes, dict) else self.classes

    def check_labels(self, labels, images):
        if not self.mixes:
            return
        if not isinstance(labels, dict):
            if isinstance(self.classes, dict) and labels is not None:
                raise ValueError(
                    f"{self.name}: received one array of labels, wanted a dictionary with the heads "
                    f"{', '.join(map(repr, self.classes))}, as classes= says. Pass a dictionary, or classes= a number."
                )
            self.check_head("labels", labels, self.classes, images)
            return
        if not labels:
            raise ValueError(f"{self.name}: received an empty dictionary of labels, wanted one array a head.")
        missing = sorted(set(self.classes) - set(labels)) if isinstance(self.classes, dict) else []
        if missing:
            raise ValueError(
                f"{self.name}: received labels with the heads {', '.join(map(repr, labels))}, wanted {missing[0]!r} "
                "too, as classes= says. Add its labels, or take it out of classes=."
            )
        for head, one in labels.items():
            self.check_head(f"labels[{head!r}]", one, self.classes_of(head), images)

    def check_head(self, what, labels, classes, images):
        received = f"{self.name}: received {what} of "
        if labels is None:
            raise ValueError(
                f"{self.name}: received None for {what}, missing labels: they have to be mixed as the images are. "
                "Pass integers (batch,) or one-hot labels (batch, classes)."
            )
        if not hasattr(labels, "shape") or not hasattr(labels, "dtype"):
            raise ValueError(f"{received}type {type(labels).__name__}, wanted one array of integers or of floats.")
        if rank_of(labels.shape) is None:
            raise ValueError(f"{received}unknown rank. In tf.data, call label.set_shape(...) first.")
        shape, dtype = tuple(labels.shape), dtype_name(labels)
        rank = len(shape) + (len(images.shape) == 3)  # a single image has labels without the batch axis
        if "int" not in dtype and "float" not in dtype:
            raise ValueError(f"{received}dtype {dtype}, wanted integers or floats. Convert them to one of the two.")
        if is_float(labels):
            if rank != 2:
                raise ValueError(
                    f"{received}dtype {dtype} and shape {shape}, wanted one-hot or soft labels (batch, classes). "
                    "If they are class numbers, cast them to int32 and pass classes=."
                )
            if None not in (classes, shape[-1]) and shape[-1] != classes:
                raise ValueError(
                    f"{received}shape {shape}, wanted {classes} classes, as the layer was told. "
                    "Pass the right classes=, or none for one-hot labels."
                )
        else:
            if rank != 1:
                raise ValueError(
                    f"{received}dtype {dtype} and shape {shape}, wanted integers (batch,) or floats (batch, classes). "
                    "Remove the last axis, labels[:, 0], or, if they are one-hot, cast them to float32."
                )
            if classes is None:
                raise ValueError(
                    f"{received}dtype {dtype}, wanted classes= to make mixable labels of them. Write for example "
                    "MixUp(..., classes=10) for 10 classes, classes={'head': 10} for labels in a dictionary, or pass "
                    "one-hot labels (batch, classes)."
                )
            seen = as_seen(labels)
            if seen is not None and seen.size and not 0 <= seen.min() <= seen.max() < classes:
                raise ValueError(
                    f"{received}values from {seen.min()} to {seen.max()}, wanted classes from 0 to {classes - 1}. "
                    "Count the classes from 0, or pass the right classes=."
                )
        if len(images.shape) == 4 and None not in (shape[0], images.shape[0]) and shape[0] != images.shape[0]:
            raise ValueError(
                f"{received}shape {shape} with images of shape {tuple(images.shape)}, wanted one label an image. "
                "Pass the images and labels of the same batch."
            )

    def label_spec(self, labels):
        if not self.mixes:
            return labels

        def spec(one, classes):
            return keras.KerasTensor(one.shape if is_float(one) else (*one.shape, classes), "float32")

        return self.each_head(spec, labels)

    def compute_output_spec(self, inputs, training=True, seed=None):
        spec = super().compute_output_spec(inputs, training, seed)
        if training and self.mixes and isinstance(spec, dict) and "sample_weight" in spec:
            spec["sample_weight"] = keras.KerasTensor(spec["sample_weight"].shape, "float32")
        return spec

    def compute_output_shape(self, input_shape):
        if not self.mixes or not isinstance(input_shape, dict):
            return super().compute_output_shape(input_shape)
        rank = 0 if len(input_shape["images"]) == 3 else 1

        def shape(one, classes):
            return (*one, classes) if len(one) == rank else tuple(one)

        return {**input_shape, "labels": self.each_head(shape, input_shape["labels"])}


def warn_unheard(layer):
    """Warns where a model is being trained whose loss will not ask what was mixed."""
    try:
        from keras.src.backend.common import global_state

        outermost = getattr(global_state.get_global_attribute("current_call_ctx"), "entry_layer", None)
    except (ImportError, AttributeError):
        return  # no public way to ask
    if isinstance(outermost, keras.Model) and type(outermost).compute_loss is keras.Model.compute_loss:
        warnings.warn(
            f"{layer.name} mixes images inside {outermost.name!r}, whose loss does not hear of it: labels stay "
            "unmixed. Train the model itself that kerazoo built with augmentation=[...], mix in tf.data, or ask "
            "take_mixing() in compute_loss of a model of your own.",
            stacklevel=2,
        )


def mixed_labels(labels, weights, pairs):
    """Soft labels and weights (None: there are none) after each of the mixings."""
    for partner, keep in pairs:
        rest = 1 - keep
        if weights is not None:
            weights, rest = mix_weights(weights, partner, rest)
        if labels is not None:
            labels = keras.tree.map_structure(lambda x: lerp(x, partner, rest), labels)
    return labels, weights


def self_contained(layer):
    """Whether a layer is kerazoo's all through, and draws from the seed that it is given and nothing else."""
    if not isinstance(layer, AugmentationLayer):
        return False
    inner = getattr(layer, "layers", [])
    return all(map(self_contained, inner)) and (layer.image_wise or isinstance(layer, MixingLayer))


class Container(MixingLayer):
    """What layers that hold a list of others, ``layers``, have in common."""

    def set_epoch(self, epoch):
        """Tells the layers inside which epoch it is, counted from 0."""
        for layer in self.layers:
            if hasattr(layer, "set_epoch"):
                layer.set_epoch(epoch)

    def check_channels(self, channels):
        for layer in self.layers:
            if isinstance(layer, AugmentationLayer):
                layer.check_channels(channels)

    def get_config(self):
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), "layers": layers}

    @classmethod
    def from_config(cls, config):
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})


def epochs(layer):
    """The variables in which the layer, and those inside, keep the number of the epoch."""
    own = [layer.epoch.state] if hasattr(layer, "epoch") else []
    return [*own, *(state for inner in getattr(layer, "layers", []) for state in epochs(inner))]


def blend_compiled(owner, images, seed):
    """``owner.blend``, compiled where that is of use; XLA compiles anew for every size."""
    function = engine.plain if None in images.shape[1:3] else engine.compiled
    # The epochs go in as arguments: what JAX has compiled would remember what they were.
    return function(owner, blend_told)(images, seed, [state.value for state in epochs(owner)])


def blend_told(layer, images, seed, values):
    """``layer.blend``, given the values of ``epochs(layer)``."""
    if not values:
        return layer.blend(images, seed)
    with keras.StatelessScope(state_mapping=list(zip(epochs(layer), values))):
        return layer.blend(images, seed)


@keras.saving.register_keras_serializable(package="kerazoo")
class MixUp(MixingLayer):
    """Blends each image with another of its batch: ``keep * image + (1 - keep) * partner``.

    The shares are drawn from Beta(alpha, alpha) for each image, rounded to multiples of 1/4096, the partner by a
    permutation of the batch. ``keep`` is the larger share: the mixed pairs are the same ones, as every image is a
    partner too. A batch of one stays as it is in a model or a data set, and is refused by hand.

    Called on a dictionary, the layer mixes the labels as well: integers (batch,) need ``classes``; one-hot or soft
    float labels (batch, classes) do not; of several heads, they come in a dictionary. They come out as float32
    (batch, classes), with shares that sum to one exactly. With ``"sample_weight"``, an image's weight goes with its
    label: of weights v and w, ``W = keep * v + (1 - keep) * w`` comes out, and the labels have the shares
    ``keep * v / W`` and ``(1 - keep) * w / W``, so that W times the cross-entropy is what the two weighted labels
    cost. With ``training=False`` the dictionary comes back as it was, integer labels included.

    In a model it sees images alone. The loss has to be mixed instead, and ``take_mixing`` says how; models built by
    kerazoo do that by themselves, with whatever labels they are trained on. Metrics then count the image's own label:
    as ``keep`` is at least one half, that is the label of what is seen best, and training accuracy can still reach
    100 %, but it is accuracy on mixed images, below that on plain ones. Labels mixed in the data are soft, and
    "accuracy" compares with the largest. Validation sees plain images and is not touched.

    Called by hand or in ``tf.data`` on images alone, it raises: their labels would stay unmixed. ``augment(images,
    None, seed)`` gives the pictures without labels.

    Args:
        alpha: above 0; small values keep most images nearly whole, 1 makes every share equally likely.
        classes: number of classes, needed for integer labels only; for a dictionary of labels, a number that holds for
            each of its integer heads, or ``{head: number}``.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or the labels do not fit or are missing.

    Example:
        >>> layer = kerazoo.augment.MixUp(0.2, classes=10)
        >>> dataset = dataset.batch(32).map(lambda images, labels: layer({"images": images, "labels": labels}))

    Reference:
        Zhang et al. 2017, mixup: Beyond Empirical Risk Minimization, https://arxiv.org/abs/1710.09412
    """

    def __init__(self, alpha=0.2, classes=None, seed=None, name=None):
        super().__init__(classes=classes, seed=seed, name=name)
        self.alpha = check_alpha(alpha)
        # The smaller share is one of 0 ... 2048 of 4096; both tails of the distribution fold into it.
        edges = (np.arange(SHARES // 2) + 0.5) / SHARES
        self._table = counts(2 * beta_cdf(edges, self.alpha))

    def blend(self, images, seed):
        batch = ops.shape(images)[0]
        drawn = uniform(seed, batch, 2)
        rest = ops.cast(rank(self._table, as_count(drawn[:, 0])), "float32") * (1 / SHARES)
        partner = permutation(drawn[:, 1], batch)
        return as_dtype(lerp(images, partner, rest), images.dtype), [(partner, 1 - rest)]

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "classes": plain(self.classes)}


@keras.saving.register_keras_serializable(package="kerazoo")
class CutMix(MixingLayer):
    """Pastes a box of another image of the batch into each image.

    The partner is drawn by a permutation of the batch, the share 1 - lambda of the area that the box takes from
    Beta(alpha, alpha), its center anywhere in the image; the box has the image's proportions, its sides are rounded to
    whole pixels, and it is clipped at the border. ``keep`` is the share of the image that is left, counted in pixels
    after clipping. Pixels are copied, never blended. A batch of one stays as it is in a model or a
    data set, and is refused by hand.

    Labels, weights, dictionaries and missing labels are as in ``MixUp``. As in the paper, ``keep`` may be below one
    half: then the larger part of the picture is the partner's. A model's training accuracy counts the image's own
    label, and even a perfect network would not reach 100 %: with alpha 1, the partner has the larger part of about one
    image in six. Look at the loss, or at validation.

    Args:
        alpha: above 0; 1, the paper's, makes every area equally likely.
        classes: as in ``MixUp``.
        seed: integer, or None for a different sequence each time.
        name: the layer's name.

    Raises:
        ValueError: if an argument is out of its range, or the labels do not fit or are missing.

    Example:
        >>> model = kerazoo.resnet18(classes=10, augmentation=[kerazoo.augment.CutMix()])

    Reference:
        Yun et al. 2019, CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features,
        https://arxiv.org/abs/1905.04899
    """

    def __init__(self, alpha=1.0, classes=None, seed=None, name=None):
        super().__init__(classes=classes, seed=seed, name=name)
        self.alpha = check_alpha(alpha)
        # Of the root of the area, so that no root is taken later: its last bit differs between compilers.
        edges = (np.arange(SHARES) + 0.5) / SHARES
        self._table = counts(beta_cdf(edges**2, self.alpha))

    def blend(self, images, seed):
        batch, height, width, _ = ops.shape(images)
        drawn = uniform(seed, batch, 4)
        side = rank(self._table, as_count(drawn[:, 0]))
        partner = permutation(drawn[:, 1], batch)
        top, bottom = span(side, height, drawn[:, 2])
        left, right = span(side, width, drawn[:, 3])
        rest = ratio((bottom - top) * (right - left), height * width)

        def inside(size, start, stop):
            place = ops.arange(size, dtype="int32")[None]
            return (place >= start[:, None]) & (place < stop[:, None])

        box = inside(height, top, bottom)[:, :, None, None] & inside(width, left, right)[:, None, :, None]
        return ops.where(box, ops.take(images, partner, axis=0), images), [(partner, 1 - rest)]

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "classes": plain(self.classes)}


def span(side, size, drawn):
    """(start, stop) along one axis of a box whose center is drawn uniformly, clipped at the border.

    Args:
        side: int32 (batch,), its length in 1/4096 of the axis.
        size: pixels of the axis.
        drawn: (batch,) from [0, 1).
    """
    side = (side * size + SHARES // 2) // SHARES
    # The center lies between two pixels or on one, whichever the length allows: size + 1 or size places.
    places = ops.cast(size + 1 - side % 2, "float32")
    start = ops.cast(ops.floor(drawn * places), "int32") - side // 2
    return ops.maximum(start, 0), ops.minimum(start + side, size)


def ratio(part, whole):
    """part / whole, int32 from 0 to 1, to a multiple of 2^-24: to the same bit everywhere, as divisions are not."""
    digits, rest = 0, part
    for _ in range(2):
        digit = ops.cast(ops.floor(ops.cast(rest, "float32") / ops.cast(whole, "float32") * SHARES), "int32")
        # What the division got wrong, if anything, is one unit. The products wrap around, their difference is right.
        left = rest * SHARES - digit * whole
        fix = ops.cast(left >= whole, "int32") - ops.cast(left < 0, "int32")
        digits, rest = digits * SHARES + digit + fix, left - fix * whole
    return ops.cast(digits, "float32") * (1 / ONE)


def lerp(values, partner, rest):
    """``(1 - rest) * values + rest * values[partner]`` in float32, to the bit ``values`` where both are the same.

    Exact for uint8 values where ``rest`` is a multiple of 1/4096, and for values 0 and 1.
    """
    rest = ops.reshape(rest, (-1,) + (1,) * (len(values.shape) - 1))
    own, other = (ops.cast(x, "float32") for x in (values, ops.take(values, partner, axis=0)))
    return own + uncontracted(rest * (other - own))


def mix_weights(weights, partner, rest):
    """The mixed weight, and the share that the partner's label has in it.

    Args:
        weights: (batch,).
        partner, rest: (batch,), the partner and its share.

    Returns:
        float32 (batch,) ``W = (1 - rest) * w + rest * w[partner]``, and ``rest * w[partner] / W``; where W is zero,
        nothing is lost, and the share is ``rest``.
    """
    weights = ops.cast(weights, "float32")
    other = rest * ops.take(weights, partner, axis=0)
    total = lerp(weights, partner, rest)
    return total, ops.where(total == 0, rest, other / ops.where(total == 0, 1.0, total))


def uncontracted(product):
    """A product that is rounded before it is added to, which compilers skip where they can see both operations."""
    return ops.minimum(product, 3e38)


def soft(labels, classes):
    """Labels that can be mixed: float32 (batch, classes); NaN for what is no class, so that the loss shows it."""
    if is_float(labels):
        return ops.cast(labels, "float32")
    known = (labels >= 0) & (labels < classes)
    return ops.where(known[:, None], ops.one_hot(labels, classes, dtype="float32"), float("nan"))


def permutation(drawn, batch):
    """int32 (batch,), a permutation by numbers from [0, 1).

    The order of equal numbers is left to whoever sorts, so the keys differ: they end in the index.
    """
    if isinstance(batch, int) and batch < 1:
        return ops.zeros((0,), "int32")
    steps = 2**30 // batch
    high = ops.cast(ops.floor(drawn * ops.cast(steps, "float32")), "int32")
    return ops.cast(ops.argsort(high * batch + ops.arange(batch, dtype="int32")), "int32")


def as_count(drawn):
    """Numbers from `draws.uniform` as integers from 0 to 2^24 - 1, exactly."""
    return ops.cast(drawn * ONE, "int32")


def counts(probabilities):
    """Ascending cumulative probabilities as what ``rank`` looks draws up in: int32, in steps of 2^-24."""
    return np.round(np.clip(probabilities, 0, 1) * ONE).astype("int32")


def rank(table, drawn):
    """How many entries of an ascending table are at most the number drawn: the quantile function, exactly.

    With ``counts(cdf)`` of a distribution's values as the table, that is the index of the value drawn. A search in
    integers; ``keras.random.beta`` has no XLA kernel under TensorFlow, and powers differ between compilers.

    Args:
        table: int32 NumPy array.
        drawn: int32 tensor, from 0 to 2^24 - 1.

    Returns:
        int32 tensor of the same shape, 0 to len(table).
    """
    bits = len(table).bit_length()
    padding = np.full(2**bits - 1 - len(table), ONE, "int32")
    table = ops.convert_to_tensor(np.concatenate([table, padding]).astype("int32"))
    found = ops.zeros_like(drawn)
    for step in (2**bit for bit in reversed(range(bits))):
        found = found + step * ops.cast(ops.take(table, found + (step - 1)) <= drawn, "int32")
    return found


def beta_cdf(x, alpha):
    """The distribution function of Beta(alpha, alpha), to about 1e-9.

    The density t^(alpha-1) (1-t)^(alpha-1) is infinite at 0 for alpha below 1. In u = t^alpha it is (1-t)^(alpha-1),
    which is smooth on the lower half; the upper half mirrors it. For alpha above 1, u is t.

    Args:
        x: ascending float64 (n,), 0 to 1.
        alpha: above 0.

    Returns:
        float64 (n,).
    """
    power = min(alpha, 1.0)
    folded = np.minimum(x, 1 - x)
    ends = np.unique(np.concatenate([[0.0], folded, [0.5]]))
    u = ends**power
    nodes, weights = np.polynomial.legendre.leggauss(16)
    middle, half = (u[1:] + u[:-1]) / 2, (u[1:] - u[:-1]) / 2
    t = (middle[:, None] + half[:, None] * nodes) ** (1 / power)
    density = (1 - t) ** (alpha - 1) if alpha < 1 else (4 * t * (1 - t)) ** (alpha - 1)
    mass = np.concatenate([[0.0], np.cumsum(half * (density @ weights))])
    lower = np.interp(folded, ends, mass / (2 * mass[-1]))
    return np.where(x <= 0.5, lower, 1 - lower)


def check_alpha(alpha):
    # Beyond these limits Beta(alpha, alpha) is a coin toss, or one half.
    return check_number("alpha", alpha, 1e-3, 1e6)


def check_classes(classes):
    """``classes``, if it is None, a positive integer, or a dictionary of them; a ValueError otherwise."""
    for number in classes.values() if isinstance(classes, dict) else [classes]:
        if number is None and not isinstance(classes, dict):
            continue
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
            raise ValueError(
                f"classes: received {classes!r}, wanted an integer of at least 1, None, or a dictionary of such "
                "integers, one a head of the labels."
            )
    return plain(classes)


def plain(classes):
    """Python's own integers and dictionaries, as a configuration needs them; Keras wraps attributes."""
    if classes is None:
        return None
    return {str(head): int(n) for head, n in classes.items()} if isinstance(classes, dict) else int(classes)


def is_float(x):
    return "float" in dtype_name(x)
