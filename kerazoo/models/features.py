"""A model's inner outputs, by the names of its layers."""
import keras

from kerazoo.deep_graphs import deep_graphs
from kerazoo.registry import nearest


def feature_extractor(model, names):
    """Make a model that returns the outputs of stages or layers.

    Args:
        model: a functional `keras.Model` of kerazoo, or any other with named layers.
        names: a stage ("stage2"), a block ("stage2_block1") or a layer ("stem_conv"), or a list of such names. A stage
            or a block stands for its last layer.

    Returns:
        A `keras.Model` from the images to one tensor for one name, or to {name: tensor} for a list. It shares the
        weights of `model` and leaves out its augmentation.

    Raises:
        ValueError: if the model has no such stage, block or layer.

    Example:
        >>> features = kerazoo.feature_extractor(kerazoo.resnet18(), ["stage2", "stage4"])
        >>> features(images)["stage2"].shape
        (8, 28, 28, 128)
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(f"feature_extractor takes a built functional or sequential keras.Model; got {model!r}.")
    wanted = [names] if isinstance(names, str) else names
    if not isinstance(wanted, (list, tuple)) or not wanted or not all(isinstance(name, str) for name in wanted):
        raise ValueError(f"names must be the name of a stage or layer, or a list of such names; got {names!r}.")
    layers = network(model)
    outputs = {name: find_layer(model.name, layers, name).output for name in wanted}
    image = layers[0].input if layers[0] is not model.layers[0] else model.inputs[0]
    with deep_graphs():
        return keras.Model(image, outputs[names] if isinstance(names, str) else outputs, name=f"{model.name}_features")


def network(model):
    """The layers from the normalization of the pixels on; a foreign model's layers all."""
    names = [layer.name for layer in model.layers]
    start = names.index("normalize") if "normalize" in names else 0
    # Only augmentation, which has no weights, may be left out.
    return model.layers[0 if any(layer.weights for layer in model.layers[:start]) else start:]


def find_layer(model_name, layers, name):
    """The layer of that name, or the last one of the stage or block of that name."""
    found = [layer for layer in layers if layer.name == name]
    found = found or [layer for layer in layers if layer.name.startswith(f"{name}_")]
    if not found:
        known = [layer.name for layer in layers]
        stages = list(dict.fromkeys(part.split("_")[0] for part in known))
        raise ValueError(
            f"{model_name} has no stage or layer {name!r}{nearest(name, known + stages)} "
            f"Its layers begin with: {', '.join(stages)}."
        )
    return found[-1]
