"""The command line that recipes share."""
import sys
import warnings

import keras
import numpy as np
import pytest

import kerazoo.train
from kerazoo.train import recipe, recipe_arguments

DEFAULTS = dict(dataset="cifar10", model="resnet20", epochs=200, batch_size=128, output="runs/resnet20_cifar10")


@pytest.fixture(autouse=True)
def own_hooks(monkeypatch):
    """`recipe_arguments` changes how errors and warnings are shown, for the rest of a script."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def parse(text="", doc="A recipe of 100 %.", **arguments):
    return recipe_arguments(doc, text.split(), **{**DEFAULTS, **arguments})


def refusal(capsys, text, **arguments):
    with pytest.raises(SystemExit) as error:
        parse(text, **arguments)
    assert error.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_defaults_and_options():
    assert vars(parse()) == {
        **DEFAULTS, "limit": None, "seed": 0, "mixed_precision": "float32", "devices": None, "hosts": None,
        "host_index": None, "smoke": False,
    }
    args = parse("--epochs 3 --limit 10 --seed 7 --output here --batch-size=5")
    assert (args.epochs, args.limit, args.seed, args.output, args.batch_size) == (3, 10, 7, "here", 5)


def test_a_recipe_has_options_of_its_own_and_lacks_those_without_default(capsys):
    own = {"--seeds": dict(type=recipe.positive, default=3, help="how many"), "--runs": dict(nargs="+", help="folders")}
    args = recipe_arguments("", ["--runs", "a", "b"], options=own, epochs=1, seeds=4)
    assert args.seeds == 4 and args.runs == ["a", "b"] and not hasattr(args, "model")
    with pytest.raises(SystemExit):
        recipe_arguments("", ["--model", "lenet5"], epochs=1)
    assert "unrecognized arguments: --model lenet5" in capsys.readouterr().err


def test_smoke_replaces_defaults_and_what_is_named_wins():
    smoke = dict(dataset="mnist_sample", epochs=1, limit=512, mixed_precision="float32")
    assert parse(smoke=smoke, mixed_precision="bfloat16").mixed_precision == "bfloat16"
    args = parse("--smoke", smoke=smoke, mixed_precision="bfloat16")
    assert (args.smoke, args.dataset, args.epochs, args.limit) == (True, "mnist_sample", 1, 512)
    assert args.mixed_precision == "float32" and args.batch_size == 128
    # A real run, finished or interrupted, is not touched.
    assert args.output == "runs/resnet20_cifar10_smoke"
    assert parse("--smoke", smoke=dict(output="elsewhere")).output == "elsewhere"
    args = parse("--epochs 2 --smoke --output mine --limit 9", smoke=smoke)
    assert (args.epochs, args.output, args.limit, args.dataset) == (2, "mine", 9, "mnist_sample")


def test_help_shows_the_docstring_and_every_default(capsys):
    with pytest.raises(SystemExit) as error:
        parse("--help", smoke={}, options={"--magnitude": dict(type=float, default=15, help="of RandAugment")})
    text = " ".join(capsys.readouterr().out.split())
    assert error.value.code == 0 and "A recipe of 100 %." in text
    parts = ("(default: resnet20)", "(default: 200)", "of RandAugment (default: 15)", "--smoke", "--devices", "--hosts")
    for part in parts:
        assert part in text
    with pytest.raises(SystemExit):
        parse("--help", epochs=None)
    text = " ".join(capsys.readouterr().out.split())
    assert "training images (default: the plan's)" in text and "(default: None)" not in text


MISTAKES = {
    "unknown": ("--epoch 3", "unrecognized arguments: --epoch 3; did you mean --epochs? --help lists the options"),
    "own unknown": ("--magnitud=3", "did you mean --magnitude?"),
    "stray word": ("resnet56", "unrecognized arguments: resnet56"),
    "no smoke": ("--smoke", "unrecognized arguments: --smoke"),
    "zero": ("--limit 0", "argument --limit: wanted a positive whole number, got '0'"),
    "fraction": ("--epochs 1.5", "argument --epochs: wanted a positive whole number, got '1.5'"),
    "seed": ("--seed -1", "argument --seed: wanted a whole number from 0 on, got '-1'"),
    "precision": ("--mixed-precision int8", "invalid choice: 'int8'"),
    "devices": ("--devices many", "argument --devices: wanted a positive whole number or \"all\", got 'many'"),
    "hosts": ("--hosts node0,node1", "argument --hosts: hosts must be like"),
    "port": ("--hosts node0:1,node1:99999", "got 'node1:99999'"),
    "host twice": ("--hosts node0:1,node0:1", "argument --hosts: hosts names 'node0:1' twice"),
    "index": ("--hosts node0:1,node1:1 --host-index 2", "must be from 0 to 1, as --hosts names 2; got 2"),
    "index alone": ("--host-index 1", "give --hosts HOST:PORT,HOST:PORT as well"),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_answered_in_a_sentence(text, message, capsys):
    assert message in refusal(capsys, text, options={"--magnitude": dict(type=float, default=15, help="")})


def test_a_recipe_that_names_options_it_has_not_is_told():
    with pytest.raises(ValueError, match="no option cutmix; it has batch_size, dataset"):
        parse(cutmix=1.0)
    with pytest.raises(ValueError, match="no option seeds"):
        parse(smoke=dict(seeds=1))


def test_devices_come_first_then_the_seed(monkeypatch):
    calls = []
    monkeypatch.setitem(vars(kerazoo.train), "distribute", lambda *given: calls.append((given, np.random.random())))
    np.random.seed(99)
    draw = np.random.random()
    np.random.seed(99)
    parse("--devices all --hosts node0:1234,[::1]:80 --host-index 1 --seed 5")
    assert calls == [(("all", ["node0:1234", "[::1]:80"], 1), draw)]
    assert parse("--devices 2 --hosts auto").hosts == "auto" and calls[1][0] == (2, "auto", None)


def test_the_seed_and_the_precision_are_set():
    draws = []
    for seed in ("--seed 3", "--seed 4", "--seed 3"):
        parse(seed)
        draws.append(keras.initializers.GlorotUniform()((2, 2)).numpy().tolist())
    assert draws[0] == draws[2] != draws[1]
    parse("--mixed-precision")
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
