"""From a file's array to a variable's value: axes, batch norms, and the first kernel."""
import math

import numpy as np

STRIPE = 16  # output channels copied at a time: one cache line of float32, which makes transposing as fast as copying


def pytorch_shape(shape, layer, flat):
    """The shape that a kernel of PyTorch's has with the channels last, or None where it is no such kernel.

    Args:
        shape: outputs first, then inputs, then pixels.
        layer: our layer.
        flat: (height, width, channels) of what the layer reads, if that has been flattened.
    """
    if len(layer.kernel.shape) == 4 and len(shape) == 4:
        outputs, inputs, *pixels = shape
        return (*pixels, outputs, 1) if is_depthwise(layer) and inputs == 1 else (*pixels, inputs, outputs)
    if len(layer.kernel.shape) == 2 and len(shape) == 4:
        # timm has convolutions of the whole image where others have dense layers.
        outputs, inputs, *pixels = shape
        if (*pixels, inputs) == (flat or (1, 1, inputs)):
            return pixels[0] * pixels[1] * inputs, outputs
    if len(layer.kernel.shape) == 2 and len(shape) == 2:
        return shape[::-1]
    return None


def channels_last(array, shape, flat, dtype, empty):
    """A kernel of PyTorch's with the channels last: (outputs, inputs, pixels) becomes (pixels, inputs, outputs).

    A dense layer behind a flattened image reads (channels, height, width) there and (height, width, channels) here.
    """
    if array.ndim == 2:
        inputs = flat[2] if flat else array.shape[1]
    else:
        inputs = array.shape[1]
    source = array.reshape(array.shape[0], inputs, -1)
    result = empty(source.shape[::-1], dtype)
    for start in range(0, len(source), STRIPE):
        stripe = slice(start, start + STRIPE)
        result[:, :, stripe] = source[stripe].T
    return result.reshape(shape)


def channels_first(kernel, layer, flat):
    """The way back, for writing."""
    if kernel.ndim == 2:
        if flat:
            kernel = kernel.reshape(*flat, -1).transpose(3, 2, 0, 1).reshape(kernel.shape[::-1])
            return np.ascontiguousarray(kernel)
        return np.ascontiguousarray(kernel.T)
    return np.ascontiguousarray(kernel.transpose(2, 3, 0, 1) if is_depthwise(layer) else kernel.transpose(3, 2, 0, 1))


def is_depthwise(layer):
    # A Conv2D is one too where it has as many groups as channels; its kernel has the channels last.
    return type(layer).__name__ == "DepthwiseConv2D"


def flattened(layer):
    """(height, width, channels) of the image that a dense layer reads flattened, or None."""
    tensor = first_input(layer)
    while tensor is not None:
        source = tensor._keras_history.operation
        if type(source).__name__ == "Flatten":
            shape = tuple(first_input(source).shape[1:])
            return shape if len(shape) == 3 else None
        if type(source).__name__ not in ("Dropout", "Activation", "Identity"):
            return None
        tensor = first_input(source)


def first_input(layer):
    # `layer.input` refuses to answer once the layer is part of a second model.
    nodes = getattr(layer, "_inbound_nodes", [])
    return nodes[0].input_tensors[0] if nodes and nodes[0].input_tensors else None


def reads(layer, other):
    """Whether a layer's input is another layer's output."""
    tensor = first_input(layer)
    return tensor is not None and tensor._keras_history.operation is other


def is_finite(array, dtype):
    """Whether all numbers are finite, also in the type that they will have."""
    if array.dtype.itemsize > np.dtype(dtype).itemsize:
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
    return bool(np.isfinite(array).all())


def backend_copies():
    """Whether assigning an array to a variable copies it. JAX may keep the very memory, be it the file's."""
    import keras

    return keras.config.backend() != "jax"


def allocator():
    """`np.empty`, or a quicker one that hands out the same memory each time, where the backend copies what it gets."""
    if not backend_copies():
        return np.empty
    memory = np.empty(0, np.uint8)

    def empty(shape, dtype):
        nonlocal memory
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if memory.size < size:
            memory = np.empty(size, np.uint8)
        return memory[:size].view(dtype).reshape(shape)

    return empty


def make_value(array, dtype, shape, flat, empty):
    """The value of a variable; `shape` is that of a kernel of PyTorch's with the channels last, else None."""
    if shape is not None:
        return channels_last(array, shape, flat, dtype, empty)
    if array.dtype == dtype and backend_copies():
        return array
    return np.array(array, dtype)


def snapshot(variable):
    """The value that a variable has now, to put back later."""
    import keras

    match keras.config.backend():
        case "tensorflow":
            # No copy: assigning gives the variable a new buffer, and this tensor keeps the old one.
            return variable.value.value()
        case "jax":
            return variable.value
    return keras.ops.copy(keras.ops.stop_gradient(variable.value))


def first_kernel(make, is_gray, is_bgr, empty):
    kernel = make(empty)
    if is_gray:
        # As if the gray image were three equal channels. That is exact where all are normalized alike; with ImageNet's
        # three means and deviations, logits differ by a few percent.
        return kernel.sum(axis=2, keepdims=True, dtype=kernel.dtype)
    return np.ascontiguousarray(kernel[:, :, ::-1]) if is_bgr else kernel


def subtract(make, bias, empty):
    value = make(empty)
    return np.asarray(value - bias, value.dtype)


def add(make, number, empty):
    value = make(empty)
    return np.asarray(value + number, value.dtype)
