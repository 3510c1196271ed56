"""Classifiers in other formats, each written by one function `(classifier, target, *, quantize, calibration)`.

Every format but `torch` takes float32 `images`, pixels in 0..255 of shape (batch, height, width, channels), any batch,
and answers with `probabilities` and `logits`, float32 of shape (batch, classes). With it go the names of the
classes and the preprocessing, where each format has a place for them; `runtimes.py` reads them there.
"""
import contextlib
import dataclasses
import json
import math
import pathlib
import shutil
import zipfile

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from kerazoo.export import signatures
from kerazoo.export.classifier import PASS_THROUGH, name_of, weight_bytes
from kerazoo.export.runtimes import import_openvino, quiet

# The latest that tf2onnx writes.
OPSET = 18
# The files of onnxruntime-web that a page needs, of the version that the page is written for.
WEB_RUNTIME = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
WEB_RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
# An ONNX file is one protocol buffer, a LiteRT file one flatbuffer.
LARGEST = 2**31 - 2**20
HALF = ("float16", "bfloat16")


def onnx(classifier, target, *, quantize=None, calibration=None):
    """Write an ONNX file.

    The images stay channels last. `metadata_props` holds `class_names` and `preprocessing`, as JSON.

    Args:
        classifier: a `Classifier`.
        target: the file to write, a `pathlib.Path` in an existing folder.
        quantize: None.
        calibration: None; no quantization of this format takes it.

    Raises:
        ValueError: if the model is larger than 2 GiB, or tf2onnx cannot convert it.
        ImportError: if tf2onnx or onnx is not installed.

    Example:
        >>> onnx(classifier, pathlib.Path("resnet18.onnx"))
    """
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise needs("onnx", "tf2onnx onnx") from error

    classifier = in_float32(classifier)
    check_size("ONNX", classifier)
    classify = signatures.concrete(classifier)
    graph, weights = freeze(classify, apart=2**22)
    outputs = {output.name: name for name, output in classify.structured_outputs.items()}
    with converting("ONNX"):
        model, _ = tf2onnx.convert.from_graph_def(
            graph, input_names=["images:0", *weights], output_names=list(outputs),
            tensors_to_rename={"images:0": "images", **outputs}, opset=OPSET,
        )  # fmt: skip
        give_back_weights(model.graph, weights)
        name_sides(model.graph)
        # It also finds the operations that tf2onnx left as they were.
        onnx.checker.check_model(model)
    for name, value in facts(classifier).items():
        model.metadata_props.add(key=name, value=json.dumps(value, ensure_ascii=False))
    target.write_bytes(model.SerializeToString())


def litert(classifier, target, *, quantize=None, calibration=None):
    """Write a file for LiteRT (TensorFlow Lite), with the signature `serving_default`.

    Behind the flatbuffer goes a ZIP archive of `labels.txt` and `preprocessing.json`, where TensorFlow Lite's metadata
    keep associated files: `unzip model.tflite labels.txt`.

    Args:
        classifier: a `Classifier`.
        target: the file to write, a `pathlib.Path` in an existing folder.
        quantize: None; "float16" (weights); "dynamic" (int8 weights); "int8" (weights and activations; `images` are
            uint8, the outputs float32 in steps of 1/256 of their range). An operation that LiteRT has no int8 kernel
            for stays in float32. The `logits` of a model that ends in softmax are then its scores before the softmax.
        calibration: for "int8": a uint8 array of images, or a list of them, each (batch, height, width, channels), as
            the network will see; some hundred images.

    Raises:
        TypeError: if `calibration` is not uint8.
        ValueError: if "int8" comes without `calibration` or with images of another shape, or the
            model is larger than 2 GiB or cannot be converted.

    Example:
        >>> litert(classifier, pathlib.Path("resnet18.tflite"), quantize="int8", calibration=images[:200])
    """
    classifier = in_float32(classifier)
    check_size("LiteRT", classifier)
    if quantize == "int8":
        batches = check_calibration(calibration, classifier.image_shape)
        classifier = before_softmax(classifier)
    classify = signatures.concrete(classifier)
    if quantize == "int8":
        classify = with_mirrored_margins(classify)
    # The converter loses the names of inputs and outputs of a function whose variables nobody holds.
    module = tf.Module()
    module.weights = list(classify.graph.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([classify], module)
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.representative_dataset = lambda: single_images(batches)
        converter.inference_input_type = tf.uint8
    with converting("LiteRT"):
        flatbuffer = converter.convert()
    target.write_bytes(flatbuffer)
    names = "".join(f"{name}\n" for name in classifier.class_names)
    with zipfile.ZipFile(target, "a") as archive:
        # `ZipInfo` has a date of its own: the same model gives the same file.
        archive.writestr(zipfile.ZipInfo("labels.txt"), names.encode("utf-8"))
        archive.writestr(zipfile.ZipInfo("preprocessing.json"), json.dumps(facts(classifier)["preprocessing"]))


def openvino(classifier, target, *, quantize=None, calibration=None):
    """Write an OpenVINO model: a folder with `model.xml` and `model.bin`.

    Its `rt_info` holds, under `model_info`, `class_names` and `preprocessing` as JSON, and `labels` as OpenVINO's Model
    API reads them: between spaces, with `_` for the spaces within.

    Args:
        classifier: a `Classifier`.
        target: the folder to write, a `pathlib.Path` that does not exist.
        quantize: None, or "float16" (weights).
        calibration: None; no quantization of this format takes it.

    Raises:
        ValueError: if OpenVINO cannot convert the model.
        ImportError: if OpenVINO is not installed.

    Example:
        >>> openvino(classifier, pathlib.Path("resnet18_openvino"))
    """
    try:
        library = import_openvino()
    except ImportError as error:
        raise needs("openvino", "openvino") from error

    classifier = in_float32(classifier)
    with converting("OpenVINO"):
        model = library.convert_model(signatures.concrete(classifier))
    for port, names in [(port, port.get_names()) for port in (*model.inputs, *model.outputs)]:
        # TensorFlow's own names for the same tensors.
        port.get_tensor().set_names({name for name in names if name in ("images", "probabilities", "logits")})
    for name, value in facts(classifier).items():
        model.set_rt_info(json.dumps(value), ["model_info", name])
    labels = " ".join("_".join(name.split()) or "_" for name in classifier.class_names)
    model.set_rt_info("".join(sign if sign.isprintable() else "_" for sign in labels), ["model_info", "labels"])
    target.mkdir()
    library.save_model(model, str(target / "model.xml"), compress_to_fp16=quantize == "float16")


def torch(classifier, target, *, quantize=None, calibration=None):
    """Write the weights of a model of the zoo, as it was before folding, as torchvision's state dict.

    A .safetensors file also holds the class names and the preprocessing in its metadata.
    """
    from kerazoo.weights import writers

    state = writers.to_torchvision(classifier.original)
    if target.suffix == ".pth":
        writers.write_pytorch(target, state)
    else:
        writers.write_safetensors(target, state, {name: json.dumps(value) for name, value in facts(classifier).items()})


def check_web(classifier, runtime=None):
    """Refuse what a browser could not show, before anything is written; see `web`."""
    channels = classifier.image_shape[2]
    if channels not in (1, 3):
        raise ValueError(f"a browser reads pictures of 1 or 3 channels; the model takes {channels}. Export it as ONNX.")
    if classifier.preprocessing is None:
        raise ValueError(
            "the model takes images of any size, and the page must know which to make of a picture. Give it: "
            "preprocessing={'size': (height, width)}."
        )
    if runtime is not None:
        runtime = pathlib.Path(runtime).expanduser()
        missing = [name for name in WEB_RUNTIME_FILES if not (runtime / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{runtime} lacks {', '.join(missing)}. Wanted: the folder node_modules/onnxruntime-web/dist, after "
                "npm install onnxruntime-web."
            )


def web(classifier, target, *, quantize=None, calibration=None, runtime=None):
    """Write a folder for any static web server: a page that classifies a picture in the browser.

    Args:
        classifier: a `Classifier` of gray or RGB images.
        target: the folder to write, a `pathlib.Path` that does not exist.
        quantize: None.
        calibration: None; no quantization of this format takes it.
        runtime: the folder `node_modules/onnxruntime-web/dist`, whose files are copied beside the page; None: the page
            loads them from jsDelivr, over the net.

    Raises:
        FileNotFoundError: if `runtime` lacks the files of onnxruntime-web.
        ValueError: if the images have other channels, or any size and no preprocessing.
        ImportError: if tf2onnx or onnx is not installed.

    Example:
        >>> web(classifier, pathlib.Path("page"), runtime="node_modules/onnxruntime-web/dist")
    """
    check_web(classifier, runtime)
    target.mkdir()
    onnx(classifier, target / "model.onnx")
    about = {"image_shape": list(classifier.image_shape), "runtime": WEB_RUNTIME, **facts(classifier)}
    if runtime is not None:
        about["runtime"] = "runtime/"
        runtime = pathlib.Path(runtime).expanduser()
        (target / "runtime").mkdir()
        for name in WEB_RUNTIME_FILES:
            shutil.copyfile(runtime / name, target / "runtime" / name)
    (target / "model.json").write_text(json.dumps(about, ensure_ascii=False, indent=1), "utf-8")
    shutil.copyfile(pathlib.Path(__file__).with_name("page.html"), target / "index.html")


def facts(classifier):
    """What goes with a model: JSON's own types."""
    return {
        "class_names": list(classifier.class_names),
        "preprocessing": classifier.preprocessing and dataclasses.asdict(classifier.preprocessing),
    }


def check_size(name, classifier):
    size = weight_bytes(classifier.model)
    if size > LARGEST:
        raise ValueError(
            f"the model has {size / 2**30:.1f} GiB of weights, and {name} files hold less than 2 GiB. Export it as "
            "'tf_saved_model' or 'openvino'."
        )


def check_calibration(calibration, image_shape):
    """Images to calibrate with, as a list of batches."""
    shape = ", ".join(map(str, ("batch", *(side or "any" for side in image_shape))))
    wanted = f"a uint8 array ({shape}) of images like those to classify, or a list of them"
    if calibration is None:
        raise ValueError(f"quantize='int8' needs calibration: {wanted}; some hundred images.")
    batches = [calibration] if hasattr(calibration, "dtype") else list(calibration)
    batches = [np.asarray(batch) for batch in batches]
    for batch in batches:
        if batch.dtype != np.uint8:
            raise TypeError(f"calibration must be {wanted}; got {batch.dtype}.")
        fits = batch.ndim == 4 and all(side in (None, own) for side, own in zip(image_shape, batch.shape[1:]))
        if not fits:
            raise ValueError(f"calibration must be {wanted}; got the shape {batch.shape}.")
    if not sum(map(len, batches)):
        raise ValueError(f"calibration must be {wanted}; got no image.")
    return batches


def single_images(batches):
    """Calibration as the converter takes it, one image at a time."""
    images = (image for batch in batches for image in batch)
    first = next(images)
    # With both ends of the range in sight, a step of the quantized input is one level of a pixel.
    extremes = first.copy()
    extremes[0, 0], extremes[-1, -1] = 0, 255
    for image in (extremes, first, *images):
        yield [image[None].astype("float32")]


def in_float32(classifier):
    """The classifier calculating in float32: not every runtime has all operations in half precision."""
    if all(layer.compute_dtype not in HALF for layer in classifier.model.layers):
        return classifier

    def twin(layer):
        # An operation has no type of its own, and one of float32 no other.
        if not isinstance(layer, keras.layers.Layer) or layer.compute_dtype not in HALF:
            return layer
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    try:
        model = keras.models.clone_model(classifier.model, clone_function=twin)
        model.set_weights(classifier.model.get_weights())
    except Exception as error:
        # What a custom layer's configuration leads to.
        raise ValueError(
            f"the model {classifier.original.name!r} calculates in half precision, and cannot be made again in "
            f"float32, which this format needs: {str(error).splitlines()[0][:200]}. Give custom layers a get_config "
            "that suffices to make them again, or export a SavedModel."
        ) from error
    return dataclasses.replace(classifier, model=model)


def before_softmax(classifier):
    """The classifier with the scores before its softmax as logits.

    The logarithm of a probability in steps of 1/256 would say little of all but the best class.
    """
    if not classifier.softmax:
        return classifier
    (layer, (scores,)), behind = source_of(classifier.model.outputs[0]), []
    while isinstance(layer, PASS_THROUGH) or type(layer) is keras.layers.Activation and name_of(layer) == "linear":
        behind.append(layer)
        layer, (scores,) = source_of(scores)
    if isinstance(layer, keras.layers.Layer) and not isinstance(layer, (keras.layers.Softmax, keras.layers.Activation)):
        twin = type(layer).from_config({**layer.get_config(), "activation": "linear"})
        scores = twin(scores)
        twin.set_weights(layer.get_weights())
    for layer in reversed(behind):
        scores = layer(scores)
    return dataclasses.replace(classifier, model=keras.Model(classifier.model.inputs, scores), softmax=False)


def source_of(tensor):
    """The layer or operation that makes a tensor of a flat model, and the tensors that it reads."""
    layer, node, _ = tensor._keras_history
    return layer, layer._inbound_nodes[node].input_tensors


def with_mirrored_margins(classify):
    """The same function, where a margin that must not win a max pooling holds the values next to it.

    One of -65504, say, is as good in float32; but int8 would have to reach from there to the activations in 256 steps.
    A mirrored margin never wins either, if it is no wider than half the window: a window that sees a value in it sees
    the value's origin, too.
    """
    if all(operation.type != "PadV2" for operation in classify.graph.get_operations()):
        return classify
    graph, _ = freeze(classify)
    nodes = {node.name: node for node in graph.node}
    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name.split(":")[0], []).append(node)
    for node in graph.node:
        # The gradients that Keras gives some activations cannot be saved without their variables.
        node.attr.pop("_gradient_op_type", None)
        if node.op == "PadV2" and is_margin(node, readers.get(node.name, ()), nodes):
            node.op = "MirrorPad"
            node.attr["mode"].s = b"SYMMETRIC"
            del node.input[2]

    outputs = classify.structured_outputs

    def imported(images):
        elements = [output.name for output in outputs.values()]
        return dict(zip(outputs, tf.graph_util.import_graph_def(graph, {"images": images}, elements)))

    (spec,), _ = classify.structured_input_signature
    return tf.function(imported, input_signature=[spec], autograph=False).get_concrete_function()


def is_margin(pad, readers, nodes):
    """Whether a node pads images with a value below all others for max poolings, of windows twice as wide."""
    paddings, value = (nodes[name] for name in pad.input[1:])
    if {paddings.op, value.op} != {"Const"} or not readers or any(node.op != "MaxPool" for node in readers):
        return False
    paddings, value = (tf.make_ndarray(node.attr["value"].tensor) for node in (paddings, value))
    return value <= np.finfo("float16").min and all(
        2 * margin <= window for node in readers for margin, window in zip(paddings.max(-1), node.attr["ksize"].list.i)
    )


def freeze(classify, apart=math.inf):
    """A function's graph, its variables now constants; and apart from it, by name, matrices of more bytes than `apart`.

    The latter are inputs of the graph: tf2onnx copies constants in each of its many passes, and TensorFlow's own
    freezing does too, so that VGG's dense layers would take more than 20 GB.
    """
    graph = classify.graph.as_graph_def()
    variables = {id(variable.handle): variable for variable in classify.graph.variables}
    captured = {inner.op.name: variables.get(id(outer), outer) for outer, inner in classify.graph.captures}
    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    reads = {}
    for name, value in captured.items():
        for node in readers.get(name, ()):
            if isinstance(value, tf.Variable) and node.op != "ReadVariableOp":
                # A function inside reads it.
                return convert_variables_to_constants_v2(classify).graph.as_graph_def(), {}
        at = [node.name for node in readers.get(name, ())] if isinstance(value, tf.Variable) else [name]
        reads.update(dict.fromkeys(at, value))

    weights, nodes = {}, [node for node in graph.node if node.name in reads or node.name not in captured]
    for node in nodes:
        if node.name in reads:
            value = reads[node.name].numpy()
            node.ClearField("input")
            node.attr.clear()
            node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
            if value.nbytes > apart and all(reader.op == "MatMul" for reader in readers.get(node.name, ())):
                weights[f"{node.name}:0"] = value
                node.op = "Placeholder"
                node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
            else:
                node.op = "Const"
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    smaller = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    smaller.node.extend(nodes)
    return smaller, weights


def give_back_weights(graph, weights):
    """Make inputs of an ONNX graph its weights again."""
    from onnx import numpy_helper

    inputs = [each for each in graph.input if each.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    graph.initializer.extend(numpy_helper.from_array(matrix, name) for name, matrix in weights.items())


def name_sides(graph):
    """Name the free sides of an ONNX graph's inputs and outputs by what they are."""
    # The shapes of tensors within would go on naming them as the converter did.
    del graph.value_info[:]
    for tensor in (*graph.input, *graph.output):
        for side, name in zip(tensor.type.tensor_type.shape.dim, ("batch", "height", "width")):
            if not side.HasField("dim_value"):
                side.dim_param = name


@contextlib.contextmanager
def converting(name):
    """Run a converter: its chatter is silenced, and its errors come as one sentence."""
    try:
        with quiet():
            yield
    except (MemoryError, OSError):
        raise
    except Exception as error:
        # Converters answer an operation that they do not know with exceptions of many types, and pages of text.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = " ".join(lines)[:400].rstrip(".")
        raise ValueError(
            f"the model cannot be converted to {name}: {reason}. Replace the layer that this names, or export another "
            "format."
        ) from error


def needs(format, packages):
    return ImportError(
        f"the export format {format!r} needs {packages.replace(' ', ' and ')}, which cannot be imported here. Install "
        f"with: pip install {packages}"
    )
