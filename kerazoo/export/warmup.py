"""Requests that TensorFlow Serving answers before it takes a client's, so that no client waits for the first one."""
import io

import numpy as np
import tensorflow as tf

FILE = "assets.extra/tf_serving_warmup_requests"


def write(folder, functions, classifier):
    """Write one request a signature into a SavedModel, where TensorFlow Serving looks for them.

    The file is a TFRecord of PredictionLog messages, of TensorFlow Serving's prediction_log.proto and predict.proto.

    Args:
        folder: the SavedModel.
        functions: the signatures, {name: concrete function}.
        classifier: the `Classifier` that they are of.
    """
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, function in functions.items():
            inputs = tf.nest.flatten(function.structured_input_signature)
            examples = {spec.name: example(spec, classifier) for spec in inputs}
            # PredictionLog.predict_log = 6, of PredictLog.request = 1.
            file.write(field(6, field(1, predict_request(signature, examples))))


def example(spec, classifier):
    """One image, or one class, as a TensorProto."""
    if spec.dtype == tf.string:
        return tf.make_tensor_proto([encoded(classifier)])
    size = classifier.preprocessing.size if classifier.preprocessing else (224, 224)
    shape = [1, *(known if side is None else side for side, known in zip(spec.shape[1:], (*size, 1)))]
    # One value for all: the file stays small.
    return tf.make_tensor_proto(0, spec.dtype, shape)


def encoded(classifier):
    from PIL import Image

    height, width = classifier.preprocessing.size
    shape = (height, width) if classifier.image_shape[2] == 1 else (height, width, 3)
    file = io.BytesIO()
    Image.fromarray(np.full(shape, 128, "uint8")).save(file, format="jpeg")
    return file.getvalue()


def predict_request(signature, inputs):
    """A PredictRequest: model_spec = 1, with signature_name = 3; the map inputs = 2, from key = 1 to value = 2.

    The name of the model is the server's to know.
    """
    message = field(1, field(3, signature.encode()))
    for name, tensor in inputs.items():
        message += field(2, field(1, name.encode()) + field(2, tensor.SerializeToString()))
    return message


def field(number, content):
    """A field of a protocol buffer that holds bytes: its number and wire type 2, the length, the content."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number):
    digits = []
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])
