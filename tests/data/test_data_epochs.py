"""Training data that goes on from anywhere, and that hosts share."""
import numpy as np
import pytest
import tensorflow as tf

from kerazoo.augment import RandomErasing
from kerazoo.data import arrays, load
from kerazoo.data.epochs import Plan
from kerazoo.data.pipeline import evaluation_size


def batches_of(dataset):
    return [images.tobytes() + labels.tobytes() for images, labels in dataset.as_numpy_iterator()]


def test_an_epoch_can_be_started_from_every_batch(train):
    whole = train(batch_size=8, seed=5, limit=35)
    epochs = [batches_of(whole) for _ in range(6)]
    assert len({batch for epoch in epochs for batch in epoch}) == 6 * len(whole)
    fresh = train(batch_size=8, seed=5, limit=35)
    for batch in range(len(whole)):
        rest = fresh.start(3, batch)
        assert len(rest) == len(whole) and rest.num_examples == whole.num_examples
        assert [batches_of(rest) for _ in range(3)] == [epochs[3][batch:], epochs[4], epochs[5]]
    rest.set_epoch(3)
    assert batches_of(rest) == epochs[3][batch:]
    rest.set_epoch(2)
    assert [batches_of(rest), batches_of(rest)] == [epochs[2], epochs[3][batch:]]
    assert batches_of(rest.start(1, 2)) == epochs[1][2:]
    assert batches_of(fresh) == epochs[0]


def test_what_was_read_ahead_is_forgotten_with_the_epoch(train):
    whole = train(batch_size=4)
    epochs = [batches_of(whole) for _ in range(3)]
    look = iter(whole)
    next(look)
    whole.set_epoch(1)
    assert batches_of(whole) == epochs[1]
    rest = whole.start(2, 5)
    next(iter(rest))
    rest.set_epoch(2)
    assert batches_of(rest) == epochs[2][5:]


@pytest.mark.parametrize("train", ["memory", "stream"], indirect=True)
def test_augmentation_depends_on_the_batch_and_not_on_the_way_to_it(train):
    options = {"batch_size": 10, "seed": 5, "limit": 40, "augmentation": [RandomErasing(), RandomErasing()]}
    whole = train(**options)
    zero, one = batches_of(whole), batches_of(whole)
    assert batches_of(train(**options).start(1, 3)) == one[3:]
    assert len({*zero, *one}) == 2 * len(whole)
    plain = train(batch_size=10, seed=5, limit=40)
    assert not set(batches_of(plain)) & set(zero)
    np.testing.assert_array_equal(
        np.concatenate([y for _, y in plain.start(1, 0)]), np.frombuffer(b"".join(each[-80:] for each in one), "int64")
    )


@pytest.mark.parametrize(("arguments", "message"), [
    ((-1, 0), "epoch must be an integer"), ((0, 49), "from 0 to 48, as there are 49 batches.*got 49"),
    ((0, -1), "got -1"), ((0, 1.0), "got 1.0"),
])
def test_a_place_that_is_not_there_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load("mnist_sample", "train", 1, limit=49).start(*arguments)


def test_only_training_data_has_epochs():
    for split in ("validation", "test"):
        dataset = load("mnist_sample", split)
        assert not hasattr(dataset, "start") and not hasattr(dataset, "set_epoch")


@pytest.mark.parametrize(
    "count, batch_size, hosts, devices", [(49, 8, 2, 4), (48, 8, 4, 4), (50, 8, 2, 2), (3, 8, 8, 8)]
)
def test_slices_of_a_batch_make_up_the_batch(count, batch_size, hosts, devices):
    whole = Plan(count, batch_size)
    plans = [Plan(count, batch_size, None, host, hosts, devices) for host in range(hosts)]
    for index in range(len(whole)):
        slices = [list(range(plan.starts[index], plan.stops[index])) for plan in plans]
        size = whole.stops[index] - whole.starts[index]
        batch = list(range(whole.starts[index], whole.stops[index]))
        if size % devices:
            assert slices == [batch] * hosts and all(plan.whole[index] for plan in plans)
        else:
            assert sum(slices, []) == batch and {len(each) for each in slices} == {size // hosts}
            assert not any(plan.whole[index] for plan in plans)


def test_hosts_share_batches(train):
    whole = train(batch_size=8)
    shards = [train(batch_size=8, shard=(host, 2)) for host in range(2)]
    assert {len(each) for each in shards} == {len(whole)}
    for _ in range(2):
        for (images, labels), *two in zip(whole, *shards, strict=True):
            (a, x), (b, y) = two
            if len(labels) % 2:
                np.testing.assert_array_equal(a, b)
                np.testing.assert_array_equal(x, labels)
            else:
                np.testing.assert_array_equal(np.concatenate([a, b]), images)
                np.testing.assert_array_equal(np.concatenate([x, y]), labels)
    rest = shards[1].start(0, 4)
    shards[1].set_epoch(0)
    assert batches_of(rest) == batches_of(shards[1])[4:]


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0,), 1, (0.0, 2)])
def test_a_host_that_is_not_there_is_refused(shard):
    with pytest.raises(ValueError, match="shard must be None or .index, count. of the hosts"):
        load("mnist_sample", shard=shard)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="batch_size 100 cannot be dealt evenly to 8 hosts: take 96 or 104"):
        load("mnist_sample", batch_size=100, shard=(0, 8))
    with pytest.raises(ValueError, match="batch_size 2 cannot be dealt evenly to 8 hosts: take 8"):
        load("mnist_sample", batch_size=2, shard=(0, 8))


def test_a_training_batch_is_trimmed_to_the_devices():
    plan = Plan(41, 16, 0, devices=8, trim=True)
    assert (plan.stops - plan.starts).tolist() == [16, 16, 8]
    assert len(Plan(35, 16, 0, devices=4, trim=True)) == 2


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_no_device_goes_empty_in_evaluation(devices):
    for count in range(60, 100):
        size = evaluation_size(count, 2 * devices, devices)
        rest = count % size
        assert size % devices == 0 and (not rest or -(-rest // -(-rest // devices)) == devices)


def test_too_few_images_for_the_devices_are_refused():
    with pytest.raises(ValueError, match="3 images cannot be dealt to 8 devices"):
        evaluation_size(3, 8, 8)


@pytest.mark.slow
def test_fit_on_two_devices_begins_where_it_is_told_to(run_python):
    code = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np, kerazoo.data

class Place(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        train.set_epoch(epoch)
    def on_train_batch_end(self, batch, logs=None):
        losses.append(logs["loss"])

def model():
    model = keras.Sequential([
        keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
        keras.layers.Dense(10, kernel_initializer="zeros"),
    ])
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model

found = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    tf.distribute.experimental_set_strategy(strategy)
    losses = []
    train = kerazoo.data.load("mnist_sample", "train", 16, limit=80).start(2, 2)
    model().fit(train, initial_epoch=2, epochs=4, callbacks=[Place()], verbose=0)
    found.append(losses)
assert len(found[0]) == 3 + 5, found
np.testing.assert_allclose(*found, rtol=1e-5)
odd = kerazoo.data.load("mnist_sample", None, 16, limit=41)
print(len(odd[0]), sum(len(y) for _, y in odd[0]), sum(len(y) for _, y in odd[1]))
"""
    assert run_python(code).stdout.split()[-3:] == ["3", "40", "41"]


def test_arrays_are_one_iteration(train):
    dataset = train(batch_size=16)
    images, labels = arrays(dataset)
    count = dataset.num_examples
    assert images.shape == (count, *dataset.image_shape) and labels.shape == (count,)
    assert (images.dtype, labels.dtype) == ("uint8", "int64")
    dataset.set_epoch(0)
    np.testing.assert_array_equal(labels[:16], next(iter(dataset))[1])


@pytest.mark.parametrize("nothing", [[], [(np.zeros(3),)]])
def test_arrays_of_something_else_are_refused(nothing):
    with pytest.raises(ValueError, match="Wanted batches of .images, labels.; got"):
        arrays(nothing)


def test_the_length_is_known_to_keras_in_a_continued_epoch_too():
    rest = load("mnist_sample", "train", 10, limit=49).start(0, 3)
    assert int(rest.cardinality()) == 5 and tf.data.experimental.cardinality(rest) < 0
