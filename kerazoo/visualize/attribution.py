"""Where in a picture a network sees what it says."""
import numpy as np
from matplotlib import colormaps

from kerazoo.visualize.figures import as_pictures, check_names, grid, in_rows

HEAT = "viridis"
METHODS = ("grad_cam", "grad_cam++")
PAIRS = 4  # images in a row, each with its heatmap
SHOWN = 128  # pixels of the figure for the longer side of an image


def grad_cam(model, images, classes=None, layer=None, method="grad_cam", class_names=None):
    """Show where in images a classifier sees a class: Grad-CAM or Grad-CAM++ of a map of features.

    Channels of the map are added up, each weighted by what the class's score, in front of a last softmax or sigmoid,
    gains from it; what is below zero, which speaks against the class, is left out.

    Args:
        model: a functional or sequential `keras.Model` from images to one score a class, kerazoo's or not; other models
            may be nested in it.
        images: (n, height, width, channels), 1 to 64 of them, or one (height, width, channels), as the model takes
            them: for kerazoo's models, pixels in 0..255.
        classes: a class index for all images, or (n,) of them; None: the most probable class of each.
        layer: the name of a layer, block or stage; None: the last map with more than one place.
        method: "grad_cam", or "grad_cam++", which shows several things of a class more evenly.
        class_names: a list of str, one a class; None: their indices.

    Returns:
        A `matplotlib.figure.Figure`: each image, and beside it the heatmap over it in gray, with the class and its
        probability above.

    Raises:
        ValueError: if an argument does not fit, or the model is no classifier with a map of features.

    Example:
        >>> figure = kerazoo.visualize.grad_cam(model, images[:8], class_names=test.class_names)
        >>> figure.savefig("grad_cam.png")

    Reference:
        Selvaraju et al.: Grad-CAM, ICCV 2017, https://arxiv.org/abs/1610.02391; Chattopadhay et al.: Grad-CAM++, WACV
        2018, https://arxiv.org/abs/1710.11063
    """
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}, wanted {' or '.join(map(repr, METHODS))}.")
    images, heat, classes, probabilities, call = heatmaps(model, images, classes, layer, method)
    names = check_names(class_names, probabilities.shape[-1])
    size = " × ".join(map(str, heat.shape[1:]))
    return pairs(
        images, heat, [(names[k], row[k]) for k, row in zip(classes, probabilities)],
        f"{'Grad-CAM++' if method == METHODS[1] else 'Grad-CAM'} of {call.name} ({size} places)",
        "Yellow: where the network sees the class above most, by each picture's own largest value; violet: where it "
        "does not. The number is the class's probability.",
    )


def saliency(model, images, classes=None, class_names=None):
    """Show which pixels a class's score depends on most: the size of its gradient on each.

    The score is that in front of a last softmax or sigmoid; of a pixel's channels, the largest counts.

    Args:
        model: a functional or sequential `keras.Model` from images to one score a class.
        images: (n, height, width, channels), 1 to 64 of them, or one (height, width, channels), as the model takes
            them: for kerazoo's models, pixels in 0..255.
        classes: a class index for all images, or (n,) of them; None: the most probable class of each.
        class_names: a list of str, one a class; None: their indices.

    Returns:
        A `matplotlib.figure.Figure`: each image, and beside it its saliency, scaled so that one pixel in a hundred is
        at the bright end.

    Raises:
        ValueError: if an argument does not fit, or the model is no classifier, or has no gradient.

    Example:
        >>> kerazoo.visualize.saliency(model, images[:8]).savefig("saliency.png")

    Reference:
        Simonyan et al.: Deep Inside Convolutional Networks, 2013, https://arxiv.org/abs/1312.6034
    """
    images, slopes, classes, probabilities = gradients(model, images, classes)
    names = check_names(class_names, probabilities.shape[-1])
    sizes = np.abs(slopes).max(-1)
    top = np.percentile(sizes, 99, axis=(1, 2), keepdims=True)
    top = np.where(top > 0, top, sizes.max((1, 2), keepdims=True))
    return pairs(
        images, np.clip(sizes / np.where(top > 0, top, 1), 0, 1),
        [(names[k], row[k]) for k, row in zip(classes, probabilities)],
        f"Saliency: how much the score of a class in {model.name} depends on each pixel",
        "Yellow: most, by each picture's own 99th percentile; violet: not at all. The number is the class's "
        "probability.",
        over=False,
    )


def heatmaps(model, images, classes=None, layer=None, method="grad_cam"):
    """Heatmaps as arrays.

    Returns:
        (images (n, height, width, channels); heatmaps float32 (n, rows, columns), 0..1, all 0 where nothing speaks for
        the class; classes (n,); probabilities (n, classes); the call whose map they are of).
    """
    from kerazoo.visualize.network import images_for, network_of

    network = network_of(model, "grad_cam")
    call = map_of(network, layer)
    images = images_for(network, images)
    pieces, classes, probabilities = explain(network, images, classes, "grad_cam", call)
    heat = np.concatenate([cam(maps, slopes, method) for maps, slopes in pieces])
    top = heat.max((1, 2), keepdims=True)
    return images, heat / np.where(top > 0, top, 1), classes, probabilities, call


def gradients(model, images, classes=None):
    """(images, gradient of each image's score on its pixels, classes, probabilities) as arrays."""
    from kerazoo.visualize.network import images_for, network_of

    network = network_of(model, "saliency")
    images = images_for(network, images)
    pieces, classes, probabilities = explain(network, images, classes, "saliency", None)
    return images, np.concatenate([slopes for _, slopes in pieces]), classes, probabilities


def explain(network, images, classes, what, call):
    """The values of a call's map, or of the pixels, and the slope of each image's score on them.

    Returns:
        ([(values, slopes)] of some images each, classes (n,), probabilities (n, classes)).
    """
    from keras import ops

    from kerazoo.gradients import slope
    from kerazoo.networks import run
    from kerazoo.visualize.network import CHUNK, as_input, ending, numbers_of, to_probabilities

    kind, bare = ending(network, what)
    (image,), (output,) = network.inputs, network.outputs
    on = call.outputs[0] if call else image
    given, chosen, said, pieces = None, [], [], []
    for start in range(0, len(images), CHUNK):
        pixels = as_input(network, images[start : start + CHUNK])
        values, outputs = run(network, [on, output], {image: pixels})
        probabilities = to_probabilities(numbers_of(outputs), kind)
        if not np.isfinite(probabilities).all():
            raise ValueError(
                f"{network.model.name} answers with numbers that are NaN or infinite: its weights may be so, after a "
                "training that diverged, or the images are in a range that it was not made for."
            )
        if given is None:
            given = check_classes(classes, len(images), probabilities.shape[-1])
        here = probabilities.argmax(-1) if classes is None else given[start : start + CHUNK]
        single = outputs.shape[-1] == 1
        # One score for two classes: what speaks for one speaks against the other.
        signs = np.where(here == 0, -1, 1) if single else np.ones(len(here))
        places = np.zeros(len(here), "int32") if single else here.astype("int32")

        def score(values, pixels=pixels, places=places, signs=signs):
            (scores,) = run(network, [output], {image: pixels, on: values}, bare)
            picked = ops.take_along_axis(scores, ops.convert_to_tensor(places[:, None]), axis=1)[:, 0]
            return picked * ops.cast(ops.convert_to_tensor(signs), picked.dtype)

        slopes = slope(score, values)
        if slopes is None:
            where = f"the map of {call.name}" if call else "its pixels"
            raise ValueError(
                f"{what} needs the gradient of the scores of {network.model.name} on {where}, and there is none: what "
                "lies in between cannot be differentiated, such as rounding or a choice."
            )
        pieces.append((numbers_of(values), numbers_of(ops.convert_to_tensor(slopes))))
        chosen.append(here)
        said.append(probabilities)
    return pieces, np.concatenate(chosen), np.concatenate(said)


def cam(maps, slopes, method):
    """The channels of maps (n, rows, columns, channels), weighted and added up, without what is below zero."""
    if method == "grad_cam":
        weights = slopes.mean((1, 2), keepdims=True)
    else:
        # With the exponential of the score, as the paper has it: its own factor is the same everywhere, and cancels.
        squares = slopes**2
        below = 2 * squares + maps.sum((1, 2), keepdims=True) * slopes**3
        shares = np.where(squares > 0, squares / np.where(below != 0, below, 1), 0)
        weights = (shares * np.maximum(slopes, 0)).sum((1, 2), keepdims=True)
    return np.maximum((weights * maps).sum(-1), 0)


def map_of(network, layer):
    """The call whose map is shown."""
    from kerazoo.visualize.network import find_call, map_calls

    maps = map_calls(network)
    if layer is None:
        if not maps:
            raise ValueError(
                f"{network.model.name} has no map of features with more than one place behind a convolution, so that "
                "Grad-CAM has nothing to show. kerazoo.visualize.saliency works without."
            )
        return nearest_to_output(network, maps)
    call = find_call(network, layer)
    if len(call.shapes) != 1 or len(call.shapes[0]) != 4:
        hint = f", as {nearest_to_output(network, maps).name} gives" if maps else ""
        raise ValueError(
            f"layer: {call.name} gives {' and '.join(str(tuple(shape[1:])) for shape in call.shapes)}, wanted a map "
            f"(height, width, channels){hint}."
        )
    return call


def nearest_to_output(network, maps):
    """The map with the fewest calls between it and the scores; of several at once, the last in order."""
    makers = {number: call for call in network.calls for number in call.outputs}
    front, seen = set(network.outputs), set()
    while front:
        here = [makers[number] for number in front if number in makers]
        if found := [call for call in maps if call in here]:
            return found[-1]
        seen |= front
        front = {number for call in here for number in call.inputs} - seen
    return maps[-1]


def check_classes(classes, n, count):
    if classes is None:
        return None
    chosen = np.asarray(classes)
    chosen = np.full(n, chosen) if chosen.ndim == 0 else chosen
    if chosen.shape != (n,) or chosen.dtype.kind not in "iu":
        raise ValueError(f"classes: got {classes!r}, wanted one class index, or {n}, one an image.")
    if chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(f"classes: got {chosen.min()} to {chosen.max()}, wanted indices from 0 to {count - 1}.")
    return chosen


def pairs(images, heat, said, title, note, over=True):
    """A figure of images and, beside each, its heatmap."""
    pictures, captions = [], []
    for image, values, (name, probability) in zip(as_pictures(images), heat, said):
        picture = enlarged(image)
        pictures += [picture, overlay(picture, values) if over else colored(values, picture.shape[:2], smooth=False)]
        captions += ["", f"{name}: {100 * probability:.0f} %" + ("" if values.any() else "\n(nothing speaks for it)")]
    return grid(in_rows(pictures, 2 * PAIRS), in_rows(captions, 2 * PAIRS), cell=SHOWN, title=title, note=note)


def enlarged(image):
    """A picture grown by a whole factor, or shrunk, to about the size at which it is shown."""
    from PIL import Image

    longest = max(image.shape[:2])
    if longest <= SHOWN:
        return image.repeat(SHOWN // longest, 0).repeat(SHOWN // longest, 1)
    size = [max(round(n * SHOWN / longest), 1) for n in image.shape[1::-1]]
    small = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(small).reshape(size[1], size[0], -1)


def overlay(picture, heat):
    """A heatmap over a picture: the picture gives light and shade, the heat the color; neither hides the other."""
    gray = picture.astype("float32").mean(-1, keepdims=True) / 255
    return np.rint(255 * (0.4 * gray + 0.6 * colored(heat, picture.shape[:2]) / 255)).astype("uint8")


def colored(heat, size, smooth=True):
    """A heatmap in colors, uint8 (height, width, 3)."""
    from PIL import Image

    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    if not smooth and max(heat.shape) > max(size):
        how = Image.Resampling.BOX
    values = np.asarray(Image.fromarray(heat.astype("float32")).resize(size[::-1], how))
    return np.rint(255 * colormaps[HEAT](np.clip(values, 0, 1))[..., :3]).astype("uint8")
