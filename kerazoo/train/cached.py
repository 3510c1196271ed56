"""What a frozen backbone makes of each image, computed once: the head is trained on that alone."""
import collections
import hashlib
import inspect

import keras
import numpy as np

from kerazoo.train.distribution import several_hosts

LIMIT = 2 * 2**30  # bytes of features kept in memory


def features(model, order, data, validation_data, batch_size, *, strict, say):
    """A model's head, and data of features for it.

    Args:
        model: with a frozen backbone.
        order: its steps.
        data, validation_data: batches or arrays of images; validation_data may be None.
        strict: whether what is random in front of the head must stay.
        say: takes a line on what was done, or why not.

    Returns:
        (head, data, validation_data), or None where features cannot be kept.
    """
    problem, start, rest = cut(model, order, strict)
    if several_hosts():
        problem = "several hosts share the images"
    if problem:
        say(f"Features are not kept: {problem}.")
        return None
    extractor = keras.Model(model.inputs[0], start)
    store = Store(extractor, batch_size)
    try:
        made = [None if one is None else store.arrays(one) if isinstance(one, (tuple, list)) else Features(store, one)
                for one in (data, validation_data)]
    except NotKept as error:
        say(f"Features are not kept: {error}.")
        return None
    size = f"{store.width:,} numbers each, {store.count * store.width * 4 / 1e6:,.0f} MB"
    # Copies of an image have one row.
    copies = f", {store.count:,} of them different," if store.count < store.seen else ""
    say(f"Features of {store.seen:,} images{copies} are computed once: {size}.")
    return Tail([step.operation for step in rest], name=f"{model.name}_head"), *made


def cut(model, order, strict=True):
    """Where the frozen backbone ends: (why nowhere, its last tensor, the steps behind that).

    Args:
        model, order: the model and its steps.
        strict: whether what is random in front of the head must stay.
    """
    if type(model) not in (keras.Model, keras.Sequential) and type(model).__name__ != "Functional":
        return f"{type(model).__name__} has a training step of its own", None, None
    if len(model.inputs) != 1:
        return f"{model.name} has {len(model.inputs)} inputs", None, None
    needed = [id(tensor) for step in order for tensor in step.inputs]
    needed += [id(tensor) for tensor in keras.tree.flatten(model.outputs)]
    uses, live = collections.Counter(needed), set()
    found, has_weights, reason = None, False, None
    for place, step in enumerate(order):
        trained, same = bool(getattr(step.operation, "trainable_variables", [])), steady(step.operation)
        if trained or not same and strict:
            if not trained:
                reason = f"{step.name} draws anew for each batch, or is not frozen"
            break
        for tensor in step.inputs:
            uses[id(tensor)] -= 1
            live -= set() if uses[id(tensor)] else {id(tensor)}
        live |= {id(tensor) for tensor in step.outputs}
        has_weights = has_weights or bool(step.weights)
        # Where one tensor is all that the rest needs. What is random right in front of the head stays with the head.
        if has_weights and same and live == {id(step.outputs[0])}:
            found = place
    if found is None:
        return reason or f"nothing in front of the head of {model.name} has weights", None, None
    rest, last = order[found + 1 :], order[found].outputs[0]
    for step, tensor in zip(rest, [last, *(step.outputs[0] for step in rest)]):
        if not step.plain or step.inputs[0] is not tensor or len(step.outputs) != 1:
            return reason or f"{step.name} takes more than what the layer before it gives", None, None
    return None, last, rest


def steady(operation):
    """Whether it makes the same of an image in each step of a training."""
    if not isinstance(operation, keras.layers.Layer):
        return True
    if operation.trainable_variables or getattr(operation, "activity_regularizer", None) is not None:
        return False
    if isinstance(operation, keras.layers.BatchNormalization):
        return not operation.trainable
    if isinstance(operation, keras.Model):
        return all(map(steady, operation.layers))
    if not knows_training(operation):
        return True
    # Keras's dense layers know the argument for the sake of quantization; those that draw keep a seed.
    own = type(operation).__module__.split(".")[0] == "keras" and not isinstance(operation, keras.layers.Wrapper)
    return own and not any("seed_generator" in variable.path for variable in operation.variables)


def knows_training(operation):
    return "training" in inspect.signature(operation.call).parameters


class Tail(keras.Model):
    """The last layers of a model, one after another, as a model of their own that shares their weights.

    Not a functional one, whose making would add to what Keras notes on the layers about their place in the first model.
    """

    def __init__(self, parts, name):
        super().__init__(name=name)
        self.parts, self.told = parts, [knows_training(part) for part in parts]
        self.built = True

    def call(self, x, training=None):
        for part, told in zip(self.parts, self.told):
            # By hand: in its steps on JAX, Keras does not tell the layers inside of a model.
            x = part(x, training=training) if told else part(x)
        return x


class NotKept(Exception):
    """Features cannot be kept; the message says why."""


class Store:
    """Features by the pixels of their images."""

    def __init__(self, extractor, batch_size):
        self.extractor, self.batch_size = extractor, batch_size
        self.rows, self.count, self.seen = {}, 0, 0
        self.width = int(np.prod(extractor.outputs[0].shape[1:]))

    def make_room(self, count):
        if (self.count + count) * self.width * 4 > LIMIT:
            raise NotKept(f"{self.width:,} numbers an image are more than the {LIMIT / 1e9:.1f} GB that they may take")
        self.count += count

    def compute(self, images):
        # TensorFlow's strategies have each replica do the whole batch here, and give all of their rows.
        values = np.asarray(self.extractor.predict_on_batch(images))[: len(images)]
        # 16-bit numbers fit into 32 exactly, and not every backend reads them from NumPy.
        return values.astype("float32")

    def arrays(self, data):
        images, *others = data
        self.make_room(len(images))
        self.seen += len(images)
        images = np.asarray(images)
        places = range(0, len(images), self.batch_size)
        return (np.concatenate([self.compute(images[i : i + self.batch_size]) for i in places]), *others)

    def look_up(self, images, keep=True):
        """The features of a batch, computed where they are not known; and the keys of those, once an image."""
        if not isinstance(images, np.ndarray):
            raise NotKept(f"the data give a {type(images).__name__} for an image batch")
        images = np.ascontiguousarray(images)
        keys = [hashlib.blake2b(image.data, digest_size=16).digest() for image in images]
        missing = [place for place, key in enumerate(keys) if key not in self.rows]
        if not missing:
            return [self.rows[key] for key in keys], []
        values = self.compute(images)
        if keep:
            self.make_room(len({keys[place] for place in missing}))
            self.rows.update((keys[place], values[place]) for place in missing)
        # Those that are known already stay as they were: an image has one value through the training.
        return [self.rows.get(key, value) for key, value in zip(keys, values)], [keys[place] for place in missing]

    def forget(self, keys):
        for key in keys:
            self.count -= self.rows.pop(key, None) is not None


class Features(keras.utils.PyDataset):
    """Batches of features in the place of a data set's batches of images, in the order that it gives them in."""

    def __init__(self, store, data):
        super().__init__()
        self.store, self.data, self.keep, self.told = store, data, True, False
        self.own = []  # keys of what it has put into the store
        self.epoch, self.batches = 0, []
        self.collect()

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, place):
        # Stacked only here: until then, a batch holds no features but those of the store.
        values, *others = self.batches[place]
        return (np.stack(values), *others)

    def set_epoch(self, epoch):
        """Take the order of that epoch from the data, each once."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.collect()

    def collect(self):
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(self.epoch)
        first, new, count, self.batches = not self.batches, 0, 0, []
        for images, *others in batches_of(self.data):
            try:
                values, missing = self.store.look_up(images, self.keep)
            except NotKept:
                if first:
                    raise
                self.give_up()
                values, missing = self.store.look_up(images, False)
            self.batches.append((values, *others))
            self.own += missing if self.keep else []
            new, count = new + len(missing), count + len(values)
        self.store.seen += count if first else 0
        if not first and new > count / 2 and not self.told:
            self.give_up()
            self.told = True
            print("The data give other images each epoch: their features are computed each time.", flush=True)

    def give_up(self):
        """Keep no more features than those of the epoch's batches."""
        self.keep = False
        self.store.forget(self.own)
        self.own = []


def batches_of(data):
    """The batches of an iteration, as tuples of NumPy arrays."""
    for batch in data:
        batch = batch if isinstance(batch, (tuple, list)) else (batch,)
        yield tuple(keras.tree.map_structure(as_array, part) for part in batch if part is not None)


def as_array(tensor):
    return tensor if isinstance(tensor, np.ndarray) else np.asarray(tensor)


def first_batch(data):
    """(images, labels, ...) of the first batch, or all of arrays."""
    batch = tuple(data) if isinstance(data, (tuple, list)) else next(iter(batches_of(data)), ())
    return (*batch, None, None)[: max(2, len(batch))]


def count_batches(data, batch_size):
    """Batches an epoch."""
    if isinstance(data, (tuple, list)):
        return -(-len(data[0]) // batch_size)
    try:
        return len(data)
    except TypeError:
        return sum(1 for _ in data)


def check_batch_size(batch_size):
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive whole number of images; got {batch_size!r}.")


def check_data(data, name):
    """Refuse what cannot be gone through twice, or is no pair of images and labels."""
    if isinstance(data, (tuple, list)):
        lengths = [len(part) for part in data if hasattr(part, "__len__") and hasattr(part, "shape")]
        if lengths and not any(lengths):
            raise ValueError(f"{name} must have at least one image; got arrays without any.")
        if len(data) not in (2, 3) or len(lengths) != len(data) or len(set(lengths)) != 1:
            raise ValueError(
                f"{name} must be (images, labels) or (images, labels, weights), arrays of one length, or a data set of "
                f"batches; got {len(data)} parts of lengths {lengths}."
            )
        return
    if isinstance(data, str):
        raise ValueError(f"{name} must be a data set, not the name of one; got {data!r}. It is read by "
                         f"kerazoo.data.load({data!r}, 'train').")
    if hasattr(data, "shape") or not hasattr(data, "__iter__") or hasattr(data, "__next__"):
        what = f"an array {tuple(data.shape)} without labels" if hasattr(data, "shape") else f"a {type(data).__name__}"
        raise ValueError(
            f"{name} must be a data set of batches that can be gone through again, such as kerazoo.data.load returns, "
            f"or arrays (images, labels); got {what}."
        )
    try:
        empty, endless = len(data) == 0, False
    except TypeError as error:
        empty, endless = False, "infinite" in str(error)
    if empty or endless:
        raise ValueError(f"{name} must have an end and at least one batch; this data set "
                         f"{'has none' if empty else 'has no end: leave out repeat()'}.")
