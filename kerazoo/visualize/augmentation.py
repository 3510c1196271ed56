"""What augmentation makes of images."""
import numpy as np

from kerazoo.visualize.figures import as_uint8, check_images, check_labels, check_whole, grid


def augmentation_sheet(layer, images, labels=None, draws=5, seed=0, class_names=None):
    """Show what a layer, or a list of layers, makes of images: one row an image, the original first, then draws.

    Each draw goes through the images as one batch, as in training. Where a layer mixes images, the shares of the mixed
    labels stand above the pictures; without labels, each image is a class of its own there. The draws of kerazoo's own
    layers depend on `seed` alone; other layers draw from where they always do. Images of up to 128 pixels are shown
    pixel by pixel, enlarged by a whole factor, larger ones at a width or height of 128.

    Args:
        layer: a layer of `kerazoo.augment`, of Keras or of KerasCV, or a list of them, which go one after the other, as
            in `kerazoo.augment.Compose`.
        images: (n, height, width, channels), 1 to 64 images, or one (height, width, channels); pixels in 0..255,
            1 channel (gray) or 3.
        labels: (n,) class indices, or (n, classes) one-hot or soft labels; None: none.
        draws: columns beside the original, at least 1.
        seed: integer from 0 to 2**31 - 1; another one shows other draws.
        class_names: a list of str, one a class; None: their indices. They need `labels`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if an argument does not fit.

    Example:
        >>> images, labels = next(train.as_numpy_iterator())
        >>> layers = [kerazoo.augment.RandomFlip(), kerazoo.augment.MixUp()]
        >>> sheet = kerazoo.visualize.augmentation_sheet(layers, images[:6], labels[:6], class_names=train.class_names)
        >>> sheet.savefig("augmentation.png")
    """
    images = check_images(images)
    shares, class_names = check_labels(labels, class_names, len(images))
    check_whole("draws", draws, 1, None)
    check_whole("seed", seed, 0, 2**31 - 1)
    layer = as_layer(layer)

    columns = [(as_uint8(images), None if labels is None else np.eye(len(images)))]
    columns += [draw(layer, images, (seed, k)) for k in range(draws)]
    captions = [
        [""] * len(images) if mixed is None else [caption(row, class_names) for row in mixed @ shares]
        for _, mixed in columns
    ]
    return grid(
        [list(row) for row in zip(*(pictures for pictures, _ in columns))],
        captions=[list(row) for row in zip(*captions)],
        columns=["original", *(f"draw {k + 1}" for k in range(draws))],
    )


def as_layer(layer):
    """The one layer to call: one of ours as it is, others and lists in a `Compose`."""
    # Here, because Keras loads a backend, and the other pictures do without.
    import keras

    from kerazoo.augment import AugmentationLayer, Compose

    layers = layer if isinstance(layer, (list, tuple)) else [layer]
    for one in layers:
        if not isinstance(one, keras.layers.Layer):
            raise ValueError(
                f"layer: got {one!r}, wanted a Keras layer or a list of them, such as kerazoo.augment.RandAugment()."
            )
    if not layers:
        raise ValueError("layer: got an empty list, wanted one or more layers, such as kerazoo.augment.RandAugment().")
    return layer if isinstance(layer, AugmentationLayer) else Compose(layers)


def draw(layer, images, seed):
    """The images after the layer, and what is in each, (n, n) shares of the images; None where they are not mixed."""
    from keras import ops

    if not layer.mixes:
        return as_uint8(ops.convert_to_numpy(layer(images, training=True, seed=seed))), None
    # By hand, a mixing layer wants labels, of as many classes as it was told. Here, only which images it took counts.
    layer.check_channels(images.shape[-1])
    mixed, _ = layer.augment(ops.convert_to_tensor(images), None, ops.convert_to_tensor(np.array(seed, "int32")))
    shares = np.eye(len(images))
    for partner, keep in layer.take_mixing():
        keep = ops.convert_to_numpy(keep)[:, None]
        shares = keep * shares + (1 - keep) * shares[ops.convert_to_numpy(partner)]
    return as_uint8(ops.convert_to_numpy(mixed)), shares


def caption(shares, names):
    """The classes of mixed labels, the largest share first; a class alone without its share."""
    order = [k for k in np.argsort(-shares, kind="stable") if shares[k] >= 0.005]
    if len(order) == 1 and shares[order[0]] > 0.995:
        return names[order[0]]
    lines = [f"{100 * shares[k]:.0f} % {names[k]}" for k in order]
    return "\n".join(lines if len(lines) <= 3 else [*lines[:2], f"and {len(lines) - 2} more"])
