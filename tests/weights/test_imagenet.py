import numpy as np
import pytest

import kerazoo
from kerazoo.weights import imagenet
from kerazoo.weights.imagenet import class_names, decode_predictions

NAMES = ["cat", "dog", "bird"]


def test_the_thousand_classes_are_in_the_order_of_wordnet():
    lines = imagenet.NAMES.read_text(encoding="utf-8").splitlines()
    identifiers = [line.split("\t")[0] for line in lines]
    assert len(identifiers) == 1000 and identifiers == sorted(set(identifiers))
    assert (identifiers[0], identifiers[999]) == ("n01440764", "n15075141")
    assert all(len(line.split("\t")) == 2 for line in lines)


def test_known_classes_have_their_names():
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 388: "giant panda", 985: "daisy", 999: "toilet tissue"}
    assert {index: class_names()[index] for index in known} == known


def test_no_two_classes_have_one_name():
    assert len(class_names()) == len(set(class_names())) == 1000
    assert (class_names()[134], class_names()[517]) == ("crane bird", "crane")
    assert (class_names()[638], class_names()[639]) == ("maillot", "maillot tank suit")


def test_logits_become_probabilities():
    ((first, second),) = decode_predictions(np.log([[1, 6, 3]]), top=2, class_names=NAMES)
    assert first == ("dog", pytest.approx(0.6)) and second == ("bird", pytest.approx(0.3))
    assert type(first[1]) is float


def test_large_logits_do_not_overflow():
    assert decode_predictions([[1000.0, 0.0, -1000.0]], top=1, class_names=NAMES) == [[("cat", 1.0)]]


def test_probabilities_stay_as_they_are():
    rows = [[0.2, 0.7, 0.1], [0.0, 0.0, 1.0005]]
    assert decode_predictions(rows, top=1, class_names=NAMES) == [
        [("dog", pytest.approx(0.7))], [("bird", pytest.approx(1.0005))]]


@pytest.mark.parametrize("row", [[0.2, 0.7, 0.2], [-0.1, 0.6, 0.5]])
def test_what_is_nearly_a_probability_is_not(row):
    (best,) = decode_predictions([row, [0.2, 0.7, 0.1]], top=3, class_names=NAMES)[:1]
    assert sum(probability for _, probability in best) == pytest.approx(1)
    assert best[0][1] == pytest.approx(np.exp(max(row)) / np.exp(row).sum())


def test_a_batch_gives_a_list_an_image_and_an_image_a_list_of_one():
    rows = np.eye(3)[[2, 0]]
    assert [best[0][0] for best in decode_predictions(rows, top=1, class_names=NAMES)] == ["bird", "cat"]
    assert decode_predictions(rows[0], top=1, class_names=NAMES) == [[("bird", 1.0)]]
    assert decode_predictions(np.zeros((0, 3)), class_names=NAMES, top=1) == []


def test_equally_likely_classes_come_in_their_order():
    assert [name for name, _ in decode_predictions(np.zeros(3), top=3, class_names=NAMES)[0]] == NAMES


def test_imagenet_is_the_default_and_five_are_named():
    logits = np.zeros(1000)
    logits[[207, 388]] = 9, 5
    (best,) = decode_predictions(logits)
    assert [name for name, _ in best[:2]] == ["golden retriever", "giant panda"] and len(best) == 5


def test_float16_outputs_are_told_from_logits_by_their_full_sum():
    probabilities = np.full((1, 1000), 0.001, "float16")
    assert decode_predictions(probabilities, top=1)[0][0][1] == pytest.approx(0.001, rel=1e-2)


@pytest.mark.parametrize("backend", ["tensorflow", "jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_tensors_of_every_backend_are_taken(backend, run_python):
    if backend == "torch":
        pytest.importorskip("torch")
    code = """
import keras
from kerazoo.weights.imagenet import decode_predictions
kernel = keras.Variable([[0.0, 3.0, 1.0]])
for tensor in kernel.value * 1, kernel, keras.ops.cast(kernel.value, "bfloat16"):
    (best,) = decode_predictions(tensor, top=1, class_names=["cat", "dog", "bird"])
    print(best[0][0], round(best[0][1], 2))
"""
    assert run_python(code, backend=backend).stdout.split() == ["dog", "0.84"] * 3


@pytest.mark.parametrize("outputs, message", [
    (np.zeros((1, 2, 3)), r"shape \(images, classes\).*got shape \(1, 2, 3\)"),
    (np.float32(1), r"got shape \(\)"),
    (np.zeros((1, 10)), "outputs are for 10 classes; class_names holds 3"),
    ([[0.0, np.nan, np.inf]], "2 of 3 outputs are NaN or infinite"),
    (["a", "b", "c"], "takes an array of numbers; got list"),
    (None, r"got shape \(\)"),
])
def test_wrong_outputs_are_refused_in_words(outputs, message):
    with pytest.raises(ValueError, match=message):
        decode_predictions(outputs, top=1, class_names=NAMES)


def test_outputs_of_another_number_of_classes_are_not_taken_for_imagenet():
    with pytest.raises(ValueError, match="outputs are for 10 classes; ImageNet has 1,000.*class_names="):
        decode_predictions(np.zeros((1, 10)))


@pytest.mark.parametrize("top", [0, -1, 4, 1.5, True, None])
def test_top_must_be_within_the_classes(top):
    with pytest.raises(ValueError, match=f"from 1 to the number of classes, 3; got {top}"):
        decode_predictions(np.zeros(3), top=top, class_names=NAMES)


def test_it_decodes_what_a_model_returns():
    model = kerazoo.lenet5(classes=3, input_shape=(32, 32, 1))
    best = decode_predictions(model(np.zeros((2, 32, 32, 1), "float32")), top=3, class_names=NAMES)
    assert [sorted(name for name, _ in image) for image in best] == [sorted(NAMES)] * 2
