"""From a Keras classifier to what a server sees: pixels in; probabilities, logits and a label out."""
import keras
import tensorflow as tf

# log(0) is minus infinity, which no client reads well; the smallest normal float32 stands for what underflowed.
TINY = 1.1754944e-38

PASS_THROUGH = (keras.layers.Identity, keras.layers.Reshape, keras.layers.Flatten, keras.layers.Dropout)
ACTIVATIONS = {name.replace("_", "") for name in dir(keras.activations)} | {"prelu"}


def check_backend():
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.config.backend()} here, and a SavedModel can be written on TensorFlow only. Save "
            "the weights; in a new process, set KERAS_BACKEND=tensorflow, build the model again, load them, export it."
        )


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
            f"{model.name!r} gives {tuple(scores)}."
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
        if "\n" in name or name != name.encode("utf-8", "replace").decode("utf-8"):
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


def serving_module(model, image_shape, softmax, class_names):
    """A `tf.Module` and its signatures.

    It holds the variables that inference reads, and no more: no optimizer, no metric, no random seed of a layer that is
    for training. It holds no Keras object either, so that loading it needs none.
    """
    pixel_dtype = tf.as_dtype(keras.backend.standardize_dtype(model.inputs[0].dtype))

    def classify(images):
        if pixel_dtype.is_integer and images.dtype.is_floating:
            images = tf.round(images)
        scores = tf.cast(model(tf.saturate_cast(images, pixel_dtype), training=False), tf.float32)
        if softmax:
            probabilities, logits = scores, tf.math.log(tf.maximum(scores, TINY))
        else:
            probabilities, logits = tf.nn.softmax(scores), scores
        label = tf.gather(tf.constant(class_names), tf.argmax(probabilities, axis=-1))
        return {"probabilities": probabilities, "logits": logits, "label": label}

    def signature(dtype):
        images = tf.TensorSpec((None, *image_shape), dtype, name="images")
        return tf.function(classify, input_signature=[images], autograph=False).get_concrete_function()

    endpoints = {"serving_default": signature(tf.float32), "serving_uint8": signature(tf.uint8)}
    read = {id(variable): variable for function in endpoints.values() for variable in function.graph.variables}
    module = tf.Module()
    module.weights = list(read.values())
    return module, endpoints
