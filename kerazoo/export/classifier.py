"""What an export is made from: a model that answers to pixels with one score a class, and what goes with it."""
import dataclasses
import math
import numbers

import keras

from kerazoo import registry
from kerazoo.deep_graphs import deep_graphs
from kerazoo.export.encoded import Preprocessing
from kerazoo.export.fold import inference_model

PASS_THROUGH = (keras.layers.Identity, keras.layers.Reshape, keras.layers.Flatten, keras.layers.Dropout)
ACTIVATIONS = {name.replace("_", "") for name in dir(keras.activations)} | {"prelu"}


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model with all that its export tells a client.

    Attributes:
        original: the model as it was given.
        model: the model for inference alone, flat: batch norms folded, augmentation and the like gone.
        features: a model with the same weights, to what the last layer with weights gets, a vector an image; None
            where there is no such thing.
        feature_map: the last feature map in the graph of `model`; None where there is no map.
        image_shape: (height, width, channels) of one image; None for a side that may have any size.
        softmax: whether the model's output is probabilities (True) or logits (False).
        class_names: one string a class.
        preprocessing: a `Preprocessing`, how an image file becomes pixels; None where a side is free and nobody said.
    """

    original: keras.Model
    model: keras.Model
    image_shape: tuple
    softmax: bool
    class_names: tuple
    preprocessing: Preprocessing | None
    features: keras.Model | None = None
    feature_map: keras.KerasTensor | None = None


def sights(scores):
    """What else than scores there is to serve.

    Args:
        scores: the output of a graph of `fold`, a `Value`.

    Returns:
        {"features": what the last layer with weights gets, a vector an image; "feature_map": the last map of features
        with more than one place}; without what there is none of.
    """
    found, value = {}, scores
    while value.maker and len(value.maker.inputs) == 1:
        layer, (value,) = value.maker.operation, value.maker.inputs
        if getattr(layer, "weights", None) and not isinstance(layer, keras.layers.BatchNormalization):
            if len(value.shape) == 2 and value.maker:
                found["features"] = value
            break
    for value in backward(scores):
        if len(value.shape) == 4 and tuple(value.shape[1:3]) != (1, 1):
            # Behind a convolution; before, it would be the image itself.
            weights = [weight for each in backward(value) for weight in getattr(each.maker.operation, "weights", ())]
            if any(len(weight.shape) == 4 for weight in weights):
                found["feature_map"] = value
            break
    return found


def backward(value):
    """A value of a graph and all that it is computed from, the nearest first, without the inputs."""
    front, seen = [value], set()
    while front:
        value = front.pop(0)
        if value.maker and id(value) not in seen:
            seen.add(id(value))
            yield value
            front.extend(value.maker.inputs)


def classifier(model, class_names=None, preprocessing=None):
    """Check what `kerazoo.export` was given, and put it together; see there."""
    image_shape, classes = check_classifier(model)
    known = registry.served_as(model)
    names = known.get("class_names") if class_names is None else class_names
    softmax, names = ends_in_softmax(model), check_class_names(names, classes)
    preprocessing = check_preprocessing(preprocessing, known.get("preprocessing"), image_shape)
    found = {}

    def more(scores):
        found.update(sights(scores))
        return list(found.values())

    whole, _ = inference_model(model, more)
    scores, *others = whole.outputs
    seen = dict(zip(found, others))
    (image,) = whole.inputs
    with deep_graphs():
        return Classifier(
            original=model,
            model=keras.Model(image, scores, name=whole.name),
            image_shape=image_shape,
            softmax=softmax,
            class_names=tuple(names),
            preprocessing=preprocessing,
            features=keras.Model(image, seen["features"]) if "features" in seen else None,
            feature_map=seen.get("feature_map"),
        )


def check_preprocessing(given, published, image_shape):
    """What was given, or else what the weights were published with, if the model takes images of that size."""
    size = image_shape[:2]
    if given is None:
        free = None in size
        if published and (free or tuple(published["size"]) == size):
            return Preprocessing(**published)
        return None if free else Preprocessing(size)
    if isinstance(given, dict):
        names = [field.name for field in dataclasses.fields(Preprocessing)]
        if unknown := set(given) - set(names):
            raise ValueError(f"preprocessing has {', '.join(map(repr, names))}; got {', '.join(map(repr, unknown))}.")
        given = {"size": size, **given}
        # As `Predictor.preprocessing` and NumPy have them.
        if isinstance(given["size"], (list, tuple)):
            given["size"] = tuple(plain(side) for side in given["size"])
        given = Preprocessing(**{name: plain(value) for name, value in given.items()})
    if not isinstance(given, Preprocessing):
        raise TypeError(
            "preprocessing must be a dictionary such as {'size': (224, 224), 'resize': 256, 'interpolation': "
            f"'bilinear'}}, or None; got {given!r}."
        )
    if any(wanted not in (None, side) for wanted, side in zip(size, given.size)):
        raise ValueError(
            f"preprocessing gives images of {' x '.join(map(str, given.size))} pixels, but the model takes "
            f"{' x '.join('any' if side is None else str(side) for side in size)}."
        )
    return given


def weight_bytes(model):
    """What the weights of a model take in float32."""
    return sum(4 * math.prod(weight.shape) for weight in model.weights)


def plain(value):
    return int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else value


def check_classifier(model):
    """Refuse what the signatures could not describe; return the shape of one image and the number of classes."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model; got {type(model).__name__}.")
    if keras.config.image_data_format() == "channels_first":
        raise ValueError(
            "images must be channels last; keras.config.image_data_format() is 'channels_first'. Call "
            "keras.config.set_image_data_format('channels_last') and build the model again."
        )
    if not model.built:
        raise ValueError(
            f"the model {model.name!r} has not been built, so the size of its images is not known. Begin it with "
            "keras.Input(shape=(height, width, channels)), or call model.build((None, height, width, channels))."
        )
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"the model {model.name!r} is a subclassed model, whose layers cannot be followed. Wrap it: "
            "inputs = keras.Input(shape=(height, width, channels)); keras.Model(inputs, model(inputs))."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"the model must have one input and one output; {model.name!r} has {len(model.inputs)} input(s) and "
            f"{len(model.outputs)} output(s). Export keras.Model(image, scores) of the ones to serve."
        )
    (batch, *image), scores = model.inputs[0].shape, model.outputs[0].shape
    if len(image) != 3 or image[2] is None:
        raise ValueError(
            "the model must take images, (batch, height, width, channels) with known channels; "
            f"{model.name!r} takes {(batch, *image)}."
        )
    if batch is not None:
        raise ValueError(
            f"the model must take any batch; the batch of {model.name!r} is fixed to {batch}. Build it with "
            f"keras.Input(shape={tuple(image)}), without a batch size."
        )
    if len(scores) != 2 or scores[1] is None or scores[1] < 2:
        raise ValueError(
            "the model must give one score per class, (batch, classes) with two classes or more; "
            f"{model.name!r} gives {tuple(scores)}." + (
                " For two classes, end it in two scores: keras.layers.Dense(2), or Dense(2, activation='softmax')."
                if tuple(scores[1:]) == (1,) else "")
        )
    return tuple(image), scores[1]


def check_class_names(class_names, classes):
    """Names as a list of strings, one per class."""
    if class_names is None:
        return [str(index) for index in range(classes)]
    if isinstance(class_names, (str, bytes)) or not hasattr(class_names, "__iter__"):
        raise TypeError(f"class_names must be a list of {classes} strings; got {class_names!r}.")
    names = list(class_names)
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(
                f"class_names must be strings; number {index} is {name!r}, a {type(name).__name__}. "
                "To use numbers as names: [str(name) for name in class_names]."
            )
        if "\n" in name or "\0" in name or name != name.encode("utf-8", "replace").decode("utf-8"):
            # Such as a folder name that is not UTF-8.
            raise ValueError(f"class_names must be single lines of UTF-8 text; number {index} is {name!r}.")
    if len(names) != classes:
        raise ValueError(f"class_names must have one name per class: the model has {classes}; got {len(names)} names.")
    return [str(name) for name in names]


def ends_in_softmax(model):
    """Whether the output is probabilities (True) or logits (False); any other final activation is refused."""
    tensor = model.outputs[0]
    while True:
        layer, node, index = tensor._keras_history
        if isinstance(layer, keras.Model) and getattr(layer, "outputs", None):
            tensor = layer.outputs[index]
        elif isinstance(layer, PASS_THROUGH) or type(layer) is keras.layers.Activation and name_of(layer) == "linear":
            tensor = layer._inbound_nodes[node].input_tensors[0]
        else:
            break
    activation = name_of(layer)
    if activation == "softmax":
        return True
    # log_softmax gives logits too: their softmax is the same.
    if activation in ("linear", "logsoftmax") or not (hasattr(layer, "activation") or activation in ACTIVATIONS):
        return False
    raise ValueError(
        f"the model must end in softmax or in plain logits; {model.name!r} ends in {layer.name!r} with the activation "
        f"{activation!r}, from which there is no sound way to the probability of one class among several. Build it "
        "with a last layer without activation, and train on a loss with from_logits=True."
    )


def name_of(layer):
    """The activation that a layer or an operation applies last: "softmax", "linear", "relu", or its own class name."""
    activation = getattr(layer, "activation", layer)
    if isinstance(activation, keras.Operation):
        return type(activation).__name__.lower().replace("_", "")
    return getattr(activation, "__name__", type(activation).__name__).replace("_", "") if activation else "linear"


