"""Freezing, unfreezing, gradual unfreezing and fine_tune. What takes no fixture runs on JAX and PyTorch as well."""
import pathlib
import tempfile

import keras
import numpy as np
import pytest
from keras import layers

from kerazoo.train import GradualUnfreezing, Run, fine_tune, freeze, optimizer, unfreeze
from kerazoo.train.transfer import stage_rates

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (48, 8, 8, 3)).astype("uint8")
LABELS = RNG.integers(0, 3, 48)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def tiny(*front, dropout=0.0, branch=False, name="tiny"):
    """Stages as kerazoo's models have them: a residual block with batch norms, a group norm, an early branch."""
    keras.utils.set_random_seed(1)
    x = image = keras.Input((8, 8, 3))
    for layer in front:
        x = layer(x)
    x = layers.Rescaling(1 / 255, name="normalize")(x)
    x = layers.BatchNormalization(name="stem_bn")(layers.Conv2D(4, 3, strides=2, name="stem_conv")(x))
    y = layers.BatchNormalization(name="stage1_bn")(layers.Conv2D(4, 3, padding="same", name="stage1_conv")(x))
    early, x = x, layers.Add(name="stage1_out")([x, y])
    x = layers.GroupNormalization(2, name="stage2_gn")(layers.Conv2D(6, 3, name="stage2_conv")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if branch:
        early = layers.GlobalMaxPooling2D(name="early_pool")(layers.Conv2D(2, 1, name="early_conv")(early))
        x = layers.Concatenate(name="join")([early, x])
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return keras.Model(image, layers.Dense(3, name="head")(x), name=name)


def values(model):
    return {variable.path: np.array(keras.ops.convert_to_numpy(variable)) for variable in model.variables}


def changed(before, after):
    """Names of the layers some of whose variables differ."""
    return {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])}


def trainable(model):
    return {layer.name for layer in model.layers if layer.trainable_variables}


class Watch(keras.callbacks.Callback):
    """Calls `change(model)` before given epochs, and notes which layers each epoch changed."""

    def __init__(self, change=None):
        super().__init__()
        self.change, self.changed = change or {}, []

    def on_epoch_begin(self, epoch, logs=None):
        self.change.get(epoch, lambda model: None)(self.model)
        self.before = values(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.changed.append(changed(self.before, values(self.model)))


# Freezing.


def test_all_up_to_a_stage_is_frozen_and_nothing_beside_it():
    model = tiny(branch=True)
    assert freeze(model, up_to="stage1") == (
        "Frozen: 4 layers up to stage1_bn with 276 parameters, 2 batch norms in inference mode. "
        "Trained: 271 parameters from early_conv on."
    )
    assert trainable(model) == {"early_conv", "stage2_conv", "stage2_gn", "head"}
    model = tiny(branch=True)
    freeze(model, up_to="stage1_conv")  # a layer: its batch norm comes after it
    assert trainable(model) == {"stage1_bn", "early_conv", "stage2_conv", "stage2_gn", "head"}


def test_without_a_stage_all_but_the_head_is_frozen():
    model = tiny()
    freeze(model)
    assert trainable(model) == {"head"}
    inner = tiny(name="backbone")
    outer = keras.Sequential([keras.Input((8, 8, 3)), inner, layers.Dense(5), layers.BatchNormalization()])
    text = freeze(outer)
    assert trainable(outer) == {outer.layers[1].name, outer.layers[2].name} and not inner.trainable_variables
    assert "Frozen: 7 layers up to head" in text and "2 batch norms" in text
    inner.trainable = True
    freeze(inner, "stage1")  # so that the flags of the model inside and of its layers differ
    unfreeze(outer, batch_norm=False)
    assert trainable(inner) == {"stem_conv", "stage1_conv", "stage2_conv", "stage2_gn", "head"}


def test_a_frozen_batch_norm_is_in_inference_mode_and_a_group_norm_is_as_ever():
    model, twin = tiny(), tiny()
    freeze(model)
    before = values(model)
    out, expected = (np.array(one(IMAGES, training=training)) for one, training in ((model, True), (twin, False)))
    assert np.array_equal(out, expected) and not changed(before, values(model))
    assert np.abs(np.array(twin(IMAGES, training=True)) - expected).max() > 1e-3


def test_unfreezing_begins_with_a_stage_and_may_leave_batch_norms():
    model = tiny(branch=True)
    freeze(model)
    unfreeze(model, from_="stage2")
    assert trainable(model) == {"early_conv", "stage2_conv", "stage2_gn", "head"}
    unfreeze(model, from_="stage1", batch_norm=False)
    assert trainable(model) == {"early_conv", "stage1_conv", "stage2_conv", "stage2_gn", "head"}
    assert unfreeze(model, batch_norm=False).endswith("; 2 batch norms in inference mode.")
    assert unfreeze(model).endswith("parameters, nothing is frozen.")
    model.trainable = False  # the flag of the model itself
    unfreeze(model, from_="head")
    assert [variable.path for variable in model.trainable_variables] == ["head/kernel", "head/bias"]


BAD = {
    "stage": (lambda: freeze(tiny(), "stage3"), "tiny has no stage or layer 'stage3'; did you mean stage"),
    "stage of unfreeze": (lambda: unfreeze(tiny(), "layer9"), "Its layers begin with: input"),
    "model": (lambda: freeze("resnet18"), "Wanted a functional or sequential keras.Model that is built"),
    "not built": (lambda: freeze(keras.Sequential([layers.Dense(3)])), "that is built"),
    "factor": (lambda: stage_rates(tiny(), 0), "factor must be a number above 0"),
    "names": (lambda: stage_rates(keras.Sequential([
        keras.Input((3,)), layers.Dense(2, name="a_1"), layers.Dense(2, name="b_1"), layers.Dense(2, name="a_2"),
    ]), 0.5), "those that begin with 'a' do not follow one another"),
    "two ways": (lambda: GradualUnfreezing(every=1, patience=1), "Wanted one way to tell when to unfreeze"),
    "no way": (lambda: GradualUnfreezing(["stage2"]), "Wanted one way to tell when to unfreeze"),
    "every": (lambda: GradualUnfreezing(every=0), "every must be a positive number of epochs; got 0"),
    "epochs": (lambda: GradualUnfreezing({-1: "stage2"}), "with epochs counted from 0"),
    "stages": (lambda: GradualUnfreezing("stage2", every=1), "stages must be {epoch: stage}, a list of stages"),
    "fine_tune's epochs": (lambda: fine_tune(tiny(), (IMAGES, LABELS), epochs=3), "epochs must be (of the head, of"),
    "rate": (lambda: fine_tune(tiny(), (IMAGES, LABELS), learning_rate=0.1), "learning_rate must be (of the head"),
    "gradual": (lambda: fine_tune(tiny(), (IMAGES, LABELS), gradual=True), "gradual must be a kerazoo.train.Gradual"),
    "data": (lambda: fine_tune(tiny(), IMAGES), "got an array (48, 8, 8, 3) without labels"),
    "lengths": (lambda: fine_tune(tiny(), (IMAGES, LABELS[:3])), "arrays of one length"),
    "generator": (lambda: fine_tune(tiny(), iter([(IMAGES, LABELS)])), "that can be gone through again"),
    "labels": (lambda: fine_tune(tiny(), (IMAGES, LABELS / 2)), "Labels must be integers (batch,), or one-hot"),
    "optimizer": (lambda: fine_tune(tiny(), (IMAGES, LABELS), optimizer="adamx"), "Unknown optimizer 'adamx'"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_mistakes_are_answered_in_a_sentence(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


# In the middle of fit.


def check_changes_take_effect_in_fit_and_momentum_stays():
    stem, stage1, rest = {"stem_conv", "stem_bn"}, {"stage1_conv", "stage1_bn"}, {"stage2_conv", "stage2_gn", "head"}

    def momentum(model):
        (found,) = [variable for variable in model.optimizer.variables if "head_kernel" in variable.path]
        return np.array(keras.ops.convert_to_numpy(found))

    def frozen(model):
        before = momentum(model)
        freeze(model, "stage1")
        assert np.abs(before).max() > 0 and np.array_equal(momentum(model), before)

    for make in (lambda model: keras.optimizers.SGD(0.05, momentum=0.9),
                 lambda model: optimizer(model, "sgd", 0.05, weight_decay=1e-4, verbose=False)):
        model = tiny()
        model.compile(make(model), LOSS)
        watch = Watch({
            1: frozen, 2: lambda model: unfreeze(model, "stage1"), 3: lambda model: unfreeze(model, batch_norm=False),
        })
        model.fit(IMAGES, LABELS, batch_size=16, epochs=4, verbose=0, callbacks=[watch])
        assert watch.changed == [
            {*stem, *stage1, *rest}, rest, {*stage1, *rest}, {"stem_conv", "stage1_conv", *rest},
        ]
        assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 12


def check_other_layers_of_the_same_shapes_are_no_old_trace():
    x = image = keras.Input((4,))
    for name in ("a", "b"):
        x = layers.Dense(4, name=name)(x)
    x = layers.BatchNormalization(center=False, scale=False, name="norm")(x)
    model = keras.Model(image, layers.Dense(1, name="head")(x))
    freeze(model, "a")
    model.compile(keras.optimizers.SGD(0.1), "mse")

    def swap(model):
        model.get_layer("a").trainable, model.get_layer("b").trainable = True, False
        unfreeze(model, "norm")

    watch = Watch({1: swap, 2: lambda model: freeze(model, "norm")})
    model.fit(RNG.random((8, 4)), RNG.random((8, 1)), epochs=3, verbose=0, callbacks=[watch])
    assert watch.changed == [{"b", "norm", "head"}, {"a", "norm", "head"}, {"head"}]


# Gradual unfreezing.


def check_stages_are_unfrozen_by_epoch_or_when_validation_stalls():
    top, middle = {"head"}, {"head", "stage2_conv", "stage2_gn"}
    low = {*middle, "stage1_conv", "stage1_bn"}

    class Always(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["always"] = 1.0

    for gradual, expected in (
        (GradualUnfreezing({0: "stage2", 2: "stage1"}), [middle, middle, low]),
        (GradualUnfreezing(every=2, batch_norm=False), [top, top, middle]),
        # What nothing makes better stalls in each epoch but the first.
        (GradualUnfreezing(["stage1"], patience=1, monitor="always"), [top, top, low]),
    ):
        model = tiny()
        freeze(model)
        model.compile(optimizer(model, "sgd", 0.05, verbose=False), LOSS)
        watch = Watch()
        model.fit(IMAGES, LABELS, batch_size=16, epochs=3, verbose=0, callbacks=[Always(), gradual, watch])
        assert watch.changed == expected, gradual.stages


def check_a_run_is_continued_with_what_was_unfrozen():
    import kerazoo

    train, validation, _ = kerazoo.data.load("mnist_sample", image_size=8, batch_size=16, limit=32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    class Stop(keras.callbacks.Callback):
        def __init__(self, at):
            super().__init__()
            self.at = at

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            if (self.epoch, batch) == self.at:
                raise KeyboardInterrupt

    def go(folder, stop):
        keras.utils.set_random_seed(3)
        x = image = keras.Input((8, 8, 1))
        for stage in (1, 2):
            x = layers.BatchNormalization(name=f"stage{stage}_bn")(layers.Conv2D(3, 3, name=f"stage{stage}_conv")(x))
        # PyTorch draws without a seed from its global generator, which no checkpoint holds.
        x = layers.Dropout(0.3, seed=1)(layers.Flatten()(x))
        model = keras.Model(image, layers.Dense(10, name="head")(x))
        freeze(model)
        model.compile(optimizer(model, "sgd", 0.01, lr_multipliers=stage_rates(model, 0.5), verbose=False), loss,
                      metrics=["accuracy"])
        try:
            with Run(folder, model, save_every=0) as run:
                model.fit(
                    run.data(train), validation_data=validation, epochs=3, initial_epoch=run.initial_epoch, verbose=0,
                    callbacks=run.callbacks(GradualUnfreezing(every=1), Stop(stop)), shuffle=False,
                )
        except SystemExit:
            return None
        return model

    with tempfile.TemporaryDirectory() as folder:
        whole = go(f"{folder}/whole", None)
        assert whole.get_layer("stage1_conv").trainable
        # After the first batch of the last epoch, in which the last stage was unfrozen.
        assert go(f"{folder}/cut", (2, 1)) is None
        continued = go(f"{folder}/cut", None)
        for one, other in zip(values(whole).values(), values(continued).values()):
            assert np.array_equal(one, other)
        logs = [pathlib.Path(folder, name, "log.csv").read_text() for name in ("whole", "cut")]
        assert logs[0] == logs[1]


def test_gradual_unfreezing_says_what_is_wrong_when_training_begins():
    def fit(gradual, frozen=True, make=keras.optimizers.SGD):
        model = tiny()
        if frozen:
            freeze(model)
        model.compile(make(), LOSS)
        model.fit(IMAGES[:4], LABELS[:4], epochs=1, verbose=0, callbacks=[gradual])
        return model

    with pytest.raises(ValueError, match="no layer of tiny is frozen"):
        fit(GradualUnfreezing(every=1), frozen=False)
    with pytest.raises(ValueError, match="no stage or layer 'stage7'"):
        fit(GradualUnfreezing({0: "stage7"}))
    with pytest.raises(ValueError, match="goes by 'val_loss', which was not logged; there are: loss"):
        fit(GradualUnfreezing(patience=1))
    # One of Keras's own optimizers has no place for what was unfrozen later, and a continued run would begin it anew.
    gradual = GradualUnfreezing(every=1)
    fit(gradual)
    with pytest.raises(ValueError, match="Compile with kerazoo.train.optimizer"):
        gradual.set_state({"unfrozen": ["stage2"], "first": 0, "best": None, "wait": 0})


def test_deeper_stages_have_lower_rates():
    assert stage_rates(tiny(), 0.5) == {"head": 1.0, "stage2_*": 0.5, "stage1_*": 0.25, "stem_*": 0.125}


# fine_tune.


class Batches(keras.utils.PyDataset):
    """Batches in an order that depends on the epoch."""

    def __init__(self):
        super().__init__()
        self.set_epoch(0)

    def set_epoch(self, epoch):
        self.rows = np.random.default_rng(epoch).permutation(48)

    def __len__(self):
        return 3

    def __getitem__(self, place):
        rows = self.rows[place * 16 : place * 16 + 16]
        return IMAGES[rows], LABELS[rows]


def check_features_that_are_kept_change_nothing():
    for data, dropout, policy in (
        (Batches(), 0.5, "float32"), ((IMAGES, LABELS, np.linspace(0, 1, 48)), 0.0, "mixed_bfloat16"),
    ):
        keras.config.set_dtype_policy(policy)
        found = []
        for cache in (None, False):
            model = tiny(dropout=dropout)
            model.compile("adam", LOSS, metrics=["accuracy"])
            history = fine_tune(
                model, data, (IMAGES[:16], LABELS[:16]), epochs=(3, 1), cache=cache, batch_size=16, verbose=0,
                learning_rate=(0.05, 0.01),
            )
            assert history.epoch == [0, 1, 2, 3]
            assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
            found.append((list(values(model).values()), history.history))
        (weights, figures), (weights_without, figures_without) = found
        for name in figures:
            np.testing.assert_allclose(figures[name], figures_without[name], rtol=1e-5 if policy == "float32" else 1e-2)
        for one, other in zip(weights, weights_without):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 if policy == "float32" else 1e-3)
        assert len(set(figures["loss"])) > 2
        # The model is as it was, but for its weights: layers that two models share would have two outputs.
        assert model.get_layer("head").output is model.outputs[0]
    keras.config.set_dtype_policy("float32")


ON_ALL_BACKENDS = {name: check for name, check in list(globals().items()) if name.startswith("check_")}


@pytest.mark.parametrize("check", ON_ALL_BACKENDS.values(), ids=ON_ALL_BACKENDS)
def test_on_tensorflow(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_on_other_backends(backend, run_python):
    if backend == "torch":
        pytest.importorskip("torch")
    run_python(
        "import runpy, sys\nnamespace = runpy.run_path(sys.argv[1])\n"
        "for name, check in namespace['ON_ALL_BACKENDS'].items():\n    print(name, flush=True)\n    check()\n",
        __file__, backend=backend,
    )


def test_the_features_of_an_image_are_computed_once(monkeypatch, capsys):
    from kerazoo.train import cached

    seen = []
    compute = cached.Store.compute

    def count(store, images):
        seen.append(len(images))
        return compute(store, images)

    monkeypatch.setattr(cached.Store, "compute", count)
    fine_tune(tiny(), Batches(), Batches(), epochs=(4, 0), verbose=2)
    assert sum(seen) == 48  # those of validation are the same images
    assert "Features of 96 images, 48 of them different, are computed once: 6 numbers each" in capsys.readouterr().out


def test_features_are_in_memory_once(monkeypatch):
    """Batches hold what the store holds, and where each epoch has other images, nothing of epochs before."""
    from kerazoo.train import cached

    image = keras.Input((8, 8, 3))
    store = cached.Store(keras.Model(image, layers.GlobalAveragePooling2D()(image)), 16)
    data = cached.Features(store, Batches())
    data.set_epoch(1)
    held = {id(row) for row in store.rows.values()}
    assert len(held) == 48 == store.seen and all(id(row) in held for rows, _ in data.batches for row in rows)

    class Noisy(Batches):
        def __getitem__(self, place):
            images, labels = super().__getitem__(place)
            return images + np.uint8(self.epoch), labels

        def set_epoch(self, epoch):
            super().set_epoch(epoch)
            self.epoch = epoch

    for limit in (1000, 60):
        monkeypatch.setattr(cached, "LIMIT", limit * 3 * 4)
        store = cached.Store(store.extractor, 16)
        validation, data = cached.Features(store, [(IMAGES[:9] // 2, LABELS[:9])]), cached.Features(store, Noisy())
        for epoch in (1, 2, 3):
            data.set_epoch(epoch)
        assert len(store.rows) == store.count == 9 and not data.keep
        validation.set_epoch(1)
        assert validation.keep and store.count == 9


@pytest.mark.parametrize("room", [1000, 50])
def test_data_that_are_augmented_get_features_each_time(room, monkeypatch, capsys):
    from kerazoo.train import cached

    monkeypatch.setattr(cached, "LIMIT", room * 6 * 4)

    class Noisy(Batches):
        def __getitem__(self, place):
            images, labels = super().__getitem__(place)
            return images + np.random.default_rng().integers(0, 9, images.shape).astype("uint8"), labels

    fine_tune(tiny(), Noisy(), epochs=(3, 0), verbose=2)
    assert capsys.readouterr().out.count("other images each epoch: their features are computed each time") == 1


def test_augmentation_in_the_model_leaves_no_features_to_keep(capsys):
    def tuned(cache):
        model = tiny(layers.RandomFlip(seed=1, name="flip"))
        fine_tune(model, (IMAGES, LABELS), epochs=(1, 0), cache=cache, verbose=2)
        return capsys.readouterr().out

    assert "Features are not kept: flip draws anew for each batch" in tuned(None)
    assert "Features of 48 images are computed once" in tuned(True)
    assert "Features" not in tuned(False)


def test_too_many_features_are_not_kept(monkeypatch, capsys):
    from kerazoo.train import cached

    monkeypatch.setattr(cached, "LIMIT", 30 * 6 * 4)
    for data in ((IMAGES, LABELS), Batches()):
        fine_tune(tiny(), data, epochs=(1, 0), verbose=2)
        assert "Features are not kept: 6 numbers an image are more than the 0.0 GB" in capsys.readouterr().out


@pytest.mark.parametrize("epochs", [(1, 1), (1, 0)])
def test_a_pattern_of_the_second_part_is_checked_before_the_first(epochs, capsys):
    model = tiny()
    before = values(model)
    with pytest.raises(ValueError, match="lr_multipliers: 'hed' matches no layer with weights; did you mean head"):
        fine_tune(model, (IMAGES, LABELS), epochs=epochs, lr_multipliers={"hed": 2.0})
    assert not changed(before, values(model)) and not capsys.readouterr().out


def test_layers_inside_of_layers_that_are_no_models_are_reached():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.dense, self.norm = layers.Dense(3, name="block_dense"), layers.BatchNormalization(name="block_bn")

        def build(self, shape):
            self.dense.build(shape)
            self.norm.build((None, 3))

        def call(self, x, training=None):
            return self.norm(self.dense(x), training=training)

    image = keras.Input((8,))
    model = keras.Model(image, layers.Dense(2, name="head")(Block()(image)))
    assert "Frozen: 2 layers up to block_bn with 33 parameters, 1 batch norm in inference mode" in freeze(model)
    assert unfreeze(model, batch_norm=False) == "Trained: 35 parameters; 1 batch norm in inference mode."
    block = model.get_layer("block")
    assert block.dense.trainable and not block.norm.trainable


def test_the_best_epoch_of_both_parts_comes_back():
    class Keep(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.weights = {}

        def on_epoch_end(self, epoch, logs=None):
            self.weights[epoch] = self.model.get_weights()

    # A rate that ruins what the head has learned: the best epoch is one of the first part.
    model, keep = tiny(), Keep()
    history = fine_tune(model, (IMAGES, LABELS), (IMAGES, LABELS), epochs=(3, 2), learning_rate=(0.1, 30.0),
                        monitor="val_loss", verbose=0, callbacks=[keep])
    losses = history.history["val_loss"]
    assert np.argmin(losses) < 3 and sorted(keep.weights) == [3, 4]
    assert model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["loss"] == pytest.approx(min(losses), rel=1e-5)


def test_the_rest_is_trained_from_a_stage_on_or_gradually(capsys):
    model = tiny()
    before = values(model)
    fine_tune(model, (IMAGES, LABELS), epochs=(0, 1), from_="stage2", verbose=0)
    assert changed(before, values(model)) == {"stage2_conv", "stage2_gn", "head"}
    capsys.readouterr()
    model = tiny()
    fine_tune(model, (IMAGES, LABELS), epochs=(1, 2), gradual=GradualUnfreezing(every=1), verbose=0)
    assert [line.split(" is trained")[0] for line in capsys.readouterr().out.splitlines()] == [
        "From epoch 2 on, stage2", "From epoch 3 on, stage1",
    ]
    assert trainable(model) == {"stage1_conv", "stage1_bn", "stage2_conv", "stage2_gn", "head"}


def test_labels_tell_the_loss_of_a_model_that_is_not_compiled():
    one_hot = keras.utils.to_categorical(LABELS, 3)
    found = []
    for labels in (LABELS, one_hot):
        model = tiny()
        history = fine_tune(model, (IMAGES, labels), epochs=(1, 1), verbose=0)
        found.append(history.history)
    np.testing.assert_allclose(found[0]["loss"], found[1]["loss"], rtol=1e-5)
    assert isinstance(model.loss, keras.losses.CategoricalCrossentropy) and model.loss.from_logits
    image = keras.Input((8, 8, 3))
    softmax = keras.Model(image, layers.Dense(3, activation="softmax")(layers.Flatten()(layers.Conv2D(2, 3)(image))))
    fine_tune(softmax, (IMAGES, LABELS), epochs=(1, 0), verbose=0)
    assert not softmax.loss.from_logits
    # It can be trained on as it is, though its head was trained by itself.
    unfreeze(softmax)
    softmax.fit(IMAGES, LABELS, epochs=1, verbose=0)
