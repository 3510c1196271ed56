"""Confusion matrix, calibration, embedding, schedule and published figures."""
import keras
import numpy as np
import pytest

import kerazoo
from kerazoo.train import WarmupCosine
from kerazoo.visualize import calibration, comparison, confusion_matrix, embedding, mistakes, schedule
from kerazoo.visualize.predictions import calibration_error


def answers(n=200, classes=4, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    logits = random.normal(size=(n, classes))
    logits[np.arange(n), labels] += 1
    return labels, np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def cells(figure):
    return {(round(text.get_position()[1]), round(text.get_position()[0])): int(text.get_text().replace(",", ""))
            for text in figure.axes[0].texts}


def test_the_confusion_matrix_counts():
    labels, probabilities = answers()
    figure = confusion_matrix(labels, probabilities, ["cat", "$dog$", "cow", "hen"])
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (labels, probabilities.argmax(-1)), 1)
    assert cells(figure) == {place: count for place, count in np.ndenumerate(counts) if count}
    right = counts.trace()
    assert figure.get_suptitle() == f"{right} of 200 right ({right / 2:.2f} %)"
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows[1] == f"$dog$ ({counts[1].sum()})"
    assert cells(confusion_matrix(np.eye(4)[labels], np.log(probabilities))) == cells(figure)


def test_many_classes_come_in_pages_that_lose_no_image(tmp_path):
    labels, probabilities = answers(900, 45)
    total = 0
    for page in (1, 2, 3):
        figure = confusion_matrix(labels, probabilities, page=page)
        assert f"page {page} of 3" in figure.get_suptitle()
        assert figure.axes[0].get_xticklabels()[-1].get_text() == "others"
        total += sum(cells(figure).values())
        figure.savefig(tmp_path / "page.png")
    assert total == 900
    with pytest.raises(ValueError, match="page: got 4, and there are 3"):
        confusion_matrix(labels, probabilities, page=4)


def test_long_names_are_told_apart_by_their_ends():
    names = [f"golden retriever of the {end} coast" for end in ("eastern", "western", "northern", "southern")]
    axes = confusion_matrix(*answers(), names).axes[0]
    rows, columns = (
        [label.get_text() for label in labels] for labels in (axes.get_yticklabels(), axes.get_xticklabels())
    )
    assert len(set(columns)) == 4 and len({row.split(" (")[0] for row in rows}) == 4
    assert all(len(name) == 24 and name.startswith("golden") and name.endswith("coast") for name in columns)


def test_the_calibration_error_is_the_papers():
    # Ten answers at 0.95 of which nine are right, ten at 0.65 of which four are.
    confidence = np.repeat([0.95, 0.65], 10)
    probabilities = np.stack([confidence, 1 - confidence], -1)
    labels = np.array([0] * 9 + [1] + [0] * 4 + [1] * 6)
    error, table = calibration_error(labels, probabilities, 10)
    np.testing.assert_allclose(error, 0.5 * 0.05 + 0.5 * 0.25)
    assert table[9, 0] == 10 and table[6, 0] == 10
    figure = calibration(labels, probabilities, 10)
    assert "expected calibration error 15.00 %" in figure.get_suptitle()
    assert "Says 80.0 % on average, is right in 65.0 %" in figure.get_suptitle()
    # A bin holds its upper edge; certainty is in the last.
    assert calibration_error(np.zeros(2, int), np.array([[0.5, 0.5], [1.0, 0.0]]), 2)[1][:, 0].tolist() == [1, 1]


def test_principal_components_are_those_of_the_covariance():
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 5)) * [5, 3, 1, 1, 0.1]
    labels = np.arange(60) % 3
    figure = embedding(features, labels, ["a", "b", "c"])
    axes = figure.axes[0]
    shares = np.sort(np.linalg.eigvalsh(np.cov(features.T)))[::-1]
    assert axes.get_xlabel() == f"principal component 1 ({100 * shares[0] / shares.sum():.0f} % of the variance)"
    points = np.concatenate([np.asarray(group.get_offsets()) for group in axes.collections])
    np.testing.assert_allclose(points.var(0, ddof=1), shares[:2], rtol=1e-6)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a (20)", "b (20)", "c (20)"]
    forms = {(group.get_paths()[0].vertices.shape, tuple(group.get_facecolor()[0])) for group in axes.collections}
    assert len(forms) == 3


def test_names_on_a_map_are_shown_as_they_are(tmp_path):
    names = ["_a", "cost $5_$", "c"]
    figure = embedding(np.random.default_rng(0).normal(size=(6, 3)), np.arange(6) % 3, names)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"{name} (2)" for name in names]
    figure.savefig(tmp_path / "map.png")


@pytest.mark.parametrize("classes", [10, 60])
def test_classes_of_a_map_are_told_apart_by_color_and_shape(classes):
    figure = embedding(np.random.default_rng(0).normal(size=(240, 4)), np.arange(240) % classes)
    forms = {(group.get_paths()[0].vertices.tobytes(), tuple(group.get_facecolor()[0]))
             for group in figure.axes[0].collections}
    assert len(forms) == classes


def test_t_sne():
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install scikit-learn")
    labels = np.repeat([0, 1], 20)
    features = np.random.default_rng(0).normal(size=(40, 6)) + 20 * labels[:, None]
    axes = embedding(features, labels, method="tsne").axes[0]
    near, far = (np.asarray(group.get_offsets()) for group in axes.collections)
    middle = near.mean(0) - far.mean(0)
    assert "perplexity 13" in axes.get_title()
    assert ((near - (near.mean(0) + far.mean(0)) / 2) @ middle > 0).all()


def test_t_sne_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.manifold", None)
    with pytest.raises(ImportError, match='pip install scikit-learn; or take method="pca"'):
        embedding(np.eye(4), [0, 1, 0, 1], method="tsne")


def test_a_schedule_is_drawn_over_epochs():
    rate = WarmupCosine(2e-3, epochs=5, warmup=1, steps=10)
    axes = schedule(rate, 50).axes[0]
    x, y = axes.lines[0].get_data()
    assert len(x) == 50 and x[-1] == 4.9 and axes.get_xlabel() == "epoch (10 batches each)"
    np.testing.assert_allclose(y, [float(rate(step)) for step in range(50)], rtol=1e-6)
    assert "highest 0.002" in axes.get_title()
    several = schedule({"a": 0.1, "b": keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)}, 5000).axes[0]
    assert [line.get_label() for line in several.lines] == ["a", "b"] and several.get_xlabel() == "batch"
    assert len(several.lines[0].get_xdata()) == 1000 and several.lines[1].get_ydata()[-1] < 1e-9


def test_a_rate_may_be_any_number_and_a_schedule_anybodys():
    for rate in (np.float32(0.1), np.array(0.1), keras.Variable(0.1), keras.ops.convert_to_tensor(0.1), 1):
        np.testing.assert_allclose(schedule(rate, 5).axes[0].lines[0].get_ydata(), [float(rate)] * 5)

    class Theirs:
        def __init__(self, steps):
            self.steps = steps

        def __call__(self, step):
            return 0.1

    for steps in ([10, 20], None, 2.5, 0):
        assert schedule(Theirs(steps), 40).axes[0].get_xlabel() == "batch"


def test_comparison_shows_the_table_of_facts():
    figure = comparison(["resnet50", "vgg16", "densenet121", "resnet50_v1"])
    left, right = figure.axes
    shown = sorted((x, y) for line in left.lines for x, y in zip(*line.get_data()))
    facts = [kerazoo.facts(name) for name in ("resnet50", "vgg16", "densenet121")]
    assert shown == sorted((1e9 * row.gmacs, row.top1) for row in facts)
    assert {text.get_text() for text in right.texts} == {"resnet50", "vgg16", "densenet121"}
    assert "not shown: resnet50_v1 (no accuracy is published)" in figure.get_suptitle()


@pytest.mark.parametrize("names", [
    ["resnet50", "vgg16", "densenet121"], ["resnet50"], ["resnet50", "resnext50_32x4d"],
    ["resnet20", "wide_resnet28_10"],
])
def test_the_scales_of_a_comparison_have_words_for_numbers(names):
    """Powers of ten, and crowded ones, are poor to read."""
    figure = comparison(names)
    figure.draw_without_rendering()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
        assert len(shown) > 2 and all(label.get_text()[-1] in "kMG" for label in shown)
        assert len({label.get_text() for label in shown}) == len(shown)
        boxes = [label.get_window_extent() for label in shown]
        assert not any(a.overlaps(b) for a, b in zip(boxes, boxes[1:]))
        assert not any(label.get_text() for label in axes.get_xticklabels(minor=True))


def test_names_in_a_comparison_cover_nothing():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = comparison()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
        assert len(boxes) > 20
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_comparison_needs_no_backend(run_python):
    code = "import sys; from kerazoo.visualize import comparison; comparison(['vgg16']); print('keras' in sys.modules)"
    assert run_python(code).stdout.strip() == "False"


def test_every_name_is_there():
    import kerazoo.visualize as room

    assert all(callable(getattr(room, name)) for name in room.__all__) and "grad_cam" in dir(room)
    with pytest.raises(AttributeError, match="no 'grad_kam'; did you mean grad_cam"):
        room.grad_kam


LABELS, SHARES = answers(20, 4)
MISTAKES = {
    "lengths": (
        lambda: confusion_matrix(LABELS[:3], SHARES), r"labels: got shape \(3,\) of int64, wanted 20 class indices"
    ),
    "range": (lambda: confusion_matrix(LABELS + 1, SHARES), "got 1 to 4 among them, wanted class indices from 0 to 3"),
    "floats": (lambda: confusion_matrix(LABELS / 2, SHARES), "labels: got shape .* of float64"),
    "nan": (lambda: confusion_matrix(LABELS, SHARES * np.nan), "20 of 20 images are NaN"),
    "vector": (lambda: confusion_matrix(LABELS, LABELS), r"probabilities: got shape \(20,\)"),
    "names": (lambda: confusion_matrix(LABELS, SHARES, ["a"]), "class_names: got 1 of them, wanted 4"),
    "logits": (lambda: calibration(LABELS, np.log(SHARES)), "If they are logits"),
    "bins": (lambda: calibration(LABELS, SHARES, 1), "bins: got 1, wanted an integer from 2 to 100"),
    "maps": (lambda: embedding(np.zeros((4, 2, 2, 3)), [0] * 4), r"features: got shape \(4, 2, 2, 3\)"),
    "nan features": (lambda: embedding(np.full((4, 2), np.nan), [0] * 4), "some are NaN"),
    "same": (lambda: embedding(np.ones((4, 2)), [0] * 4), "all rows are the same"),
    "feature labels": (lambda: embedding(np.eye(4), [0, 1]), "wanted 4 class indices"),
    "one label": (lambda: embedding(np.eye(4), np.int64(1)), r"labels: got shape \(\) of int64, wanted 4 class"),
    "no labels": (lambda: embedding(np.eye(4), []), r"labels: got shape \(0,\)"),
    "cubes of labels": (lambda: embedding(np.eye(4), np.zeros((4, 2, 2))), r"labels: got shape \(4, 2, 2\)"),
    "nan labels": (lambda: embedding(np.eye(4), np.eye(4) * np.nan), "labels: some are NaN"),
    "labels below": (lambda: embedding(np.eye(4), [0, 1, 2, -1]), "got -1 to 2 among them, wanted .* from 0 on"),
    "no features": (lambda: embedding(None, [0]), r"features: got NoneType, wanted numbers \(n, d\), a row an image"),
    "uneven features": (lambda: embedding([[1, 2], [3]], [0, 1]), "features: got rows of several lengths, wanted num"),
    "uneven labels": (
        lambda: confusion_matrix([[0], [0, 1]], SHARES), "labels: got rows of several lengths, wanted 20 class indices"
    ),
    "uneven answers": (lambda: calibration([0, 1], [[1], [0, 1]]), "probabilities: got rows of several lengths"),
    "nan one-hot": (lambda: confusion_matrix(SHARES * np.nan, SHARES), "labels: some are NaN"),
    "method": (lambda: embedding(np.eye(4), [0] * 4, method="umap"), "wanted 'pca' or 'tsne'"),
    "classes": (lambda: embedding(np.eye(99), range(99)), "got 99 classes, and the map tells 70 apart"),
    "steps": (lambda: schedule(0.1, 0), "steps: got 0"),
    "switch": (lambda: schedule(np.bool_(True), 5), "schedule: got .*True.*, wanted a learning rate schedule"),
    "several rates": (lambda: schedule(np.ones(3), 5), "wanted a learning rate schedule"),
    "schedule": (lambda: schedule("cosine", 5), "schedule: got 'cosine', wanted a learning rate schedule"),
    "rates": (lambda: schedule(lambda step: np.nan, 5), "batch 0 is no finite number"),
    "unknown": (lambda: comparison(["resnet51"]), "Unknown model 'resnet51'"),
    "data sets": (
        lambda: comparison(["resnet50", "resnet20"]), "ImageNet-1k: resnet50; CIFAR-10: resnet20.*Pass those of one"
    ),
    "none published": (lambda: comparison(["resnet50_v1"]), "no accuracy is published of resnet50_v1"),
    "none": (lambda: comparison([]), "names: got none"),
    "images": (lambda: mistakes("cats", LABELS, SHARES, "abcd"), "images: got str"),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_does_not_fit_is_answered_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()
