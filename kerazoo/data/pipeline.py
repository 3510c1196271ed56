"""From a source to batches: what `load` is asked for, and what it answers with."""
import dataclasses
import functools
import warnings

import numpy as np

from kerazoo.data.augmenting import check_layers, shape_after
from kerazoo.data.checks import check_size, is_integer, some
from kerazoo.data.epochs import Epochs, Plan, check_epoch
from kerazoo.data.images import read_image
from kerazoo.data.parts import SPLITS, Files, Images, Stream, limited
from kerazoo.data.reading import Job, Lost, into_memory
from kerazoo.data.sources import open_source
from kerazoo.pixels import pixel_problems


def load(
    name,
    split=None,
    batch_size=32,
    image_size=None,
    *,
    label_mode="int",
    validation_split=0.1,
    test_split=0.1,
    seed=0,
    corrupt_limit=0.01,
    data_dir=None,
    augmentation=None,
    limit=None,
    shard=None,
):
    """Load an image classification set as batches that `model.fit`, `evaluate` and `predict` take as they are.

    Under TensorFlow they come from `tf.data`, under JAX and PyTorch through Grain, as NumPy arrays, and neither the
    embedded sample nor a folder needs TensorFlow there. Images, order and augmentation are the same on every backend.

    Splits never overlap, and are the same whatever `seed` is, so that runs over several seeds are compared on the same
    images. Validation is a share of every class of the training part, unless the source has a validation split of its
    own; where it has no (labelled) test split, a share of every class is set aside for testing first.

    Only "train" is shuffled. What is in a batch depends on (seed, epoch, index of the batch) alone. Every fresh
    iteration is the next epoch, also one that is broken off; `train.set_epoch(e)` makes the next iteration epoch e, and
    `train.start(e, batch)` returns a data set like `train` whose next iteration is epoch e from that batch on, without
    decoding those before. (`fit` may look at one batch before its first epoch; to number epochs alike everywhere, call
    `train.set_epoch(epoch)` in a callback's `on_epoch_begin`, as `kerazoo.train.Run` does.) The last, smaller batch is
    kept.

    Images that need resizing have their shorter side resized (bilinear, antialiased) and the middle cropped, so that
    the aspect is kept.

    Up to 2 GB of pixels are decoded once, when the set is loaded, and kept in memory (for each set of TensorFlow
    Datasets all of its splits count, else those that are asked for). Beyond, files are decoded as they are needed, by
    as many threads as there are cores. A file that can then no longer be read gives its place in the batch to the next
    one in the order of that epoch; it is added to `skipped`, with a warning the first time.

    Several devices or hosts share each batch. On JAX, each host yields its slice of it, and a last batch that cannot
    be dealt evenly goes to all of them whole, for `kerazoo.train.distribute` to hand to every device. TensorFlow's
    strategies cut batches themselves: there, training leaves out what is left over of the last batch, fewer images
    than there are devices and others each epoch, and the other splits come in a batch size at which no device goes
    empty.

    Args:
        name: where the images come from:

            - `"mnist_sample"`: 10,000 + 2,000 digits of MNIST that come with kerazoo; no network.
            - `"folder:PATH"`: one sub-folder a class, sorted by name, with jpg, jpeg, png, bmp, gif (first frame) or
              webp files, upright according to EXIF; hidden files are left alone. Where PATH holds `train` and `test`,
              `val` or `validation`, those are the splits. Images are gray (one channel) if all of them are. Every
              file is decoded once when the set is loaded: those that cannot be are left out, counted in one warning
              and listed in `skipped`. Of folders that do not fit in memory, what was found is remembered (in
              $KERAZOO_HOME or ~/.cache/kerazoo), so that only new and changed files are looked at the next time.
            - any image classification set of TensorFlow Datasets, such as `"cifar10"`, downloaded if need be; this
              needs TensorFlow on every backend. Sets beyond 2 GB of pixels are streamed by `tf.data`: there, splits are
              slices of the stored order (which TFDS shuffles), and an epoch is shuffled through a buffer of 8,192
              images.
        split: "train", "validation", "test", or None for all three.
        batch_size: images in a batch, a positive integer; on several devices or hosts, of all of them together, and a
            multiple of their number.
        image_size: the side in pixels or (height, width). None: the size that all images of the source have, or 224
            where they differ.
        label_mode: "int" for int64 labels (batch,), "categorical" for float32 one-hot labels (batch, classes).
        validation_split: share of the training part, in [0, 1); 0 for no validation.
        test_split: the same for testing, where the source has no test split; 0 for none.
        seed: of the training order and of the augmentation, not negative.
        corrupt_limit: share, in [0, 1], of the image files of a folder (or of its `train`, `test`, ...) that may be
            impossible to decode, when it is loaded or later; more of them stop the run.
        data_dir: where TensorFlow Datasets keeps its sets. None: its own default, ~/tensorflow_datasets.
        augmentation: one layer of `kerazoo.augment` or a list of them, or layers of your own that can be called as
            `layer({"images": images, "labels": labels}, seed=(a, b))`, for the training batches. Where they change the
            size, as `RandomResizedCrop(224)` does of `image_size=256`, images of the other splits are cropped to it, in
            the middle (resized, where they would be too small). Mixing labels needs `label_mode="categorical"`, or
            `classes=` of the layer. Each host augments its slice with draws of its own.
        limit: at most so many images of each split, always the same ones, dealt evenly over the classes (of a streamed
            set: the first ones); None: all.
        shard: (index, count) of the hosts; None: this process of all that JAX runs, else the whole.

    Returns:
        A `tf.data.Dataset` (on JAX and PyTorch, a `keras.utils.PyDataset` that can be iterated as well) of (images,
        labels), images uint8 (batch, height, width, channels), 0 to 255; or with `split=None` the tuple (train,
        validation, test), validation or test being None if there is none. Each has `len`, the attributes `classes`,
        `class_names`, `image_shape` (height, width, channels) as it comes out, `num_examples`, `name`, `split`,
        `skipped` (paths of the files of its folder that were left out), and `skipped_report()`, a sentence about them;
        train has `set_epoch` and `start` besides. On JAX and PyTorch, `grain(epoch, start)` returns the batches as a
        `grain.MapDataset`.

    Raises:
        ValueError: if an argument is out of range, the name is unknown, a folder does not hold at least two classes of
            images, or more than `corrupt_limit` of its images cannot be decoded. Under TensorFlow, if that happens
            later, it comes wrapped into an error of `tf.data`.
        ImportError: if TensorFlow, TensorFlow Datasets or Grain is needed and missing.
        FileNotFoundError, NotADirectoryError: if PATH does not exist, or is a file.
        ConnectionError: if a set must be downloaded and cannot be.

    Example:
        >>> train, validation, test = load("mnist_sample", batch_size=128)
        >>> model = kerazoo.lenet5(classes=train.classes)
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        >>> model.fit(train, validation_data=validation, epochs=5, shuffle=False)  # True makes Keras warn, no more
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, or None for all three; got {split!r}.")
    if not is_integer(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, the images in a batch; got {batch_size!r}.")
    if label_mode not in ("int", "categorical"):
        raise ValueError(f'label_mode must be "int" or "categorical" (one-hot); got {label_mode!r}.')
    shares = {"validation": validation_split, "test": test_split}
    for held, share in shares.items():
        if not is_number(share) or not 0 <= share < 1:
            raise ValueError(
                f"{held}_split must be a share of the training part, from 0 up to but not 1; got {share!r}."
            )
    if not is_number(corrupt_limit) or not 0 <= corrupt_limit <= 1:
        raise ValueError(f"corrupt_limit must be a share of the files, from 0 to 1; got {corrupt_limit!r}.")
    if not is_integer(seed) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be an integer that is not negative; got {seed!r}.")
    if limit is not None and (not is_integer(limit) or limit < 1):
        raise ValueError(f"limit must be None or a positive integer, the most images of a split; got {limit!r}.")
    image_size = check_size(image_size, "image_size")
    host, hosts, devices = hosts_and_devices(shard)
    if batch_size % devices:
        near = [size for size in (batch_size // devices * devices, -(-batch_size // devices) * devices) if size]
        those = "hosts" if hosts == devices else "devices"
        raise ValueError(
            f"batch_size {batch_size} cannot be dealt evenly to {devices} {those}: take {' or '.join(map(str, near))}."
        )
    layers = check_layers(augmentation)

    splits = SPLITS if split is None else (split,)
    source = open_source(name, splits, image_size, shares, corrupt_limit, data_dir)
    for part_split, part in source.parts.items():
        if part is not None and not len(part):
            if part_split != "validation":
                raise ValueError(
                    f"{name} is too small: no image is left for its {part_split} split. Wanted: at least three images "
                    "a class, one each for training, validation and testing."
                )
            source.parts[part_split] = None
    if split and source.parts[split] is None:
        raise ValueError(
            f"{name} has no {split} images with {split}_split={shares[split]}. Pass a share above 0, such as 0.1."
        )
    classes = len(source.class_names) if label_mode == "categorical" else 0
    out = shape_after(layers, source.image_shape, classes) if layers else tuple(source.image_shape)
    parts = {part_split: part and limited(part, limit) for part_split, part in source.parts.items()}
    jobs = {}
    for part_split, part in parts.items():
        if part is None:
            continue
        shape = tuple(source.image_shape)
        if part_split != "train" and (shape[0] < out[0] or shape[1] < out[1]):
            shape = out  # else more is read than is handed out, and the middle cut out
        training = part_split == "train"
        part = into_memory(part, shape, f"{name} {part_split}")
        size, trim = batch_size, False
        if keras_runs_on("tensorflow") and devices > hosts == 1:
            size, trim = (batch_size, True) if training else (evaluation_size(len(part), batch_size, devices), False)
        plan = Plan(len(part), size, seed if training else None, host, hosts, devices, trim)
        if not len(plan):
            raise ValueError(f"{name} has {len(part)} training images only, too few for {devices} devices.")
        job = Job(
            part, plan, shape, shape if training else out, classes, layers if training else (), list(part.skipped)
        )
        if isinstance(part, Files):
            job.lost = Lost(part, corrupt_limit, job.skipped)
        jobs[part_split] = job
    problems = []
    for job in jobs.values():
        problems = problems or pixel_problems(first_images(job, min(batch_size, 32)), name)
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    if skipped := sorted({path for job in jobs.values() for path in job.skipped}):
        warnings.warn(
            f"{name}: left out, as they cannot be decoded as images: {len(skipped)} of the files, {some(skipped)}. "
            f"The full list is in the `skipped` of each split.",
            stacklevel=2,
        )
    results = []
    for part_split in source.parts:
        dataset = None
        if job := jobs.get(part_split):
            facts = {
                "classes": len(source.class_names), "class_names": list(source.class_names), "image_shape": out,
                "num_examples": len(job.part), "name": name, "split": part_split, "skipped": job.skipped,
            }
            dataset = open_job(job, facts, Epochs())
            if hosts > 1 and shard is None and part_split != "train":
                whole = dataclasses.replace(job, plan=Plan(len(job.part), batch_size))
                dataset.of_all_hosts = functools.partial(open_job, whole, facts, Epochs())
        results.append(dataset)
    return tuple(results) if split is None else results[0]


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def keras_runs_on(backend):
    import keras

    return keras.config.backend() == backend


def hosts_and_devices(shard):
    """(this host, hosts, devices of all hosts) that a batch is for."""
    host, hosts, devices = 0, 1, 1
    if keras_runs_on("jax"):
        import jax
        import keras

        distribution = keras.distribution.distribution()
        host, hosts = jax.process_index(), jax.process_count()
        devices = hosts if distribution is None else distribution.device_mesh.devices.size
    elif keras_runs_on("tensorflow"):
        import tensorflow as tf

        devices = tf.distribute.get_strategy().num_replicas_in_sync
    if shard is not None:
        pair = tuple(shard) if isinstance(shard, (tuple, list)) else ()
        if len(pair) != 2 or not all(map(is_integer, pair)) or not 0 <= pair[0] < pair[1]:
            raise ValueError(f"shard must be None or (index, count) of the hosts, index from 0; got {shard!r}.")
        host, hosts = map(int, pair)
        devices = hosts if devices % hosts else devices
    return host, hosts, devices


def evaluation_size(count, batch_size, devices):
    """The batch size nearest to that asked for at which TensorFlow's strategy leaves no device without images."""

    def serves_all(size):
        rest = count % size  # the last batch: cut into pieces, all but the last as large as can be
        return not rest or -(-rest // -(-rest // devices)) == devices

    smaller, larger = range(batch_size, 0, -devices), range(batch_size, count + devices, devices)
    for size in (*smaller, *larger):
        if serves_all(size):
            return size
    raise ValueError(
        f"{count} images cannot be dealt to {devices} devices without leaving one of them empty: use fewer devices, or "
        "KERAS_BACKEND=jax, which has no such limit."
    )


def open_job(job, facts, epochs):
    """The data set that a job is to its user, from where `epochs` begins on."""
    if keras_runs_on("tensorflow"):
        dataset = job.pipeline.dataset(epochs)
    else:
        from kerazoo.data.batches import Batches

        dataset = Batches(job, epochs)
    for name, value in facts.items():
        setattr(dataset, name, value)
    dataset.skipped_report = functools.partial(skipped_report, facts)
    if facts["split"] != "train":
        return dataset

    def start(epoch, batch):
        """The same data set, going on from the middle of an epoch.

        Args:
            epoch: of the next iteration, counted from 0.
            batch: the first one of that iteration, from 0 to `len` - 1. Those before it are not decoded.

        Returns:
            A data set like this one, `len` too. Its iterations are the rest of that epoch, then whole epochs;
            `set_epoch` with that epoch returns to its rest.

        Raises:
            ValueError: if an argument is out of range.
        """
        check_epoch(epoch)
        if not is_integer(batch) or not 0 <= batch < len(job.plan):
            raise ValueError(
                f"batch must be an integer from 0 to {len(job.plan) - 1}, as there are {len(job.plan)} batches in an "
                f"epoch; got {batch!r}."
            )
        return open_job(job, facts, Epochs(int(epoch), int(batch)))

    dataset.set_epoch, dataset.start = epochs.set_epoch, start
    return dataset


def skipped_report(facts):
    """One sentence about the files that were left out or became unreadable; "" if there are none."""
    if not facts["skipped"]:
        return ""
    return (
        f"{facts['name']} {facts['split']}: {len(facts['skipped'])} of the files were skipped, as they cannot be read: "
        f"{some(facts['skipped'])}."
    )


def first_images(job, count):
    """The first images of a part in its stored order, so that looking at them starts no epoch."""
    part = job.part
    if isinstance(part, Stream):
        from kerazoo.data.tensors import stored_images

        return stored_images(job, count)
    if isinstance(part, Images):
        return part.pixels[part.rows[:count]]
    *size, channels = job.shape
    return np.stack([read_image(part.paths[row], channels, size) for row in part.rows[:count]])


def arrays(dataset):
    """All of a data set as two arrays: one iteration, which of training data is an epoch.

    On several hosts, validation and test data come whole on each, as `model.predict` returns its predictions there.

    Args:
        dataset: from `load`, or any iterable of (images, labels) batches.

    Returns:
        (images, labels), NumPy arrays.

    Raises:
        ValueError: if there are no batches.

    Example:
        >>> images, labels = kerazoo.data.arrays(test)
    """
    whole = getattr(dataset, "of_all_hosts", None)
    batches = [tuple(np.asarray(each) for each in batch) for batch in (whole() if whole else dataset)]
    if not batches or len(batches[0]) != 2:
        raise ValueError("Wanted batches of (images, labels); got " + ("none." if not batches else "something else."))
    images, labels = (np.concatenate(each) for each in zip(*batches))
    return images, labels
