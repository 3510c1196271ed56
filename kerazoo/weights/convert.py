"""From one library's weight file to another's."""
import inspect
import os
import threading
import types

import numpy as np

from kerazoo import registry
from kerazoo.weights.about import options_to_build
from kerazoo.weights.layouts import load_weights, save_weights
from kerazoo.weights.matching import OWN, Match, Slot
from kerazoo.weights.names import find_layouts
from kerazoo.weights.published import pixel_statistics, recognize_published
from kerazoo.weights.readers import WeightsError, read
from kerazoo.weights.writers import to_torchvision, write_pytorch, write_safetensors

ENDINGS = {"keras": (".weights.h5",), "safetensors": (".safetensors",), "torchvision": (".pth", ".safetensors")}
# What the families call the layer that reads the image.
FIRST = ("stem_conv", "stage1_conv", "stage1_conv1", "c1_conv")


def convert(file, model_name, to, output=None):
    """Convert a weight file. The number of classes and of image channels are read off the file.

    Args:
        file: a file that `kerazoo.load_weights` takes.
        model_name: a name from `kerazoo.list_models`.
        to: "keras" (`.weights.h5`), "safetensors" (kerazoo's names), or "torchvision" (its state dict, as `.pth` or
            `.safetensors`).
        output: the file to write; None: the model's name in the working directory. It is replaced if it exists.

    Returns:
        (path of the file written, a line about it).

    Raises:
        ValueError: if the file does not fit the model, `to` is unknown, `output` has another ending or is `file`, or
            torchvision has no such network.
        OSError: if the file cannot be read, or the output not written.

    Example:
        >>> convert("resnet18-f37072fd.pth", "resnet18", "safetensors")
        ('resnet18.safetensors', 'resnet18.safetensors: resnet18, 1000 classes, 11,699,112 numbers, 46.8 MB')
    """
    if to not in ENDINGS:
        raise ValueError(f"to must be one of {', '.join(map(repr, ENDINGS))}; got {to!r}.")
    output = f"{registry.check_name(model_name)}{ENDINGS[to][0]}" if output is None else os.fspath(output)
    if not output.endswith(ENDINGS[to]):
        raise ValueError(f"The output of to={to!r} ends in {' or '.join(ENDINGS[to])}; got {output!r}.")
    if os.path.exists(output) and os.path.exists(file) and os.path.samefile(file, output):
        raise ValueError(f"{output} is the file to convert itself. Name another output.")

    def check(options):
        if to == "torchvision" and not options.get("include_top", True):
            raise ValueError(f"torchvision's {model_name} has a head, and {os.path.basename(file)} is of one without. "
                             "Convert it to safetensors or keras, or give the model a head first.")

    model, options = build_for(file, model_name, check)
    if to == "torchvision":
        write = write_pytorch if output.endswith(".pth") else write_safetensors
        write(output, to_torchvision(model))
    else:
        save_weights(model, output)
    outputs = f"{options['classes']} classes" if options.get("include_top", True) else "without a head"
    return output, (f"{output}: {model_name}, {outputs}, {model.count_params():,} numbers, "
                    f"{os.path.getsize(output) / 1e6:.1f} MB")


def build_for(file, model_name, check=lambda options: None):
    """Build the model that a weight file is for, with its weights.

    Args:
        file: a file that `kerazoo.load_weights` takes.
        model_name: a name from `kerazoo.list_models`.
        check: called with the builder's arguments before the model is built.

    Returns:
        (model, {argument of the builder: value}).
    """
    arrays = read(file)
    options = find_options(arrays, model_name)
    check(options)
    check_size(arrays, model_name, options)
    del arrays  # and with them the file's mapping
    model = registry.create_model(model_name, **options)
    load_weights(model, file)
    return model, options


def check_size(arrays, name, options):
    """A file of a few bytes must not ask for a network of gigabytes: count its numbers before there is any."""
    import keras

    result = []

    def count():
        # In a stateless scope, variables have a shape and no memory. Leaving it would make them; its thread just ends.
        keras.StatelessScope().__enter__()
        try:
            result.append(registry.create_model(name, **options).count_params())
        except Exception as error:
            result.append(error)

    old = threading.stack_size(64 << 20)  # deep networks recurse
    thread = threading.Thread(target=count)
    thread.start()
    threading.stack_size(old)
    thread.join()
    if isinstance(result[0], Exception):
        raise result[0]
    held = sum(array.size for array in arrays.values())
    # Up to about the published size, loading can better say what does not fit.
    if result[0] > 2 * max(held, registry.facts(name).parameters):
        raise WeightsError(f"{arrays.path} holds {held:,} numbers, and the {name} that it asks for has {result[0]:,}. "
                           "Fetch or save it anew.")


def find_options(arrays, name):
    """The arguments of the builder that a file asks for."""
    builder = registry.get_builder(name)
    known = inspect.signature(builder).parameters
    if arrays.metadata.get("builder") == name:
        return options_to_build(arrays, name, known)
    layouts = [OWN, *find_layouts(name, "keras" if arrays.format == "keras" else "pytorch")]
    head, *firsts = (Slot(types.SimpleNamespace(name=layer), None, "kernel", 0) for layer in ("head", *FIRST))
    match, first = max(((Match(layout, [head, first], arrays), first) for layout in layouts for first in firsts),
                       key=lambda pair: pair[0].hits)
    sides = slice(0, 2) if match.layout.axes == "pytorch" else slice(-1, -3, -1)  # outputs, inputs
    options = {"classes": builder.classes}
    if match.names[head] in match.arrays:
        options["classes"] = int(match.arrays[match.names[head]].shape[sides][0])
    else:
        options["include_top"] = False
    if match.names[first] in match.arrays:
        channels = int(match.arrays[match.names[first]].shape[sides][1])
        if channels != builder.input_shape[-1]:
            options["input_shape"] = (*builder.input_shape[:2], channels)
        if channels not in (1, 3):
            options["preprocessing"] = "unit"
    if "aux_heads" in known:
        options["aux_heads"] = bool(match.spare) and any(key.startswith(match.spare) for key in match.arrays)
    pixels = pixel_statistics(match)
    tag = match.layout.axes != "own" and recognize_published(arrays, name)
    if tag:
        options["preprocessing"] = tag.mean, tag.std
    elif {"mean", "variance"} <= set(pixels) and np.allclose(pixels["mean"], 0) and np.allclose(pixels["variance"], 1):
        options["preprocessing"] = "unit"
    return options
