"""What the layers of a network hold, and what they make of an image."""
import math

import numpy as np
from matplotlib import colormaps

from kerazoo.visualize.figures import check_whole, grid, in_rows, some, turn

TILE = 90  # pixels of the figure for the longer side of a filter or a map
ACROSS = 8  # maps in a row
WEIGHTS = "PuOr_r"  # orange above zero, violet below: told apart by color-blind readers too
VALUES = "viridis"
SLICES = 12  # input channels of a filter in a row
FILTERS = 64  # on a page
MANY = 8  # filters with all of their input channels on a page
LAYERS = 8  # on a page


def filters(model, layer=None, page=1):
    """Show the filters of a convolution.

    Each filter is scaled by its own largest weight, which stands above it. Filters that see 3 channels are shown in
    color, gray where the weights are zero; those that see one, from violet (negative) over white (zero) to orange
    (positive); of others, each input channel is a picture of its own, one row a filter. Where a dense layer reads the
    pixels, as in `kerazoo.mlp`, the weights of each unit are shown at the places of the pixels.

    Args:
        model: a functional or sequential `keras.Model` of images, (batch, height, width, channels).
        layer: the name of a layer with a kernel, or of a block or stage, whose last one is meant; None: the first of
            all. A layer inside of a nested model goes by its name as well, or by "model/layer".
        page: counted from 1; there are 64 filters on one, or 8 with their input channels.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no such layer, page, or no kernel to show.

    Example:
        >>> kerazoo.visualize.filters(kerazoo.resnet18(weights="imagenet")).savefig("filters.png")
    """
    from kerazoo.visualize.network import find_call, network_of

    network = network_of(model, "filters")
    if layer is not None:
        call = find_call(network, layer)
        # A block or stage ends in a layer without one; its last kernel is meant.
        inside = [one for one in network.calls if f"/{one.name}".rpartition("/")[2].startswith(f"{layer}_")]
        choices = [call] if call.name.rpartition("/")[2] == layer or not inside else inside[::-1]
        call = next((one for one in choices if kernel_of(one, network) is not None), call)
        kernel = kernel_of(call, network)
        if kernel is None:
            raise ValueError(
                f"layer: {call.name} ({type(call.operation).__name__}) has no kernel that can be shown as pictures; "
                f"those that have are {some(with_kernels(network))}."
            )
    else:
        known = with_kernels(network)
        if not known:
            raise ValueError(
                f"{network.model.name} has no convolution, and no dense layer that reads the pixels: there is no "
                "filter to show."
            )
        call = find_call(network, known[0])
        kernel = kernel_of(call, network)
    check_whole("page", page, 1, None)
    rows, columns, inputs, count = kernel.shape
    where = f"{call.name} of {model.name}: {count:,} {'units' if is_dense(call) else 'filters'} of {rows} × {columns}"
    if inputs in (1, 3):
        chosen, said = turn(range(count), FILTERS, page)
        pictures = [picture_of(kernel[..., k]) for k in chosen]
        captions = [caption(k, kernel[..., k]) for k in chosen]
        return grid(
            in_rows(pictures, ACROSS), in_rows(captions, ACROSS), cell=TILE, title=f"{where}{said}",
            note="Each is scaled by its largest weight, ± the number above it. "
                 + ("Gray: zero." if inputs == 3 else "Orange: positive, white: zero, violet: negative."),
        )
    chosen, said = turn(range(count), MANY, page)
    shown = min(inputs, SLICES)
    which = f"the first {shown} of " if shown < inputs else ""
    return grid(
        [[picture_of(kernel[..., i : i + 1, k], np.abs(kernel[..., k]).max()) for i in range(shown)] for k in chosen],
        rows=[caption(k, kernel[..., k]) for k in chosen], columns=[f"input {i}" for i in range(shown)], cell=TILE,
        title=f"{where} × {inputs:,} inputs, {which}{inputs:,} shown{said}",
        note="Each row is a filter, scaled by its largest weight, ± the number at its left. Orange: positive, white: "
             "zero, violet: negative.",
    )


def with_kernels(network):
    return list(dict.fromkeys(call.name for call in network.calls if kernel_of(call, network) is not None))


def kernel_of(call, network):
    """The kernel of a convolution as (rows, columns, inputs, filters), or None."""
    import keras
    from keras import ops

    operation = call.operation
    kernel = getattr(operation, "depthwise_kernel", None)  # of separable convolutions
    kernel = getattr(operation, "kernel", None) if kernel is None else kernel
    if kernel is None or not hasattr(kernel, "shape"):
        return None
    if len(kernel.shape) == 4:
        kernel = np.asarray(ops.convert_to_numpy(ops.cast(kernel, "float32")))
        if isinstance(operation, keras.layers.Conv2DTranspose):
            return kernel.transpose(0, 1, 3, 2)
        if isinstance(operation, (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)):
            return kernel.reshape(*kernel.shape[:2], 1, -1)
        return kernel
    image = network.model.inputs[0].shape[1:]
    if len(kernel.shape) == 2 and None not in image and kernel.shape[0] == math.prod(image) and reads_pixels(
        call, network
    ):
        return np.asarray(ops.convert_to_numpy(ops.cast(kernel, "float32"))).reshape(*image, -1)
    return None


def is_dense(call):
    return type(call.operation).__name__ == "Dense"


def reads_pixels(call, network):
    """Whether a dense layer gets the image pixel by pixel, not what other layers have made of it."""
    makers = {number: one for one in network.calls for number in one.outputs}
    image = tuple(network.model.inputs[0].shape)
    if not is_dense(call):
        return False
    while call.inputs[0] not in network.inputs:
        call = makers[call.inputs[0]]
        if not keeps_places(call, image):
            return False
    return True


def keeps_places(call, image):
    """Whether each value that comes out is that of one pixel and channel, in the image's order."""
    import keras

    kept = keras.layers
    if call.node is None or isinstance(
        call.operation, (kept.Flatten, kept.Reshape, kept.Rescaling, kept.Normalization, kept.Identity)
    ):
        return True
    # Augmentation, noise and dropout, which are at work in training alone.
    in_training = getattr(call.operation, "_call_has_training_arg", False)
    return in_training and not call.weights and [tuple(shape) for shape in call.shapes] == [image]


def picture_of(weights, largest=None):
    """Weights (rows, columns, 1 or 3) as an RGB picture; zero is in the middle of the scale."""
    largest = np.abs(weights).max() if largest is None else largest
    values = 0.5 + 0.5 * weights / (largest or 1)
    if values.shape[-1] == 1:
        values = colormaps[WEIGHTS](values[..., 0])[..., :3]
    return tile(np.rint(255 * values).astype("uint8"))


def caption(number, weights):
    return f"{number}: ±{np.abs(weights).max():.2g}"


def tile(picture, side=TILE):
    """A picture with its longer side of so many pixels: each value a square, or the mean where there are more."""
    from PIL import Image

    longest = max(picture.shape[:2])
    size = [max(round(n * side / longest), 1) for n in picture.shape[1::-1]]
    how = Image.Resampling.NEAREST if longest <= side else Image.Resampling.BOX
    return np.asarray(Image.fromarray(picture).resize(size, how))


def feature_maps(model, image, layers=None, page=1):
    """Show what layers make of an image: their maps of features, channel by channel.

    Each channel is scaled between its own smallest and largest value; the range stands above it. A channel without
    contrast is one color, and its one value stands above.

    Args:
        model: a functional or sequential `keras.Model` of images.
        image: (height, width, channels) or (1, height, width, channels), as the model takes it: for kerazoo's models,
            pixels in 0..255.
        layers: the name of a layer, block or stage, or a list of such names; None: the last map of each size.
        page: counted from 1; the next one shows the next channels, 8 of each layer, or 64 of one.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the image does not fit the model, or a layer gives no map.

    Example:
        >>> kerazoo.visualize.feature_maps(model, image, ["stem_conv", "stage1", "stage2"]).savefig("maps.png")
    """
    from kerazoo.networks import run
    from kerazoo.visualize.network import as_input, find_call, images_for, map_calls, network_of, numbers_of

    network = network_of(model, "feature_maps")
    images = images_for(network, image, "image")
    if len(images) != 1:
        raise ValueError(f"image: got {len(images)} of them, wanted one, such as images[0].")
    names = [layers] if isinstance(layers, str) else layers
    if names is not None and (not isinstance(names, (list, tuple)) or not names):
        raise ValueError(f"layers: got {layers!r}, wanted the name of a layer, block or stage, or a list of such.")
    calls = last_of_each_size(map_calls(network)) if names is None else [find_call(network, name) for name in names]
    if not calls:
        raise ValueError(f"{model.name} has no convolution, and so no maps of features to show.")
    for call in calls:
        if len(call.shapes) != 1 or len(call.shapes[0]) != 4:
            raise ValueError(
                f"layers: {call.name} gives {' and '.join(str(tuple(shape[1:])) for shape in call.shapes)}, wanted a "
                f"map (height, width, channels), as {some([each.name for each in map_calls(network)][-3:])} give."
            )
    if len(calls) > LAYERS:
        raise ValueError(f"layers: got {len(calls)} of them, wanted 1 to {LAYERS}.")
    wanted = [call.outputs[0] for call in calls]
    maps = [numbers_of(tensor)[0] for tensor in run(network, wanted, {network.inputs[0]: as_input(network, images)})]
    for call, one in zip(calls, maps):
        if not np.isfinite(one).all():
            raise ValueError(
                f"The map of {call.name} holds NaN or infinite values: the weights of {model.name} may be so, after a "
                "training that diverged."
            )
    a_page = ACROSS if len(maps) > 1 else ACROSS * ACROSS
    _, said = turn(range(max(one.shape[-1] for one in maps)), a_page, page)
    pictures, captions, rows = [], [], []
    for call, one in zip(calls, maps):
        chosen = range(one.shape[-1])[(page - 1) * a_page : page * a_page]
        for k, numbers in enumerate(in_rows(chosen, ACROSS)):
            pictures.append([map_picture(one[..., channel]) for channel in numbers])
            captions.append([map_caption(channel, one[..., channel]) for channel in numbers])
            size = " × ".join(map(str, one.shape[:2]))
            rows.append("" if k else f"{call.name.replace('/', '/' + chr(10))}\n{size}\n{one.shape[-1]:,} channels")
    return grid(
        pictures, captions, rows, cell=TILE,
        title=f"Maps of features in {model.name}{said}",
        note="Above each: number of the channel, smallest and largest value. Dark: smallest, yellow: largest.",
    )


def last_of_each_size(calls):
    """The last map of each height and width, the largest maps first; of many sizes, the last ones."""
    found = {}
    for call in calls:
        if type(call.operation).__name__ == "ZeroPadding2D":
            continue  # the map before, with a margin
        size = tuple(call.shapes[0][1:3])
        found.pop(size, None)
        found[size] = call
    return list(found.values())[-LAYERS:]


def map_picture(values):
    low, high = values.min(), values.max()
    values = np.zeros_like(values) if high == low else (values - low) / (high - low)
    return tile(np.rint(255 * colormaps[VALUES](values)[..., :3]).astype("uint8"))


def map_caption(channel, values):
    low, high = values.min(), values.max()
    return f"{channel}: all {low:.2g}" if low == high else f"{channel}: {low:.2g} to {high:.2g}"
