"""Exports of every format, loaded and run by the runtime of each, without kerazoo and Keras.

Nothing of kerazoo is imported here: `verify.py` loads this file in a process where kerazoo cannot be imported.
"""
import contextlib
import dataclasses
import io
import json
import logging
import os
import pathlib
import sys
import threading
import typing
import warnings
import zipfile

import numpy as np

OUTPUTS = ("probabilities", "logits")
FORMATS = (
    "a SavedModel (a folder with saved_model.pb), .onnx, .tflite, an OpenVINO folder (model.xml and model.bin), or a "
    "web folder (model.onnx and model.json)"
)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """An export, ready to run on the CPU; several threads may share it.

    Attributes:
        format: "tf_saved_model", "onnx", "litert", "openvino" or "web".
        image_shape: (height, width, channels); None for a side that may have any size.
        class_names: the names of the classes, in the order of the outputs.
        preprocessing: how an image file becomes pixels: {"size": [height, width], "resize": ..., "interpolation": ...};
            empty where the export does not say.
        signatures: of a SavedModel: {name: function}.
    """

    format: str
    image_shape: tuple
    class_names: tuple
    preprocessing: dict
    call: typing.Callable = dataclasses.field(repr=False)
    signatures: typing.Any = dataclasses.field(default=None, repr=False)

    def run(self, images):
        """Classify images.

        Args:
            images: uint8 or float32 array of pixels in 0..255, shape (batch, height, width, channels), any batch.

        Returns:
            {"probabilities": array, "logits": array}, float32 of shape (batch, classes).

        Raises:
            TypeError: if the pixels are of another type.
            ValueError: if the images are of another shape.

        Example:
            >>> load("resnet18.onnx").run(images)["probabilities"].argmax(-1)
        """
        images = np.asarray(images)
        if images.dtype not in (np.uint8, np.float32):
            raise TypeError(f"images must be uint8 or float32 pixels in 0..255; got an array of {images.dtype}.")
        sides = zip(self.image_shape, images.shape[1:])
        if images.ndim != 4 or not all(wanted in (None, side) for wanted, side in sides):
            wanted = ", ".join(map(str, ("batch", *(side or "any" for side in self.image_shape))))
            raise ValueError(f"images must have the shape ({wanted}); got {images.shape}.")
        if not len(images):
            return {name: np.zeros((0, len(self.class_names)), "float32") for name in OUTPUTS}
        outputs = self.call(images)
        return {name: np.asarray(outputs[name], "float32") for name in OUTPUTS}


def load(path, threads=None):
    """Load an export with the runtime of its format.

    Args:
        path: what `kerazoo.export` wrote, of any format but "torch".
        threads: how many CPU threads the runtime may use, 1 or more; None: what it takes by itself, or all of them.

    Returns:
        A `Loaded`.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if what is there is of no known format, is damaged, or was not written by kerazoo.
        ImportError: if the runtime is not installed.
        ValueError: if TensorFlow has already started with another number of threads.

    Example:
        >>> loaded = load("resnet18.tflite", threads=4)
        >>> loaded.image_shape, loaded.class_names[:2]
        ((224, 224, 3), ('tench', 'goldfish'))
    """
    path = pathlib.Path(path).expanduser()
    if threads is not None and not (isinstance(threads, int) and threads >= 1):
        raise ValueError(f"threads must be None or a whole number of at least 1; got {threads!r}.")
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at {path}. Name what kerazoo.export wrote.")
    loader = LOADERS[recognize(path)]
    try:
        return loader(path, threads)
    except (ImportError, MemoryError, PermissionError, Refused):
        raise
    except Exception as error:
        # Each runtime answers a damaged file with exceptions of its own types.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = " ".join(lines)[:300].rstrip(".")
        raise ValueError(f"{path} cannot be loaded: {reason}. Export the model again.") from error


class Refused(ValueError):
    """An error that already says what to do."""


def recognize(path):
    """The name of the format of what is at a path."""
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
        if names & {"saved_model.pb", "saved_model.pbtxt"}:
            return "tf_saved_model"
        if names & {"model.xml", "model.bin"}:
            return "openvino"
        if names >= {"model.onnx", "model.json"}:
            return "web"
        found = f"a folder that holds {', '.join(sorted(names)[:5]) or 'nothing'}"
    else:
        ending = path.suffix.lower()
        if ending in (".onnx", ".tflite"):
            return {".onnx": "onnx", ".tflite": "litert"}[ending]
        if ending in (".pth", ".safetensors"):
            raise ValueError(
                f"{path} holds weights alone. Load it into the model of torchvision that has its name, with "
                "load_state_dict."
            )
        found = f"a file that ends in {ending!r}" if ending else "a file without an ending"
    raise ValueError(f"{path} is {found}. Wanted: {FORMATS}.")


def needs(runtime, package):
    return ImportError(
        f"running this export needs {runtime}, which cannot be imported here. Install it with: pip install {package}"
    )


def load_saved_model(path, threads):
    try:
        import tensorflow as tf
    except ImportError as error:
        raise needs("TensorFlow", "tensorflow") from error

    if threads is not None and tf.config.threading.get_intra_op_parallelism_threads() != threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError as error:
            raise Refused(
                f"TensorFlow has already started in this process, and its threads cannot be made {threads} any more. "
                "Load the SavedModel first of all, or without threads=."
            ) from error
    with quiet():
        loaded = tf.saved_model.load(str(path))
    names = path / "assets" / "class_names.txt"
    found = {
        name: (set(function.structured_input_signature[1]), set(function.structured_outputs))
        for name, function in loaded.signatures.items()
    }
    wanted = ("serving_default", "serving_uint8")
    if not names.is_file() or not all(
        name in found and found[name][0] == {"images"} and found[name][1] >= set(OUTPUTS) for name in wanted
    ):
        described = [f"{name} ({', '.join(sorted(taken))} -> {', '.join(sorted(given))})"
                     for name, (taken, given) in found.items()]
        raise Refused(
            f"the SavedModel {path} was not written by kerazoo.export. Wanted: the signatures {' and '.join(wanted)} "
            f"(images -> {', '.join(OUTPUTS)}), and assets/class_names.txt. Found: "
            f"{', '.join(described) or 'no signatures'}; {'the' if names.is_file() else 'no'} class names."
        )
    shape = loaded.signatures["serving_uint8"].structured_input_signature[1]["images"].shape
    extra = path / "assets" / "preprocessing.json"
    preprocessing = json.loads(extra.read_text("utf-8")) if extra.is_file() else None

    # The signatures' variables live only as long as the object that was loaded.
    def call(images, keep_alive=loaded):
        name = "serving_uint8" if images.dtype == np.uint8 else "serving_default"
        return {name: output.numpy() for name, output in loaded.signatures[name](images=tf.constant(images)).items()}

    return Loaded(
        "tf_saved_model", tuple(shape[1:]), lines_of(names.read_bytes()), preprocessing or {}, call, loaded.signatures
    )


def load_onnx(path, threads):
    try:
        import onnxruntime
    except ImportError as error:
        raise needs("ONNX Runtime", "onnxruntime") from error

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    (images_input,) = session.get_inputs()

    def call(images):
        return dict(zip(OUTPUTS, session.run(OUTPUTS, {"images": images.astype("float32", copy=False)})))

    shape = tuple(side if isinstance(side, int) else None for side in images_input.shape[1:])
    return Loaded("onnx", shape, *from_json(facts), call)


def load_web(path, threads):
    loaded = load_onnx(path / "model.onnx", threads)
    class_names, preprocessing = from_json(json.loads((path / "model.json").read_text("utf-8")))
    return dataclasses.replace(loaded, format="web", class_names=class_names, preprocessing=preprocessing)


def load_litert(path, threads):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise needs("LiteRT", "ai-edge-litert") from error

    # At the end of the file: whether it is whole is known before the runtime reads it.
    with zipfile.ZipFile(path) as archive:
        class_names = lines_of(archive.read("labels.txt"))
        preprocessing = json.loads(archive.read("preprocessing.json")) or {}
    with quiet():
        interpreter = Interpreter(model_path=str(path), num_threads=threads or os.cpu_count())
        (details,) = interpreter.get_input_details()
        any_batch, *shape = (None if side == -1 else int(side) for side in details["shape_signature"])
        if None in shape:
            sides = (side or own for side, own in zip(shape, (*preprocessing.get("size", (224, 224)), 1)))
            interpreter.resize_tensor_input(details["index"], [1, *sides])
        # Left alone, the runtime announces how it calculates at the first image.
        interpreter.allocate_tensors()
        runner = interpreter.get_signature_runner("serving_default")
    lock = threading.Lock()

    def call(images):
        if details["dtype"] == np.uint8 and images.dtype != np.uint8:
            images = np.clip(np.rint(images), 0, 255)
        images = images.astype(details["dtype"], copy=False)
        batches = [images] if any_batch is None else images[:, None]
        with lock:
            results = [runner(images=batch) for batch in batches]
        return {name: np.concatenate([result[name] for result in results]) for name in OUTPUTS}

    return Loaded("litert", tuple(shape), class_names, preprocessing, call)


def load_openvino(path, threads):
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(str(path / "model.xml"), str(path / "model.bin"))
    facts = {name: model.get_rt_info(["model_info", name]).astype(str) for name in ("class_names", "preprocessing")}
    # Where the CPU can, OpenVINO would calculate in bfloat16, with errors of a hundredth.
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(model, "CPU", options)
    sides = list(model.input("images").partial_shape)[1:]
    lock = threading.Lock()

    def call(images):
        with lock:
            outputs = compiled({"images": images.astype("float32", copy=False)})
            return {name: np.array(outputs[name]) for name in OUTPUTS}

    shape = tuple(None if side.is_dynamic else side.get_length() for side in sides)
    return Loaded("openvino", shape, *from_json(facts), call)


LOADERS = {
    "tf_saved_model": load_saved_model, "onnx": load_onnx, "litert": load_litert, "openvino": load_openvino,
    "web": load_web,
}  # fmt: skip


def import_openvino():
    """The package `openvino`, without the reports about its use that it sends over the net."""
    hidden = "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None
    try:
        import openvino
    except ImportError as error:
        raise needs("OpenVINO", "openvino") from error
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    return openvino


def from_json(facts):
    """Class names and preprocessing; JSON texts, or read already."""
    names, preprocessing = (facts[name] for name in ("class_names", "preprocessing"))
    names = json.loads(names) if isinstance(names, str) else names
    preprocessing = json.loads(preprocessing) if isinstance(preprocessing, str) else preprocessing
    return tuple(names), preprocessing or {}


def lines_of(data):
    return tuple(data.decode("utf-8").split("\n")[:-1])


_quiet_lock, _quiet = threading.Lock(), {"depth": 0, "stack": None}


@contextlib.contextmanager
def quiet():
    """Keep what converters and runtimes say about themselves off the terminal; their errors are exceptions.

    The terminal is the process's: while several threads are in here, the first one silences it for all, and the last
    one restores it.
    """
    with _quiet_lock:
        if not _quiet["depth"]:
            _quiet["stack"] = silenced()
        _quiet["depth"] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet["depth"] -= 1
            if not _quiet["depth"]:
                _quiet["stack"].close()


def silenced():
    with contextlib.ExitStack() as stack:
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(silent_descriptors())
        return stack.pop_all()


@contextlib.contextmanager
def silent_descriptors():
    """C++ writes to the descriptors 1 and 2, whatever Python's streams are."""
    kept = {}
    with open(os.devnull, "w") as nowhere:
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # a process may have none
                kept[descriptor] = os.dup(descriptor)
                os.dup2(nowhere.fileno(), descriptor)
        try:
            yield
        finally:
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)
