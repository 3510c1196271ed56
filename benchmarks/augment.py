"""The speed of kerazoo's augmentation beside that of its peers, all in one run.

    python benchmarks/augment.py [SECTION ...] [--rounds 5] [--seconds 1.5] [--markdown FILE]
    python benchmarks/augment.py --gpu [--small]

uint8 pixels come in and go out, 224x224 unless said otherwise, in batches of 64 (a step of training: 32). The sections:

    randaugment   two of RandAugment's operations an image, at magnitude 9 of 30
    layers        flips and rotations
    small         RandAugment on images of 32x32
    chain         flip, resized crop from 256x256, RandAugment, erasing, CutMix
    step          what RandAugment inside ResNet-18 adds to a step of training, batches of 32

Everybody gets all cores: TensorFlow runs in `tf.data`, with as many parallel calls as there are cores; libraries on PIL
images or NumPy arrays in as many processes. These augment pictures that lie decoded in their own memory and hand no
pixels over, which a `DataLoader` would have to: that flatters them. Peers are set to the same two operations an image,
and the same strength, where they allow it, and are otherwise as they come: timm skips each operation with probability
0.5; KerasCV interpolates bilinearly and draws its strengths about the magnitude, as does timm; Keras draws one sequence
for the whole batch, as does torchvision on a batch of tensors. albumentations has no RandAugment: it picks 2 of the 14
operations with `SomeOf`. Peers that cannot be imported are left out, and named. The pictures are made up: smooth
shapes with some grain.

Every contestant is a process of its own. In each round they have a burst of some seconds one after the other, while the
others wait; the next round goes the other way around. What is printed is the median of the rounds, in brackets the
slowest and the fastest; ratios are taken within a round and the median of those is printed: above 1, kerazoo is faster.
A last row reads every byte once and writes it once (it inverts them), compiled by XLA: the bound of them all.

On a machine that others use, ratios mislead: what runs in processes loses more of the cores to them than what runs in
many threads, so that busy neighbors flatter kerazoo. "Others" is how many cores other programs used meanwhile, the
median of the rounds. A burst in which that was more than a twentieth of all cores is repeated once, and the less
disturbed of the two counts; where the median still is above, the row is marked with a star, and no target is judged by
it. (On Linux; elsewhere nobody knows.)

"First" is the time to the first batch, tracing and compiling included, imports not. Memory is anonymous memory, that
of worker processes included and shared pages counted once, looked at every 50 ms from before the first batch to its
arrival and in one more burst, which is not timed: at most, and in brackets what lay there before the first batch
(libraries and pictures).

The step of training is measured whole, by `train_on_batch`, with and without, and RandAugment beside it alone, on
float32 as in the model: where the machine is noisy, that share is the steadier figure of the two.

`--gpu` needs JAX, and no TensorFlow: RandAugment on batches of 256 that lie on the device, compiled there, and
ResNet-50 in bfloat16 with and without it; Keras's layers in JAX and torchvision on tensors on the same device. Memory
is then that of the host. `--small` tries the same with small numbers, on whatever JAX finds; its figures mean nothing.
"""
import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import typing

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
BATCH = 64
SMALL = "--small" in sys.argv


class LeftOut(Exception):
    """Why a contestant cannot run here."""


# Contestants: what runs in a process of its own. Each has `first()`, which prepares it and augments one batch, and
# `burst(seconds)`, which returns how many images it augmented in how many seconds.


class Pipeline:
    """A function of batches in `tf.data`."""

    def __init__(self, function, inputs):
        self.function, self.inputs = function, inputs

    def first(self):
        import tensorflow as tf

        dataset = tf.data.Dataset.from_tensors(self.inputs).repeat().map(self.function, num_parallel_calls=CORES)
        options = tf.data.Options()
        # As little as possible may lie ready when a burst begins.
        options.autotune.enabled = False
        options.experimental_optimization.inject_prefetch = False
        self.batches = iter(dataset.with_options(options))
        next(self.batches)

    def burst(self, seconds):
        # What lay ready, and what was started as that was taken.
        for _ in range(2 * CORES):
            next(self.batches)

        def batch():
            # Parallel calls end in turns: a whole number of turns is counted.
            for _ in range(CORES):
                next(self.batches)
            return CORES * BATCH

        return repeat(batch, seconds)


class Workers:
    """A function that augments a batch and returns how many images that was, in a process a core."""

    def __init__(self, batch):
        self.batch = batch

    def first(self):
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self.ends = []
        for index in range(CORES):
            end, other = context.Pipe()
            context.Process(target=self.serve, args=(other, index), daemon=True).start()
            self.ends.append(end)
        self.burst(0)

    def serve(self, end, index):
        import random

        import numpy as np

        random.seed(index)
        np.random.seed(index)
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(index)
            sys.modules["torch"].set_num_threads(1)
        while True:
            end.send(repeat(self.batch, end.recv()))

    def burst(self, seconds):
        for end in self.ends:
            end.send(seconds)
        results = [end.recv() for end in self.ends]
        longest = max(took for _, took in results)
        # Each counted its batches over its own time.
        return sum(count / took for count, took in results) * longest, longest


class Calls:
    """A function that is called over and over and returns how many images it has dealt with."""

    def __init__(self, call, wait=lambda: None):
        self.call, self.wait = call, wait

    def first(self):
        self.call()
        self.wait()

    def burst(self, seconds):
        return repeat(self.call, seconds, self.wait)


def repeat(batch, seconds, wait=lambda: None):
    """Calls a function until the time is up, once at least: (the sum of what it returned, the seconds it took)."""
    start, count = time.perf_counter(), 0
    while True:
        count += batch()
        if time.perf_counter() - start >= seconds:
            wait()
            return count, time.perf_counter() - start


def pictures(count, size):
    """Made-up photographs: smooth shapes with grain, uint8 (count, size, size, 3)."""
    import numpy as np

    rng = np.random.default_rng(0)
    place = np.linspace(0, 2 * np.pi, size, dtype="float32")
    waves = rng.uniform(0.3, 3, (2, count, 1, 3)) * place[:, None] + rng.uniform(0, 2 * np.pi, (2, count, 1, 3))
    rows, columns = np.sin(waves.astype("float32"))
    images = 120 + 45 * rows[:, :, None] + 45 * columns[:, None] + rng.normal(0, 8, (count, size, size, 3))
    return np.clip(images, 0, 255).astype("uint8")


# TensorFlow


def tensorflow_layer(layer, size=224):
    import tensorflow as tf

    return Pipeline(lambda images: tf.cast(layer(images), tf.uint8), pictures(BATCH, size))


def kerazoo_randaugment(interpolation, size=224):
    from kerazoo.augment import RandAugment

    return tensorflow_layer(RandAugment(2, 9, interpolation=interpolation), size)


def kerazoo_flip():
    from kerazoo.augment import RandomFlip

    return tensorflow_layer(RandomFlip())


def kerazoo_rotation():
    from kerazoo.augment import RandomAffine

    return tensorflow_layer(RandomAffine(rotation=36))


def kerazoo_chain():
    from kerazoo.augment import Compose, CutMix, RandAugment, RandomErasing, RandomFlip, RandomResizedCrop

    layer = Compose([
        RandomFlip(), RandomResizedCrop(224), RandAugment(2, 9), RandomErasing(0.25), CutMix(1.0, classes=1000)
    ])
    return Pipeline(layer, {"images": pictures(BATCH, 256), "labels": list(range(BATCH))})


def keras_randaugment():
    import keras

    return tensorflow_layer(keras.layers.RandAugment(num_ops=2, factor=0.3, interpolation="nearest"))


def keras_flip():
    import keras

    return tensorflow_layer(keras.layers.RandomFlip("horizontal"))


def keras_rotation():
    import keras

    return tensorflow_layer(keras.layers.RandomRotation(0.1, fill_mode="constant"))


def keras_cv_randaugment():
    import keras_cv

    return tensorflow_layer(keras_cv.layers.RandAugment((0, 255), augmentations_per_image=2, magnitude=0.3))


def projective_transform():
    import tensorflow as tf

    cos, sin = 0.95, 0.1
    transforms = tf.constant([[cos, -sin, 14.0, sin, cos, -7.0, 0.0, 0.0]] * BATCH)

    def warp(images):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images, transforms=transforms, output_shape=(224, 224), interpolation="BILINEAR",
            fill_mode="CONSTANT", fill_value=128.0,
        )

    return Pipeline(warp, pictures(BATCH, 224))


def copying(size=224):
    import tensorflow as tf

    return Pipeline(tf.function(tf.bitwise.invert, jit_compile=True), pictures(BATCH, size))


def training(augmentation):
    import keras

    import kerazoo

    layers = [kerazoo.augment.RandAugment()] if augmentation else None
    model = kerazoo.resnet18(augmentation=layers)
    model.compile(keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = pictures(32, 224), keras.ops.arange(32)

    def step():
        model.train_on_batch(images, labels)
        return 32

    return Calls(step)


def randaugment_alone():
    import tensorflow as tf

    from kerazoo.augment import RandAugment

    # As the model hands them over.
    layer, images = RandAugment(), tf.constant(pictures(32, 224), "float32")
    call = tf.function(lambda images: layer(images), jit_compile=True)

    def step():
        call(images)
        return 32

    return Calls(step)


# PIL images and NumPy arrays


def pil_pictures(size):
    from PIL import Image

    return [Image.fromarray(image) for image in pictures(BATCH, size)]


def each_picture(augment, images):
    def batch():
        for image in images:
            augment(image)
        return len(images)

    return Workers(batch)


def torchvision_transforms():
    """`torchvision.transforms.v2`.

    The wheel of the package index is for PyTorch with CUDA. Beside another build torchvision's own operators cannot be
    loaded; transforms use none of them, but importing torchvision describes them, so that they must have been declared.
    """
    import torch

    found = importlib.util.find_spec("torchvision")
    if found is None:
        raise LeftOut("No module named 'torchvision'")
    folder = pathlib.Path(found.submodule_search_locations[0])
    try:
        for library in folder.glob("_C.*"):
            torch.ops.load_library(library)
    except OSError:
        described = (folder / "_meta_registrations.py").read_text()
        names = re.findall(r"(?:torchvision::|register_meta\(\")(\w+)\"", described)
        # PyTorch forgets what it has been told once this object is gone.
        torchvision_transforms.declared = torch.library.Library("torchvision", "DEF")
        for name in set(names):
            torchvision_transforms.declared.define(f"{name}() -> ()")
    from torchvision.transforms import v2

    return v2


def torchvision_randaugment(interpolation, size=224):
    v2 = torchvision_transforms()
    augment = v2.RandAugment(2, 9, interpolation=v2.InterpolationMode[interpolation.upper()], fill=128)
    return each_picture(augment, pil_pictures(size))


def torchvision_chain():
    import torch

    v2 = torchvision_transforms()
    augment = v2.Compose([
        v2.RandomHorizontalFlip(), v2.RandomResizedCrop(224), v2.RandAugment(2, 9, fill=128), v2.PILToTensor(),
        v2.RandomErasing(0.25),
    ])
    mix, images, labels = v2.CutMix(num_classes=1000), pil_pictures(256), torch.arange(BATCH)

    def batch():
        mix(torch.stack([augment(image) for image in images]), labels)
        return BATCH

    return Workers(batch)


def timm_randaugment():
    torchvision_transforms()  # timm imports it
    from timm.data.auto_augment import rand_augment_transform

    return each_picture(
        rand_augment_transform("rand-m9-mstd0.5", {"img_mean": (128, 128, 128)}), pil_pictures(224)
    )


def albumentations_randaugment(interpolation):
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or it asks the network for its newest version
    import albumentations as A
    import cv2

    # The processes share the cores already.
    cv2.setNumThreads(1)
    share = 9 / 30
    blend = (1 - 0.9 * share, 1 + 0.9 * share)
    warp = {"interpolation": {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR}[interpolation], "fill": 128,
            "p": 1}

    def jitter(**ranges):
        none = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
        return A.ColorJitter(**{**none, **ranges}, p=1)

    shear, shift = 17.2 * share, 150 / 331 * share
    augment = A.SomeOf(
        [
            A.NoOp(p=1),
            A.Affine(shear={"x": (-shear, shear), "y": (0, 0)}, **warp),
            A.Affine(shear={"x": (0, 0), "y": (-shear, shear)}, **warp),
            A.Affine(translate_percent={"x": (-shift, shift), "y": (0, 0)}, **warp),
            A.Affine(translate_percent={"x": (0, 0), "y": (-shift, shift)}, **warp),
            A.Affine(rotate=(-30 * share, 30 * share), **warp),
            jitter(brightness=blend),
            jitter(saturation=blend),
            jitter(contrast=blend),
            A.Sharpen(alpha=(0, 0.9 * share), lightness=(1, 1), kernel_size=3, p=1),
            A.Posterize(num_bits=7, p=1),
            A.Solarize(threshold_range=(1 - share, 1 - share), p=1),
            A.AutoContrast(method="pil", p=1),
            A.Equalize(p=1),
        ],
        n=2, replace=True, p=1,
    )
    return each_picture(lambda image: augment(image=image), list(pictures(BATCH, 224)))


# The accelerator


def device_batch():
    """(images a batch, their height and width)"""
    return (8, 32) if SMALL else (256, 224)


def jax_device():
    import jax

    device = jax.devices()[0]
    if device.platform == "cpu" and not SMALL:
        raise LeftOut("the JAX installed here finds no accelerator (--small tries it on the CPU)")
    return device


def jax_calls(function, state, dtype="uint8"):
    """`function(state, images) -> (images, state)`, compiled; one call is under way as the next is sent."""
    import jax

    images = jax.device_put(pictures(*device_batch()).astype(dtype), jax_device())
    compiled, last = jax.jit(function), [None, state]

    def call():
        previous, last[:] = last[0], compiled(last[1], images)
        if previous is not None:
            previous.block_until_ready()
        return len(images)

    return Calls(call, lambda: last[0].block_until_ready())


def jax_layer(layer, dtype="uint8"):
    jax_device()
    layer.build((None, device_batch()[1], device_batch()[1], 3))

    def function(state, images):
        images, state = layer.stateless_call([], state, images, training=True)
        return images.astype(dtype), state

    return jax_calls(function, [variable.value for variable in layer.non_trainable_variables], dtype)


def jax_randaugment(interpolation, dtype="uint8"):
    from kerazoo.augment import RandAugment

    return jax_layer(RandAugment(2, 9, interpolation=interpolation), dtype)


def jax_kerazoo(name, **options):
    import kerazoo

    return jax_layer(getattr(kerazoo.augment, name)(**options))


def jax_keras(name, **options):
    import keras

    return jax_layer(getattr(keras.layers, name)(**options))


def jax_copying():
    return jax_calls(lambda state, images: (~images, state), 0)


def jax_training(augmentation):
    import jax
    import keras

    import kerazoo

    count, size = device_batch()
    device = jax_device()
    keras.config.set_dtype_policy("mixed_bfloat16")
    build = kerazoo.resnet18 if SMALL else kerazoo.resnet50
    layers = [kerazoo.augment.RandAugment()] if augmentation else None
    model = build(input_shape=(size, size, 3), augmentation=layers)
    model.compile(keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = jax.device_put((pictures(count, size), keras.ops.arange(count)), device)

    def step():
        # It returns the loss as a number, so that it has to wait.
        model.train_on_batch(images, labels)
        return count

    return Calls(step)


def torch_tensors(one_draw):
    v2 = torchvision_transforms()
    import torch

    if not torch.cuda.is_available() and not SMALL:
        raise LeftOut("the PyTorch installed here finds no CUDA device")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.from_numpy(pictures(*device_batch())).permute(0, 3, 1, 2).contiguous().to(device)
    augment = v2.RandAugment(2, 9, fill=128)

    def call():
        augment(images) if one_draw else torch.stack([augment(image) for image in images])
        return len(images)

    return Calls(call, torch.cuda.synchronize if device == "cuda" else lambda: None)


# What runs


class Entry(typing.NamedTuple):
    """A row of a table.

    Attributes:
        label: what the row is called.
        build: function that imports what it needs and returns a contestant.
        beside: the keys of kerazoo's rows whose speed is to be divided by this one's.
    """

    label: str
    build: object
    beside: tuple = ()


BOTH = ("kerazoo nearest", "kerazoo bilinear")
SECTIONS = {
    "randaugment": {
        BOTH[0]: Entry("kerazoo RandAugment, nearest", lambda: kerazoo_randaugment("nearest")),
        BOTH[1]: Entry("kerazoo RandAugment, bilinear", lambda: kerazoo_randaugment("bilinear")),
        "keras": Entry("keras.layers.RandAugment, nearest", keras_randaugment, BOTH),
        "keras_cv": Entry("keras_cv.layers.RandAugment", keras_cv_randaugment, BOTH),
        "torchvision nearest": Entry(
            "torchvision v2 RandAugment on PIL, nearest", lambda: torchvision_randaugment("nearest"), BOTH[:1]
        ),
        "torchvision bilinear": Entry(
            "torchvision v2 RandAugment on PIL, bilinear", lambda: torchvision_randaugment("bilinear"), BOTH[1:]
        ),
        "timm": Entry("timm rand-m9-mstd0.5 on PIL", timm_randaugment, BOTH),
        "albumentations nearest": Entry(
            "albumentations, 2 of 14 operations, nearest", lambda: albumentations_randaugment("nearest"), BOTH[:1]
        ),
        "albumentations bilinear": Entry(
            "albumentations, 2 of 14 operations, bilinear", lambda: albumentations_randaugment("bilinear"), BOTH[1:]
        ),
        "copying": Entry("reading and writing every byte", copying),
    },
    "layers": {
        "kerazoo flip": Entry("kerazoo RandomFlip", kerazoo_flip),
        "keras flip": Entry("keras.layers.RandomFlip", keras_flip, ("kerazoo flip",)),
        "kerazoo rotation": Entry("kerazoo RandomAffine(rotation=36), bilinear", kerazoo_rotation),
        "keras rotation": Entry("keras.layers.RandomRotation(0.1), bilinear", keras_rotation, ("kerazoo rotation",)),
        "projective": Entry(
            "tf.raw_ops.ImageProjectiveTransformV3, bilinear", projective_transform, ("kerazoo rotation",)
        ),
        "copying": Entry("reading and writing every byte", copying),
    },
    "small": {
        "kerazoo": Entry("kerazoo RandAugment, nearest", lambda: kerazoo_randaugment("nearest", 32)),
        "torchvision": Entry(
            "torchvision v2 RandAugment on PIL, nearest", lambda: torchvision_randaugment("nearest", 32), ("kerazoo",)
        ),
        "copying": Entry("reading and writing every byte", lambda: copying(32)),
    },
    "chain": {
        "kerazoo": Entry("kerazoo Compose", kerazoo_chain),
        "torchvision": Entry("torchvision v2 on PIL, then on tensors", torchvision_chain, ("kerazoo",)),
        "copying": Entry("reading and writing every byte", copying),
    },
    "step": {
        "with": Entry("training with RandAugment", lambda: training(True)),
        "without": Entry("training without", lambda: training(False)),
        "alone": Entry("RandAugment alone, nearest", randaugment_alone),
    },
}
GPU_SECTIONS = {
    "gpu": {
        BOTH[0]: Entry("kerazoo RandAugment, nearest", lambda: jax_randaugment("nearest")),
        BOTH[1]: Entry("kerazoo RandAugment, bilinear", lambda: jax_randaugment("bilinear")),
        "keras": Entry(
            "keras.layers.RandAugment, nearest",
            lambda: jax_keras("RandAugment", num_ops=2, factor=0.3, interpolation="nearest"), BOTH,
        ),
        "torchvision": Entry(
            "torchvision v2 RandAugment, a tensor an image", lambda: torch_tensors(False), BOTH[:1]
        ),
        "torchvision batch": Entry(
            "torchvision v2 RandAugment, one draw for the batch", lambda: torch_tensors(True), BOTH[:1]
        ),
        "kerazoo flip": Entry("kerazoo RandomFlip", lambda: jax_kerazoo("RandomFlip")),
        "keras flip": Entry(
            "keras.layers.RandomFlip", lambda: jax_keras("RandomFlip", mode="horizontal"), ("kerazoo flip",)
        ),
        "kerazoo rotation": Entry(
            "kerazoo RandomAffine(rotation=36), bilinear", lambda: jax_kerazoo("RandomAffine", rotation=36)
        ),
        "keras rotation": Entry(
            "keras.layers.RandomRotation(0.1), bilinear",
            lambda: jax_keras("RandomRotation", factor=0.1, fill_mode="constant"), ("kerazoo rotation",),
        ),
        "copying": Entry("reading and writing every byte", jax_copying),
    },
    "gpu step": {
        "with": Entry("training with RandAugment", lambda: jax_training(True)),
        "without": Entry("training without", lambda: jax_training(False)),
        "alone": Entry("RandAugment alone, nearest", lambda: jax_randaugment("nearest", "float32")),
    },
}
TITLES = {
    "randaugment": "RandAugment(2, 9), 224x224",
    "layers": "Flips and rotations, 224x224",
    "small": "RandAugment(2, 9), 32x32",
    "chain": "Flip, resized crop to 224x224, RandAugment(2, 9), erasing, CutMix",
    "step": "A step of training, ResNet-18, 224x224, batches of 32",
    "gpu": "On the device, 224x224, batches of 256; RandAugment(2, 9)",
    "gpu step": "A step of training on the device, ResNet-50, bfloat16, 224x224, batches of 256",
}
# (section, text, what it is a figure of, the least or the most)
TARGETS = [
    ("randaugment", "times the speed of Keras, nearest", ("ratio", BOTH[0], "keras"), 100),
    ("randaugment", "times the speed of KerasCV, with kerazoo's default, nearest", ("ratio", BOTH[0], "keras_cv"), 10),
    ("randaugment", "times the speed of torchvision, nearest", ("ratio", BOTH[0], "torchvision nearest"), 1.4),
    ("randaugment", "times the speed of torchvision, bilinear", ("ratio", BOTH[1], "torchvision bilinear"), 1.6),
    ("randaugment", "s to the first batch, nearest", ("first", BOTH[0]), -4),
    ("randaugment", "s to the first batch, bilinear", ("first", BOTH[1]), -4),
    ("small", "times the speed of torchvision", ("ratio", "kerazoo", "torchvision"), 10),
    ("chain", "times the speed of torchvision", ("ratio", "kerazoo", "torchvision"), 2),
    ("step", "% more time with RandAugment", ("cost", "with", "without"), -3),
    ("step", "% of the step's time is what RandAugment takes alone", ("share", "alone", "without"), -3),
    ("gpu", "images/s, nearest", ("speed", BOTH[0]), 200_000),
    ("gpu step", "% more time with RandAugment", ("cost", "with", "without"), -2),
    ("gpu step", "% of the step's time is what RandAugment takes alone", ("share", "alone", "without"), -2),
]


# The process of a contestant: reads commands, a line each, and answers each with a line of JSON.


def perform(section, key):
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    try:
        contestant = {**SECTIONS, **GPU_SECTIONS}[section][key].build()
    except (ImportError, LeftOut) as error:
        answer(left_out=str(error))
        return
    answer(device=device_name(section))
    for line in sys.stdin:
        start = time.perf_counter()
        if line.strip() == "first":
            contestant.first()
            fields = {"seconds": time.perf_counter() - start}
            # JAX compiles once more for a state that comes from the device.
            contestant.burst(0)
        else:
            count, seconds = contestant.burst(float(line))
            fields = {"images": count, "seconds": seconds}
        settle()
        answer(**fields)


def settle():
    """Waits until no thread works on what was started and is no longer wanted."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        used = time.process_time()
        time.sleep(0.02)
        if time.process_time() - used < 0.002:
            return


def device_name(section):
    if section not in GPU_SECTIONS:
        return None
    if "jax" in sys.modules:
        device = sys.modules["jax"].devices()[0]
        return device.device_kind
    return sys.modules["torch"].cuda.get_device_name() if sys.modules["torch"].cuda.is_available() else "cpu"


# The process that the user started: starts the contestants, gives the word to one after the other, and prints.


class Player:
    """A contestant's process, as seen from here, and its figures."""

    def __init__(self, section, key, entry):
        self.entry, self.speeds, self.first, self.memory, self.reason, self.device = entry, [], None, None, None, None
        self.others, self.others_at_first = [], None
        self.errors = tempfile.TemporaryFile("w+")
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # Several processes share the device.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            **os.environ,
            "KERAS_BACKEND": "jax" if section in GPU_SECTIONS else "tensorflow",
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--contestant", section, key] + ["--small"] * SMALL,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment,
            start_new_session=True,
        )

    def prepare(self):
        answer = self.hear()
        if self.playing:
            self.device = answer["device"]
            idle, before = self.own_memory(), self.clocks()
            answer, peak = self.ask("first", watch=True)
            self.others_at_first = self.others_since(before)
            if self.playing:
                self.first, self.memory = answer["seconds"], (peak, idle)

    @property
    def playing(self):
        return self.reason is None

    def play(self, seconds):
        bursts = []
        while len(bursts) < 2 and not (bursts and calm(bursts[0][0])):
            before = self.clocks()
            answer, _ = self.ask(seconds)
            if not self.playing:
                return
            bursts.append((self.others_since(before), answer["images"] / answer["seconds"]))
        others, speed = min(bursts)
        self.others.append(others)
        self.speeds.append(speed)

    def clocks(self):
        """(Time, core seconds that the machine has spent, those of this contestant and of this process); or None."""
        try:
            fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
            own = sum(os.times()[:2])
            for pid in family(self.process.pid):
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                own += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return None
        idle = fields[3] + fields[4]
        return time.perf_counter(), (sum(fields) - idle) / os.sysconf("SC_CLK_TCK"), own

    def others_since(self, before):
        """How many cores other programs have used since; NaN where the system does not say."""
        after = self.clocks()
        if before is None or after is None:
            return float("nan")
        wall, busy, own = (b - a for a, b in zip(before, after))
        return max(0.0, (busy - own) / wall)

    @property
    def disturbed(self):
        return not calm(statistics.median(self.others))

    def look(self, seconds):
        _, peak = self.ask(seconds, watch=True)
        if self.playing and None not in (peak, *self.memory):
            self.memory = (max(peak, self.memory[0]), self.memory[1])

    def ask(self, what, watch=False):
        """(The answer, the most memory seen until then.)"""
        try:
            print(what, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # its end says why
        seen = []
        while watch and not select.select([self.process.stdout], [], [], 0.05)[0]:
            seen.append(self.own_memory())
        answer = self.hear()
        seen.append(self.own_memory() if watch else None)
        return answer, max(filter(None, seen), default=None)

    def hear(self):
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {}
        if "left_out" in answer:
            self.reason = answer["left_out"]
        elif not line:
            self.errors.seek(0)
            lines = [line for line in self.errors.read().splitlines() if line.strip()]
            starts = [i for i, line in enumerate(lines) if re.match(r"[\w.]+(Error|Exception|Exit|Interrupt)\b", line)]
            # Keras's messages go on for some lines, in color.
            said = re.sub(r"\033\[\d+m", "", " ".join(lines[starts[-1]:][:2])) if starts else "without a message"
            self.reason = f"failed with status {self.process.wait()}: {said[:300]}"
        return answer

    def own_memory(self):
        """MB of anonymous memory of the process and those that it forked; None where the system does not say."""
        total = 0
        try:
            for pid in family(self.process.pid):
                lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon"))
        except (OSError, StopIteration):
            return None
        return total / 1e6

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.errors.close()


def calm(others):
    """Whether other programs used so little that a figure can be quoted; True where nobody knows."""
    return not others > CORES / 20


def family(pid):
    """A process and its children."""
    yield pid
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from family(child)


def compete(section, entries, args):
    """Every contestant's figures: key -> Player, stopped."""
    players = {}
    try:
        for key, entry in entries.items():
            progress(f"{section}: starting {entry.label}")
            players[key] = Player(section, key, entry)
            players[key].prepare()
        # Small differences between long steps take more rounds.
        rounds = args.rounds * (2 if "step" in section else 1)
        for turn in range(rounds):
            for key in sorted(players, key=list(players).index, reverse=turn % 2 == 1):
                if players[key].playing:
                    progress(f"{section}: round {turn + 1} of {rounds}, {players[key].entry.label}")
                    players[key].play(args.seconds)
        for player in players.values():
            if player.playing:
                progress(f"{section}: memory of {player.entry.label}")
                player.look(min(args.seconds, 0.5))
    finally:
        progress("")
        for player in players.values():
            player.stop()
    return players


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def ratio(players, mine, peer):
    """How many times the peer's speed, the median of the rounds; None where one of the two did not run."""
    pairs = list(zip(players[mine].speeds, players[peer].speeds))
    if not (players[mine].playing and players[peer].playing and pairs):
        return None
    return statistics.median(a / b for a, b in pairs)


def table(section, players):
    """The rows of a section's table, cells as text; the first row is the head."""
    yield ["", "images/s", "kerazoo's speed over it", "of copying", "others (cores)", "first (s)", "memory (MB)"]
    for key, player in players.items():
        if not player.playing:
            continue
        over = [(ours.removeprefix("kerazoo"), ratio(players, ours, key)) for ours in player.entry.beside]
        over = [(name if len(over) > 1 else "", value) for name, value in over if value is not None]
        bound = ratio(players, key, "copying") if "copying" in players and key != "copying" else None
        yield [
            player.entry.label,
            f"{digits(statistics.median(player.speeds))} ({digits(min(player.speeds))} - {digits(max(player.speeds))})",
            ", ".join(f"{digits(value)}{name}" for name, value in over),
            "" if bound is None else f"{digits(100 * bound)} %",
            f"{statistics.median(player.others):.2f}{' *' * player.disturbed}",
            f"{player.first:.2f}{' *' * (not calm(player.others_at_first))}",
            "" if None in player.memory else f"{player.memory[0]:,.0f} ({player.memory[1]:,.0f})",
        ]


def digits(value):
    """A number with three digits that count."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def targets(section, players):
    """A sentence for each target whose figure was measured."""
    for where, text, (kind, *keys), limit in TARGETS:
        if where != section or not all(players[key].playing for key in keys):
            continue
        if kind == "first":
            value = players[keys[0]].first
        elif kind == "speed":
            value = statistics.median(players[keys[0]].speeds)
        else:
            # Of time, so that it is the other's speed over its own.
            value = ratio(players, *keys) if kind == "ratio" else ratio(players, *reversed(keys))
            value *= 1 if kind == "ratio" else 100
            value -= 100 if kind == "cost" else 0
        if kind == "first":
            quiet = calm(players[keys[0]].others_at_first)
        else:
            quiet = not any(players[key].disturbed for key in keys)
        reached = value <= -limit if limit < 0 else value >= limit
        verdict = ("reached" if reached else "MISSED") if quiet else "not judged, others used the machine"
        bound = f"at most {-limit:g}" if limit < 0 else f"at least {limit:,g}"
        yield f"{digits(value)} {text} (target: {bound}; {verdict})"


def left_out(players):
    for player in players.values():
        if not player.playing:
            yield f"Left out: {player.entry.label}: {player.reason}"


def as_text(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [f"{cell:{'<' if i in (0, 2) else '>'}{width}}" for i, (cell, width) in enumerate(zip(row, widths))]
        yield "  ".join(cells).rstrip()


def as_markdown(rows):
    head, *others = rows
    for row in (head, ["---"] * len(head), *others):
        yield f"| {' | '.join(row)} |"


def circumstances(args):
    """What ran where, and when."""
    packages = ("numpy", "tensorflow", "keras", "keras-cv", "jax", "torch", "torchvision", "timm", "pillow",
                "albumentations", "opencv-python-headless")
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    load = f"; load before the start {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    yield f"{datetime.date.today()}, {CORES} cores of {processor()}{load}"
    yield ", ".join(found)
    yield (f"Medians of {args.rounds} rounds of {args.seconds:g} s (steps of training: {2 * args.rounds}), in brackets "
           "the slowest and the fastest")


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(args):
    sections = GPU_SECTIONS if args.gpu else {name: SECTIONS[name] for name in args.sections or SECTIONS}
    header = list(circumstances(args))
    print(*header, sep="\n", flush=True)
    page = ["\n\n".join(header)]
    for section, entries in sections.items():
        players = compete(section, entries, args)
        devices = sorted({player.device for player in players.values() if player.device})
        title = ", ".join([TITLES[section], *devices])
        if SMALL:
            title = f"{section} with small numbers, which mean nothing: {device_batch()}, {', '.join(devices)}"
        rows = list(table(section, players))
        remarks = [*([] if SMALL else targets(section, players)), *left_out(players)]
        print("", title, *as_text(rows), *remarks, sep="\n", flush=True)
        page += ["", f"## {title}", "", *as_markdown(rows), *[""][: len(remarks)], *(f"- {text}" for text in remarks)]
        if args.markdown:
            # After each section: a run that is cut short has not been for nothing.
            pathlib.Path(args.markdown).write_text("\n".join(page) + "\n")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of: {', '.join(SECTIONS)}; none: all")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a burst (default: %(default)s)")
    parser.add_argument("--step", action="store_true", help="the same as the section of that name")
    parser.add_argument("--gpu", action="store_true", help="an accelerator under JAX instead of the CPU")
    parser.add_argument("--small", action="store_true", help="with --gpu: small numbers, on any device, to try it")
    parser.add_argument("--markdown", metavar="FILE", help="where to write the tables as well")
    parser.add_argument("--contestant", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.sections) - set(SECTIONS)):
        parser.error(f"unknown section {unknown[0]!r}; there are: {', '.join(SECTIONS)}")
    if arguments.rounds < 1:
        parser.error(f"--rounds: received {arguments.rounds}, wanted at least 1")
    if arguments.small and not (arguments.gpu or arguments.contestant):
        parser.error("--small goes with --gpu")
    if arguments.gpu and (arguments.sections or arguments.step):
        parser.error("--gpu has sections of its own: leave the others out")
    arguments.sections += ["step"] * (arguments.step and "step" not in arguments.sections)
    return arguments


if __name__ == "__main__":
    command = parse()
    if command.contestant:
        perform(*command.contestant)
    else:
        # Asked to end: the same as Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            main(command)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            sys.exit(130)
