"""Augmentation of the training batches, by layers that data knows by their protocol alone."""
import inspect

import numpy as np


def check_layers(augmentation):
    """The layers as a tuple, if each is a function of its inputs and a seed."""
    import keras

    if augmentation is None:
        return ()
    layers = tuple(augmentation) if isinstance(augmentation, (list, tuple)) else (augmentation,)
    for layer in layers:
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                f"augmentation must be a layer of kerazoo.augment, or a list of them; got {layer!r} of type "
                f"{type(layer).__name__}."
            )
        if "seed" not in inspect.signature(layer.call).parameters:
            raise ValueError(
                f"augmentation: {layer.name} ({type(layer).__name__}) takes no seed when it is called, so its draws "
                "would not depend on seed, epoch and batch alone, and a run could not be continued. Take a layer of "
                "kerazoo.augment, or put this one into the model."
            )
    return layers


def shape_after(layers, shape, classes):
    """(height, width, channels) of the images that come out; errors of the layers about their inputs come from here."""
    import keras

    batch = {"images": keras.KerasTensor((None, *shape), "uint8"), "labels": spec_of_labels(classes)}
    for layer in layers:
        batch = layer(batch)
    images = batch["images"]
    if None in images.shape[1:]:
        raise ValueError(
            f"augmentation: images of shape {images.shape[1:]} come out; wanted a size that is known and the same for "
            "all. Let the last layer be one that gives it, such as RandomResizedCrop(224)."
        )
    return tuple(images.shape[1:])


def spec_of_labels(classes):
    import keras

    return keras.KerasTensor((None, classes), "float32") if classes else keras.KerasTensor((None,), "int64")


def augment_arrays(layers, images, labels, seeds):
    """(images, labels) as NumPy arrays after the layers, computed on the CPU."""
    import keras

    batch, integers = {"images": images, "labels": labels}, labels.dtype.kind == "i"
    with keras.device("cpu"):
        for layer, seed in zip(layers, seeds):
            batch = layer(batch, seed=seed)
        images, labels = (keras.ops.convert_to_numpy(batch[key]) for key in ("images", "labels"))
    # JAX knows no int64 unless told so.
    return images, labels.astype("int64") if integers and labels.dtype.kind == "i" else np.asarray(labels)


def augment_tensors(layers, images, labels, seeds):
    """The same, where tf.data traces it."""
    batch = {"images": images, "labels": labels}
    for number, layer in enumerate(layers):
        batch = layer(batch, seed=seeds[number])
    return batch["images"], batch["labels"]
