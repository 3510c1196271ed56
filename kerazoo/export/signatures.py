"""The signatures of a SavedModel: what a server sees of a classifier."""
import keras
import tensorflow as tf

from kerazoo.export.encoded import decode_batch

# log(0) is minus infinity, which no client reads well; the smallest normal float32 stands for what underflowed.
TINY = 1.1754944e-38
TOP = 5


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

    It holds the variables that inference reads, and no more: no optimizer, no metric, no random seed of a layer that is
    for training. It holds no Keras object either, so that loading it needs none.
    """
    def classify(images):
        # A server hands on whatever shape a client sends, and some networks would answer.
        images = tf.ensure_shape(images, (None, *classifier.image_shape))
        return answer(classifier, classifier.model(to_pixels(classifier, images), training=False))

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
    if classifier.features is not None:
        def extract(images):
            features = classifier.features(to_pixels(classifier, images), training=False)
            return {"features": tf.cast(features, tf.float32)}

        functions["features"] = concrete_of(extract, pixel_spec(classifier, tf.float32))
    if classifier.viewer is not None:
        specs = {**pixel_spec(classifier, tf.float32), "classes": tf.TensorSpec((None,), tf.int32, "classes")}
        try:
            functions["grad_cam"] = concrete_of(grad_cam(classifier), specs)
        except NotDifferentiable:
            pass  # no reason to serve nothing at all
    read = {id(variable): variable for function in functions.values() for variable in function.graph.variables}
    module = tf.Module()
    module.weights = list(read.values())
    return module, functions


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


def answer(classifier, outputs):
    """All that a client gets for a batch."""
    given = scores(classifier, outputs)
    names = tf.constant(classifier.class_names)
    # Of classes as probable as each other, the first, as tf.argmax has it.
    best, places = tf.math.top_k(given["probabilities"], k=min(TOP, len(classifier.class_names)))
    # Two gathers, and no slice of strings: OpenVINO 2026.4 crashes on one.
    label, top = tf.gather(names, places[:, 0]), tf.gather(names, places)
    return {**given, "label": label, "top_k_labels": top, "top_k_probabilities": best}


class NotDifferentiable(Exception):
    """A score has no slope on the feature map."""


def grad_cam(classifier):
    """Where an image shows a class: Grad-CAM of the last map.

    Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391
    """
    def explain(images, classes):
        outputs, feature_map = classifier.viewer(to_pixels(classifier, images), training=False)
        # A probability near 1 has hardly a gradient; its logarithm differs from the logit by what all classes share.
        chosen = tf.gather(scores(classifier, outputs)["logits"], classes, axis=1, batch_dims=1)
        try:
            (slopes,) = tf.gradients(chosen, feature_map)
        except LookupError:  # an operation without a gradient
            slopes = None
        if slopes is None:
            raise NotDifferentiable
        weights = tf.reduce_mean(slopes, (1, 2), keepdims=True)
        heat = tf.cast(tf.nn.relu(tf.reduce_sum(weights * feature_map, -1)), tf.float32)
        return {"heatmap": tf.math.divide_no_nan(heat, tf.reduce_max(heat, (1, 2), keepdims=True))}

    return explain
