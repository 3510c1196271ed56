"""The signatures of a SavedModel: what a server sees of a classifier."""
import math

import keras
import tensorflow as tf

from kerazoo.deep_graphs import deep_graphs
from kerazoo.export.encoded import decode_batch

# log(0) is minus infinity, which no client reads well; the smallest normal float32 stands for what underflowed.
TINY = 1.1754944e-38
TOP = 5
# Bytes of weights that become constants. They take some 30 times their size in memory while TensorFlow saves them; the
# large dense layers of VGG, which stay variables by that, gain least.
LARGEST_GRAPH = 2**27


def check_backend():
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.config.backend()} here, and a model can be exported on TensorFlow only. Save "
            "the weights; in a new process, set KERAS_BACKEND=tensorflow, build the model again, load them, export it."
        )


def concrete(classifier):
    """From pixels to scores: what all formats but the SavedModel are converted from.

    Returns:
        A concrete function: float32 `images` (batch, height, width, channels), pixels 0 to 255, to a dictionary of
        `probabilities` and `logits`, float32 (batch, classes).
    """
    def classify(images):
        return scores(classifier, classifier.model(to_pixels(classifier, images), training=False))

    return concrete_of(classify, pixel_spec(classifier, tf.float32))


def serving_module(classifier):
    """A `tf.Module` and its signatures, by name.

    Weights are constants, but for the largest of large models: TensorFlow's kernels arrange a variable's values anew at
    each call. It holds no optimizer, no metric, no random seed of a layer that is for training, and no Keras object, so
    that loading it needs none.
    """
    whole, sights = whole_network(classifier)

    def classify(images):
        # A server hands on whatever shape a client sends, and some networks would answer.
        images = tf.ensure_shape(images, (None, *classifier.image_shape))
        return answer(classifier, whole(images))

    functions = {
        "serving_default": concrete_of(classify, pixel_spec(classifier, tf.float32)),
        "serving_uint8": concrete_of(classify, pixel_spec(classifier, tf.uint8)),
    }
    if classifier.preprocessing and classifier.image_shape[2] in (1, 3):
        spec = tf.TensorSpec((None,), tf.string, name="image_bytes")

        # One function for both signatures: it is large.
        @tf.function(input_signature=[spec], autograph=False)
        def decode(image_bytes):
            return decode_batch(image_bytes, classifier.image_shape[2], classifier.preprocessing)

        functions["image_bytes"] = concrete_of(lambda image_bytes: classify(decode(image_bytes)), {"image_bytes": spec})
        functions["decode"] = concrete_of(lambda image_bytes: {"images": decode(image_bytes)}, {"image_bytes": spec})
    if "features" in sights:
        functions["features"] = concrete_of(
            lambda images: {"features": whole(images)["features"]}, pixel_spec(classifier, tf.float32)
        )
    if "heatmap" in sights:
        specs = {**pixel_spec(classifier, tf.float32), "classes": tf.TensorSpec((None,), tf.int32, "classes")}
        functions["grad_cam"] = concrete_of(
            lambda images, classes: {"heatmap": whole(images, classes)["heatmap"]}, specs
        )
    read = {id(variable): variable for function in functions.values() for variable in function.graph.variables}
    module = tf.Module()
    module.weights = list(read.values())
    return module, functions


def whole_network(classifier):
    """All that the network computes, in one function, so that the signatures share its weights.

    Returns:
        (``whole(images, classes=None)`` -> a dictionary of float32 `probabilities`, `logits`, and `features` and
        `heatmap` where there are such; the names of it).
    """
    specs = {**pixel_spec(classifier, tf.float32), "classes": tf.TensorSpec((None,), tf.int32, "classes")}
    constants = constant_weights(classifier.model)
    with_heatmap = classifier.feature_map is not None
    while True:
        try:
            function = concrete_of(see(classifier, constants, with_heatmap), specs)
            break
        except NotDifferentiable:
            with_heatmap = False  # no reason to serve nothing at all
        except WeightsChange:
            constants = []

    def whole(images, classes=None):
        # What a signature does not return of this is not computed.
        classes = tf.zeros(tf.shape(images)[:1], tf.int32) if classes is None else classes
        return function(images=tf.cast(images, tf.float32), classes=classes)

    return whole, sorted(function.structured_outputs)


def constant_weights(model):
    """[(variable, its values)], the smallest first, as many as may be constants."""
    chosen, left = [], LARGEST_GRAPH
    for variable in sorted(model.weights, key=lambda each: math.prod(each.shape)):
        left -= 4 * math.prod(variable.shape)
        if left < 0:
            break
        chosen.append((variable, keras.ops.convert_to_numpy(variable)))
    return chosen


def see(classifier, constants, with_heatmap):
    """The function behind `whole_network`. The heatmap shows where an image shows a class: Grad-CAM of the last map.

    Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391
    """
    outputs = {"scores": classifier.model.outputs[0]}
    if classifier.features is not None:
        outputs["features"] = classifier.features.outputs[0]
    if with_heatmap:
        outputs["map"] = classifier.feature_map
    with deep_graphs():
        model = keras.Model(classifier.model.inputs[0], list(outputs.values()))

    def run(images, classes):
        given = with_constants(constants, lambda: model(to_pixels(classifier, images), training=False))
        given = dict(zip(outputs, given if isinstance(given, (list, tuple)) else [given]))
        result = scores(classifier, given["scores"])
        if "features" in given:
            result["features"] = tf.cast(given["features"], tf.float32)
        if with_heatmap:
            result["heatmap"] = heatmap(result["logits"], classes, given["map"])
        return result

    return run


def with_constants(constants, call):
    """What `call` returns where variables are constants; None of them: as it is."""
    if not constants:
        return call()
    with keras.StatelessScope([(variable, tf.constant(array)) for variable, array in constants]) as scope:
        before = dict(scope.state_mapping)
        result = call()
    if any(before.get(key) is not value for key, value in scope.state_mapping.items()):
        raise WeightsChange
    return result


def heatmap(logits, classes, feature_map):
    # A probability near 1 has hardly a gradient; its logarithm differs from the logit by what all classes share.
    chosen = tf.gather(logits, classes, axis=1, batch_dims=1)
    try:
        (slopes,) = tf.gradients(chosen, feature_map)
    except LookupError:  # an operation without a gradient
        slopes = None
    if slopes is None:
        raise NotDifferentiable
    weights = tf.reduce_mean(slopes, (1, 2), keepdims=True)
    heat = tf.cast(tf.nn.relu(tf.reduce_sum(weights * feature_map, -1)), tf.float32)
    return tf.math.divide_no_nan(heat, tf.reduce_max(heat, (1, 2), keepdims=True))


class NotDifferentiable(Exception):
    """A score has no slope on the feature map."""


class WeightsChange(Exception):
    """A layer assigns to its weights at inference."""


def pixel_spec(classifier, dtype):
    return {"images": tf.TensorSpec((None, *classifier.image_shape), dtype, name="images")}


def concrete_of(function, specs):
    return tf.function(function, autograph=False).get_concrete_function(**specs)


def to_pixels(classifier, images):
    """Pixels as the model takes them; a model of integers gets floats rounded, not cut off."""
    dtype = tf.as_dtype(keras.backend.standardize_dtype(classifier.model.inputs[0].dtype))
    if dtype.is_integer and images.dtype.is_floating:
        # Not tf.saturate_cast: LiteRT has no ClipByValue.
        images = tf.minimum(tf.maximum(tf.round(images), dtype.min), dtype.max)
    return tf.cast(images, dtype)


def scores(classifier, outputs):
    outputs = tf.cast(outputs, tf.float32)
    if classifier.softmax:
        return {"probabilities": outputs, "logits": tf.math.log(tf.maximum(outputs, TINY))}
    return {"probabilities": tf.nn.softmax(outputs), "logits": outputs}


def answer(classifier, given):
    """All that a client gets for a batch."""
    given = {name: given[name] for name in ("probabilities", "logits")}
    names = tf.constant(classifier.class_names)
    # Of classes as probable as each other, the first, as tf.argmax has it.
    best, places = tf.math.top_k(given["probabilities"], k=min(TOP, len(classifier.class_names)))
    # Two gathers, and no slice of strings: OpenVINO 2026.4 crashes on one.
    label, top = tf.gather(names, places[:, 0]), tf.gather(names, places)
    return {**given, "label": label, "top_k_labels": top, "top_k_probabilities": best}
