"""Every recipe: the commands that its docstring names, and `--smoke`, as a user runs it, in a process of its own."""
import ast
import json
import os
import pathlib
import re
import runpy
import subprocess
import sys
import warnings

import pytest

import kerazoo.train

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = {path.stem: path for path in sorted((ROOT / "recipes").glob("*.py")) if path.stem != "__init__"}
# Recipe -> what it leaves besides test.json.
LEAVES = {
    "mlp_vs_cnn": ["shifts.png", "report.html", "mlp/best.keras", "cnn_mnist/best.keras"],
    "ensemble": ["report.html", "seed0/best.keras", "seed1/best.keras"],
    "resnet20_cifar10": ["best.keras", "log.csv", "curves.png", "diagnosis.json", "report.html"],
    "augmentation_cifar10": ["crop_flip.png"],
    "cnn_mnist": ["best.keras", "log.csv", "curves.png", "diagnosis.json", "report.html"],
    "densenet_bc_cifar10": ["best.keras", "log.csv", "curves.png", "diagnosis.json", "report.html"],
    "imagenet": ["best.keras", "log.csv", "curves.png", "diagnosis.json", "report.html"],
    "lenet5_mnist": ["best.keras", "log.csv", "curves.png", "diagnosis.json", "report.html", "mistakes.png"],
    "resnet18_cifar10": ["best.keras", "log.csv", "curves.png", "diagnosis.json", "report.html"],
    "vgg16_bn_cifar10": ["best.keras", "log.csv", "curves.png", "diagnosis.json", "report.html"],
    "wide_resnet_cifar10": ["best.keras", "log.csv", "curves.png", "diagnosis.json", "report.html"],
}
BACKENDS = {"mlp_vs_cnn": "jax"}  # the others: TensorFlow
TESTED_ELSEWHERE = {"finetune_resnet18", "lr_find"}


def run(name, folder, *options, backend="tensorflow"):
    result = subprocess.run(
        [sys.executable, str(RECIPES[name]), *options], cwd=folder, text=True, capture_output=True, timeout=1800,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_no_recipe_goes_untested_or_undocumented():
    assert set(RECIPES) <= {*LEAVES, *TESTED_ELSEWHERE}
    page = (ROOT / "docs" / "recipes.md").read_text()
    assert all(f"(../recipes/{name}.py)" in page for name in RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_the_commands_of_the_docstring_are_understood(name, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setitem(vars(kerazoo.train), "distribute", lambda *given: None)

    class Parsed(Exception):
        pass

    def only_parse(*arguments, real=kerazoo.train.recipe_arguments, **named):
        raise Parsed(real(*arguments, **named))

    monkeypatch.setitem(vars(kerazoo.train), "recipe_arguments", only_parse)
    text = ast.get_docstring(ast.parse(RECIPES[name].read_text()))
    commands = re.findall(rf"^ *python recipes/{name}\.py *([^#\n]*)", text, re.MULTILINE)
    assert commands, "the docstring names no command"
    for command in [*commands, "--smoke"]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *command.split()])
        with pytest.raises(Parsed) as parsed:
            runpy.run_path(str(RECIPES[name]), run_name="__main__")
        (args,) = parsed.value.args
        # Smoke runs need no network and touch no real run.
        assert not args.smoke or args.output == f"runs/{name}_smoke"
        if "--smoke" in command:
            assert args.dataset == "mnist_sample"


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAVES)
def test_smoke(name, tmp_path):
    output = run(name, tmp_path, "--smoke", backend=BACKENDS.get(name, "tensorflow"))
    folder = tmp_path / "runs" / f"{name}_smoke"
    assert set(os.listdir(tmp_path)) <= {"runs", "saved_models"} and os.listdir(tmp_path / "runs") == [folder.name]
    for file in LEAVES[name]:
        assert (folder / file).stat().st_size > 0, file
    if name != "augmentation_cifar10":
        result = json.loads((folder / "test.json").read_text())
        assert result["smoke"] is True and result["dataset"] == "mnist_sample" and result["images"] <= 500
        # Where there is one figure, it is printed.
        if "accuracy" in result:
            assert 0 <= result["accuracy"] <= 1
            count, percent = f"{result['images']:,}", f"{100 * result['accuracy']:.2f} %"
            assert re.search(rf"ccuracy: {percent} of {count} (test |validation )?images", output)


def test_the_table_of_an_ensemble_is_that_of_its_answers(tmp_path):
    """Runs that are there already are taken as they are."""
    import keras
    import numpy as np

    probabilities = []
    for seed, name in enumerate(("a", "b")):
        keras.utils.set_random_seed(seed)
        model = kerazoo.lenet5(input_shape=(28, 28, 1))
        (tmp_path / name).mkdir()
        model.save(tmp_path / name / "best.keras")
        images, labels = kerazoo.data.arrays(kerazoo.data.load("mnist_sample", "test", limit=100))
        probabilities.append(keras.ops.convert_to_numpy(keras.ops.softmax(model(images))))
    output = run("ensemble", tmp_path, "--runs", "a", "b", "--limit", "100")
    written = json.loads((tmp_path / "runs/ensemble/test.json").read_text())["results"]
    expected = dict(zip(("a", "b", "ensemble of 2"), [*probabilities, np.mean(probabilities, axis=0)]))
    for name, answer in expected.items():
        accuracy = (answer.argmax(-1) == labels).mean()
        loss = -np.log(answer[np.arange(100), labels]).mean()
        assert written[name] == pytest.approx({"accuracy": accuracy, "loss": loss}, rel=1e-4)
        assert re.search(rf"^{name} +{100 * accuracy:.2f} % +-{loss:.4f}$", output, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["a3", "a2"])
def test_the_plans_of_imagenet(plan, tmp_path):
    output = run("imagenet", tmp_path, "--smoke", "--plan", plan, backend="jax" if plan == "a2" else "tensorflow")
    assert "LAMB" in output and "Accuracy: " in output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20_cifar10", "densenet_bc_cifar10"])
def test_the_plans_of_the_papers(name, tmp_path):
    output = run(name, tmp_path, "--smoke", "--plan", "paper", backend="jax")
    assert "0.0001" in output and "Test accuracy: " in output
