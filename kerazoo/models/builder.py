"""From an architecture to a public builder: what all models have at both ends, in one place.

Keras is imported when a model is built, so that naming a builder costs nothing.
"""
import functools
import inspect
import numbers
import operator

from kerazoo.deep_graphs import deep_graphs
from kerazoo.registry import sign

PREPROCESSING = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # The means and deviations of CIFAR-10's training pixels.
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "unit": ((0.0,), (1.0,)),
}

DOCUMENTATION = """

Args:
    weights: None for random initialization; "imagenet" or "imagenet/<tag>" for published weights, with the
        normalization that they want (`kerazoo.list_weights("{name}")` names the tags); or the path of a file, see
        `kerazoo.load_weights`.
    classes: outputs of the head, a positive integer.
    input_shape: (height, width, channels) in pixels; None: the published size, {input_shape}. Sides of at least
        {min_size} pixels{free_sides}.
    include_top: True: end in the head; False: in the last feature map, or in pooled features with `pooling`.
    pooling: None, "avg" or "max"; with include_top=False.
    classifier_activation: None for logits, or an activation such as "softmax".
    dropout: rate in front of the last dense layer{dropout_where}, 0 to 1; None: the published rate, {dropout}.
    activation: None: the published one, {activation}; or a Keras activation name, a function, a layer, or a layer
        class such as `keras.layers.PReLU`.
    norm: None: the published one, "{norm}"; or "batch", "group", "layer", "none".
    preprocessing: the normalization inside the model: "imagenet", "cifar10", "unit" (x / 255), None (pixels as they
        come), or (mean, std) for pixels in 0..1, one number or one a channel. Published weights and
        kerazoo's own files replace the default with theirs.
    augmentation: one layer or a list of layers, active in training alone; label mixing reaches the loss.{options}
    name: of the model; None: "{name}".

Returns:
    A `keras.Model` from pixels in 0..255, (batch, height, width, channels), uint8 or float, to logits, (batch,
    classes).

Raises:
    ValueError: if an argument is out of its range, or the images are too small for the network.

Example:
    >>> model = kerazoo.{name}(classes=3)

Reference:
    {reference}
"""


def builder(
    name, trunk, *, input_shape=(224, 224, 3), classes=1000, min_size=32, preprocessing="imagenet", kit=None,
    top=None, head=None, auxiliary=None, auxiliary_weight=None, dropout=0.0, options=None, reference, **design,
):
    """Make the public function that builds one variant.

    Args:
        name: the model's public name.
        trunk: ``trunk(x, kit, **design) -> features``, the architecture between the pixels and the last feature map.
        input_shape, classes, preprocessing, dropout: what the paper used.
        min_size: the smallest side in pixels at which every window of the network finds a pixel.
        kit: the fields of `Kit` in which the paper differs from its defaults.
        top: ``top(x, kit) -> vector`` from the last feature map to what the head reads; None: the global
            average, then dropout.
        head: ``head(x, kit, classes, activation) -> logits``; None: one dense layer.
        auxiliary: ``auxiliary(x, kit, classes, head, name=...) -> logits`` of a classifier that takes part in training
            alone; then the trunk returns (features, the tensors that such classifiers read).
        auxiliary_weight: of each auxiliary classifier's loss.
        options: {name: (default, check, documentation)} of the family's own arguments, which are handed to the trunk;
            ``check(name, value)`` raises where a value is out of range.
        reference: the paper.
        design: the numbers that make this variant (depths, widths, block).
    """
    published = dict(kit or {})
    options = options or {}

    def build(
        *, weights=None, classes=classes, input_shape=None, include_top=True, pooling=None,
        classifier_activation=None, dropout=None, activation=None, norm=None, preprocessing=preprocessing,
        augmentation=None, name=None, **own,
    ):
        if unknown := sorted(set(own) - set(options)):
            raise TypeError(
                f"{build.__name__}() got an unexpected argument {unknown[0]!r}; "
                f"it takes {', '.join(build.__signature__.parameters)}."
            )
        import keras

        from kerazoo.models import assemble, augmentation as augmenting, trained
        from kerazoo.models.kit import NORMS, Kit

        if keras.config.image_data_format() == "channels_first":
            raise ValueError(
                "kerazoo's models take images with the channels last, and keras.config.image_data_format() is "
                "'channels_first'. Call keras.config.set_image_data_format('channels_last') first."
            )
        classes = check_classes(classes)
        shape = check_input_shape(input_shape, build.input_shape, min_size, build.__name__)
        if pooling not in (None, "avg", "max") or (pooling and include_top):
            raise ValueError(
                f"pooling must be None, 'avg' or 'max', and is for include_top=False; got pooling={pooling!r}, "
                f"include_top={include_top!r}."
            )
        if norm is not None and norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(map(repr, NORMS))}, or None; got {norm!r}.")
        if classifier_activation is not None:
            assemble.check_activation(classifier_activation, "classifier_activation")
        if dropout is not None:
            check_rate("dropout", dropout, " or None")
        parts = Kit(**{
            **published,
            **({} if activation is None else {"activation": assemble.check_activation(activation)}),
            **({} if norm is None else {"norm": norm}),
            "rate": build.dropout if dropout is None else dropout,
        })

        tag = assemble.find_published(build.__name__, weights)
        if weights is not None and is_default(preprocessing, build.preprocessing):
            preprocessing = assemble.preprocessing_of(weights, tag, shape[-1], preprocessing)
        if tag and tag.aux_heads is False:
            own.setdefault("aux_heads", False)
        for key, (default, check, _) in options.items():
            check(key, own.setdefault(key, default))

        image = keras.Input(shape, name="image")
        x, mixing = augmenting.augment(image, augmentation)
        x = assemble.normalize(x, preprocessing)
        x = trunk(x, parts, **design, **own)
        x, taps = x if auxiliary else (x, [])
        if include_top:
            x = top(x, parts) if top else parts.dropout(assemble.pool(x, "avg"), "head_dropout")
            x = (head or assemble.dense_head)(x, parts, classes, classifier_activation)
            if taps:
                others = [
                    auxiliary(tap, parts, classes, functools.partial(
                        assemble.dense_head, activation=classifier_activation), name=f"aux{i}")
                    for i, tap in enumerate(taps, 1)
                ]
                x = assemble.join(x, others, auxiliary_weight)
        elif pooling:
            x = assemble.pool(x, pooling)
        kind = trained.TrainedWithLayers if mixing or (include_top and taps) else keras.Model
        with deep_graphs():
            model = kind(image, x, name=name or build.__name__)
        sign(model, build.__name__, {
            "classes": classes, "input_shape": shape, "include_top": bool(include_top), "pooling": pooling,
            "classifier_activation": classifier_activation, "dropout": dropout, "activation": activation,
            "norm": norm, "preprocessing": preprocessing, **own,
        })
        if weights is not None:
            from kerazoo.weights import load_weights

            load_weights(model, weights)
        return model

    build.__name__ = build.__qualname__ = name
    build.__module__ = trunk.__module__
    build.input_shape, build.classes, build.dropout, build.min_size = input_shape, classes, dropout, min_size
    build.preprocessing = preprocessing
    signature = inspect.signature(build)
    *contract, name_parameter, _ = signature.parameters.values()
    build.__signature__ = signature.replace(parameters=[
        *contract,
        *(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default)
          for key, (default, *_) in options.items()),
        name_parameter,
    ])
    build.__doc__ = f"Build {name}. {trunk.__doc__}" + DOCUMENTATION.format(
        name=name, input_shape=input_shape, min_size=min_size, dropout=dropout,
        dropout_where="" if top is None else "s of the head", reference=reference,
        free_sides="" if top else "; None for sides that vary",
        activation=published.get("activation", "relu"), norm=published.get("norm", "batch"),
        options="".join(f"\n    {key}: {text}" for key, (*_, text) in options.items()),
    )
    return build


def check_classes(classes):
    try:
        count = operator.index(classes)
    except TypeError:
        count = 0
    if count < 1 or isinstance(classes, bool):
        raise ValueError(f"classes must be a positive integer, the number of outputs of the head; got {classes!r}.")
    return count


def check_input_shape(shape, published, min_size, name):
    if shape is None:
        return published
    wanted = f"input_shape must be (height, width, channels) in pixels, without the batch, such as {published}"
    try:
        height, width, channels = (side if side is None else operator.index(side) for side in shape)
    except (TypeError, ValueError):
        raise ValueError(f"{wanted}; got {shape!r}.") from None
    if channels is None or channels < 1 or any(side is not None and side < 1 for side in (height, width)):
        raise ValueError(f"{wanted}; got {shape!r}.")
    for side in (height, width):
        if side is not None and side < min_size:
            raise ValueError(
                f"{name} needs images of at least {min_size}x{min_size} pixels; got input_shape={tuple(shape)!r}. "
                f"Resize the images (kerazoo.data.load(..., image_size={min_size})), or take a network for small "
                "images: kerazoo.list_models(family='cifar_resnet')."
            )
    return height, width, channels


def check_rate(name, rate, otherwise=""):
    if not (isinstance(rate, numbers.Real) and not isinstance(rate, bool) and 0 <= rate < 1):
        raise ValueError(f"{name} must be a rate from 0 to below 1{otherwise}; got {rate!r}.")


def check_flag(name, value):
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False; got {value!r}.")


def is_default(preprocessing, default):
    # Arrays have no truth value, so that tuples of them cannot be compared.
    return preprocessing is default or isinstance(preprocessing, str) and preprocessing == default
