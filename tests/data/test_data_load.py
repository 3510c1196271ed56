import keras
import numpy as np
import pytest

from kerazoo.augment import MixUp, RandomCrop, RandomResizedCrop
from kerazoo.data import load, parts, tfds


def images_of(dataset):
    return [image.tobytes() for images, _ in dataset for image in images.numpy()]


def labels_of(dataset):
    return np.concatenate([labels.numpy() for _, labels in dataset])


def test_the_sample_is_the_documented_one():
    train, validation, test = load("mnist_sample", batch_size=128)
    assert [d.num_examples for d in (train, validation, test)] == [9001, 999, 2000]
    assert [len(d) for d in (train, validation, test)] == [71, 8, 16]
    assert [d.split for d in (train, validation, test)] == ["train", "validation", "test"]
    assert (test.name, test.classes, test.class_names) == ("mnist_sample", 10, list("0123456789"))
    assert (test.image_shape, test.skipped) == ((28, 28, 1), [])
    np.testing.assert_array_equal(np.bincount(labels_of(test)), [196, 227, 206, 202, 196, 178, 192, 206, 195, 202])


def test_images_are_uint8_and_the_last_smaller_batch_is_kept():
    batches = list(load("mnist_sample", "test", 600))
    assert [tuple(images.shape) for images, _ in batches] == [(600, 28, 28, 1)] * 3 + [(200, 28, 28, 1)]
    assert batches[0][0].dtype == "uint8" and batches[0][1].dtype == "int64"
    assert batches[0][0].numpy().max() == 255


def test_splits_do_not_overlap_and_are_stratified():
    train, validation, test = load("mnist_sample", batch_size=512)
    parts = [set(images_of(d)) for d in (train, validation, test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 12_000
    everything = np.bincount(labels_of(train)) + np.bincount(labels_of(validation))
    np.testing.assert_array_equal(np.bincount(labels_of(validation)), np.round(everything * 0.1))


def test_a_seed_changes_the_order_and_not_the_splits(train):
    first, second = train(seed=0), train(seed=1)
    assert images_of(first) != images_of(second)
    assert sorted(images_of(first)) == sorted(images_of(second))


def test_epochs_differ_and_can_be_returned_to(train):
    dataset = train(seed=3)
    zero, one, two = images_of(dataset), images_of(dataset), images_of(dataset)
    assert zero != one != two != zero and sorted(zero) == sorted(one)
    again = train(seed=3)
    again.set_epoch(1)
    assert [images_of(again), images_of(again)] == [one, two]


def test_the_order_is_independent_of_the_global_seed(train):
    keras.utils.set_random_seed(1)
    first = images_of(train(seed=0))
    keras.utils.set_random_seed(2)
    assert images_of(train(seed=0)) == first


def test_validation_and_test_keep_their_order():
    _, validation, test = load("mnist_sample", batch_size=500)
    assert images_of(validation) == images_of(validation) and images_of(test) == images_of(test)


def test_fit_takes_it_as_it_is():
    train, validation, test = load("mnist_sample", batch_size=512)
    model = keras.Sequential([keras.Input(train.image_shape), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(train, validation_data=validation, epochs=2, shuffle=False, verbose=0).history
    assert len(history["loss"]) == len(history["val_loss"]) == 2
    assert model.predict(test, verbose=0).shape == (2000, 10)


@pytest.mark.parametrize("augmentation", [[], [RandomCrop((24, 24))]])
def test_no_training_waits_for_the_tuning_of_its_data(augmentation):
    for dataset in load("mnist_sample", batch_size=128, augmentation=augmentation):
        assert dataset.options().autotune.enabled is False


def test_categorical_labels_are_one_hot():
    _, labels = next(iter(load("mnist_sample", "test", 64, label_mode="categorical")))
    _, integers = next(iter(load("mnist_sample", "test", 64)))
    assert labels.dtype == "float32"
    np.testing.assert_array_equal(labels, np.eye(10)[integers])


@pytest.mark.parametrize("size, shape", [(32, (32, 32, 1)), ((14, 20), (14, 20, 1))])
def test_image_size(size, shape):
    dataset = load("mnist_sample", "test", 8, size)
    images, _ = next(iter(dataset))
    assert dataset.image_shape == shape and images.shape == (8, *shape) and images.dtype == "uint8"


def test_without_validation_the_training_part_is_whole():
    train, validation, _ = load("mnist_sample", validation_split=0.0)
    assert train.num_examples == 10_000 and validation is None
    with pytest.raises(ValueError, match="no validation images with validation_split=0.*above 0"):
        load("mnist_sample", "validation", validation_split=0)


def test_without_a_test_split_nothing_is_set_aside(make_folder):
    name = f"folder:{make_folder({'a': 20, 'b': 20})}"
    train, validation, test = load(name, test_split=0)
    assert (train.num_examples, validation.num_examples, test) == (36, 4, None)
    train, validation, test = load(name, test_split=0.5, validation_split=0.5)
    assert (train.num_examples, validation.num_examples, test.num_examples) == (10, 10, 20)
    with pytest.raises(ValueError, match="no test images with test_split=0.0"):
        load(name, "test", test_split=0.0)


def test_a_limit_deals_evenly_and_always_the_same(make_folder):
    few, more = (load("mnist_sample", "train", 512, limit=limit, seed=limit) for limit in (57, 200))
    assert few.num_examples == 57 and set(np.bincount(labels_of(few))) == {5, 6}
    assert set(images_of(few)) < set(images_of(more))
    name = f"folder:{make_folder({'a': 4, 'b': 50})}"
    train, validation, test = load(name, limit=20)
    assert np.bincount(labels_of(train)).tolist() == [2, 18]
    assert [d.num_examples for d in (validation, test)] == [5, 6]


def test_augmentation_gives_the_size_and_the_others_are_cropped_to_it():
    plain = load("mnist_sample", "test", 2000)
    images, _ = next(iter(plain))
    options = {"batch_size": 2000, "augmentation": RandomCrop(20)}
    train, validation, test = load("mnist_sample", **options)
    assert {d.image_shape for d in (train, validation, test)} == {(20, 20, 1)}
    assert next(iter(train))[0].shape == (2000, 20, 20, 1)
    np.testing.assert_array_equal(next(iter(test))[0], images[:, 4:24, 4:24])
    large = load("mnist_sample", "test", 8, augmentation=RandomResizedCrop(40))
    assert large.image_shape == (40, 40, 1) == next(iter(large))[0].shape[1:]


def test_labels_are_mixed_with_the_images():
    for options, layer in (({"label_mode": "categorical"}, MixUp(1.0)), ({}, MixUp(1.0, classes=10))):
        train, validation, _ = load("mnist_sample", augmentation=layer, limit=64, **options)
        labels = np.concatenate([y for _, y in train])
        assert labels.shape == (64, 10) and ((labels > 0.01) & (labels < 0.99)).any()
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-5)
        assert next(iter(validation))[1].shape == ((32, 10) if options else (32,))


def test_a_tfds_set_without_other_splits_is_split_by_class(tiny_tfds):
    train, validation, test = load("tiny_digits", image_size=8, data_dir=tiny_tfds)
    assert [d.num_examples for d in (train, validation, test)] == [48, 6, 6]
    assert train.class_names == ["even", "odd"] and train.image_shape == (8, 8, 3)
    np.testing.assert_array_equal(np.bincount(labels_of(test)), [3, 3])
    parts = [set(images_of(d)) for d in (train, validation, test)]
    assert len(set.union(*parts)) == 60
    for images, labels in train:
        np.testing.assert_array_equal(images[:, 4, 4, 0] // 4 % 2, labels)


def test_tfds_images_of_differing_size_come_in_224(tiny_tfds):
    assert load("tiny_digits", "test", data_dir=tiny_tfds).image_shape == (224, 224, 3)


def test_a_large_tfds_set_is_streamed_with_the_same_promises(tiny_tfds, monkeypatch):
    monkeypatch.setattr(parts, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(tfds, "read_split", None)
    datasets = load("tiny_digits", None, 8, 8, data_dir=tiny_tfds)
    assert [(d.num_examples, len(d)) for d in datasets] == [(49, 7), (5, 1), (6, 1)]
    found = [set(images_of(d)) for d in datasets]
    assert [len(part) for part in found] == [49, 5, 6] and len(set.union(*found)) == 60


def test_importing_needs_no_tensorflow(run_python):
    run_python("import sys, kerazoo.data; assert not {'tensorflow', 'keras'} & set(sys.modules)")
