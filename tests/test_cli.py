import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import kerazoo
from kerazoo import cli


@pytest.fixture(autouse=True)
def own_hook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def test_list_shows_the_models_that_match(capsys):
    cli.main(["list", "vgg1*_bn"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["model", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert "138,365,992" in lines[3] and "73.36" in lines[3]
    cli.main(["list", "--family", "lenet"])
    assert "lenet5_1998" in (said := capsys.readouterr().out) and " 417 k " in said


def test_show_gives_facts_paper_and_layers(capsys):
    cli.main(["show", "lenet5"])
    output = capsys.readouterr().out
    for text in ("61,706 trainable", "https://doi.org/10.1109/5.726791", "stage2_conv", "10 x 10 x 16", "240,000"):
        assert text in output


def test_predict_names_the_best_classes(tmp_path, capsys):
    model = kerazoo.lenet5(classes=3, input_shape=(28, 28, 1))
    kerazoo.export(model, tmp_path / "model", class_names=["cat", "dog", "eel"], verbose=False)
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype="uint8")
    Image.fromarray(pixels).save(tmp_path / "image.png")
    cli.main(["predict", str(tmp_path / "model"), str(tmp_path / "image.png"), "--top", "2"])
    (line,) = capsys.readouterr().out.strip().splitlines()
    best = np.argsort(-np.asarray(model(pixels[None, ..., None]))[0])
    names = ["cat", "dog", "eel"]
    assert line.startswith(f"{tmp_path / 'image.png'}: {names[best[0]]} ") and f", {names[best[1]]} " in line

    (tmp_path / "broken.png").write_bytes((tmp_path / "image.png").read_bytes()[:60])
    with pytest.raises(ValueError, match="1 of 2 images could not be classified"):
        cli.main(["predict", str(tmp_path / "model"), str(tmp_path / "broken.png"), str(tmp_path / "image.png")])
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path / 'image.png'}: {names[best[0]]} ")
    assert "error: " in said.err and "broken.png cannot be decoded" in said.err

    np.save(tmp_path / "scaled.npy", (pixels / 255).astype("float32")[..., None])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        cli.main(["predict", str(tmp_path / "model"), str(tmp_path / "scaled.npy")])
    warning = capsys.readouterr().err
    assert "warning: " in warning and "scaled.npy: pixel values lie between 0 and 1" in warning


def test_convert_says_what_it_wrote(tmp_path, capsys):
    model = kerazoo.lenet5(classes=3)
    kerazoo.save_weights(model, tmp_path / "mine.safetensors")
    target = tmp_path / "lenet5.weights.h5"
    file = str(tmp_path / "mine.safetensors")
    cli.main(["convert", file, "--model", "lenet5", "--to", "keras", "--output", str(target)])
    assert f"{target}: lenet5, 3 classes" in capsys.readouterr().out
    again = kerazoo.lenet5(classes=3, weights=target)
    for mine, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_show_lists_the_published_weights_and_what_differs(capsys):
    cli.main(["show", "densenet161"])
    output = capsys.readouterr().out
    assert '"imagenet/tv_in1k" (default): top-1 77.138 % at 224 pixels, bsd-3-clause' in output
    assert "differs     not in the paper's tables" in output


def test_show_tells_large_work_in_words(capsys):
    cli.main(["show", "vgg16"])
    assert "MACs        15.47 G an image" in capsys.readouterr().out


def test_compare_puts_models_and_files_beside_each_other(tmp_path, capsys):
    model = kerazoo.lenet5(classes=3, name="mine")
    model.save(tmp_path / "mine.keras")
    picture = tmp_path / "figure.PNG"
    cli.main(["compare", "resnet20", "resnet32", str(tmp_path / "mine.keras"), "--picture", str(picture)])
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[2:5]] == ["resnet20", "resnet32", "mine"]
    assert f"Drawn: {picture}; not in it: {tmp_path / 'mine.keras'} (no accuracy is published)" in said
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_compare_draws_what_is_published_and_names_the_rest(tmp_path, capsys):
    picture = tmp_path / "figure.png"
    cli.main(["compare", "lenet5", "resnet20", "resnet32", "alexnet", "--picture", str(picture)])
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[2:6]] == ["lenet5", "resnet20", "resnet32", "alexnet"]
    assert said[-1] == (
        f"Drawn: {picture}; not in it: lenet5 (no accuracy is published), alexnet (published on ImageNet-1k)"
    )
    picture.unlink()
    with pytest.raises(ValueError, match="--picture: nothing to draw, as no accuracy is published of mlp, lenet5."):
        cli.main(["compare", "mlp", "lenet5", "--picture", str(picture)])
    # The table has come all the same.
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[2:4]] == ["mlp", "lenet5"] and not picture.exists()


def test_a_file_that_was_cut_short_is_told_from_one_that_is_not_there(tmp_path):
    file = tmp_path / "best.keras"
    kerazoo.lenet5(classes=3).save(file)
    file.write_bytes(file.read_bytes()[:20_000])
    for arguments in (["compare", str(file)], ["export", str(file)], ["export", str(tmp_path)]):
        with pytest.raises(ValueError, match="best.keras is not a .keras file, or damaged"):
            cli.main(arguments)
    with pytest.raises(ValueError, match="best.keras is not a .keras file, or damaged"):
        kerazoo.load_model(file)


def test_report_writes_a_page(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    model = kerazoo.lenet5(classes=3, input_shape=(28, 28, 1))
    model.save(run / "best.keras")
    (run / "log.csv").write_text("epoch,loss,val_loss\n0,1.5,1.4\n1,1.2,1.1\n", encoding="utf-8")
    cli.main(["report", str(run)])
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
    (run / "best.keras").write_bytes((run / "best.keras").read_bytes()[:3000])
    cli.main(["report", str(run), "--output", str(tmp_path / "page.html")])
    told = capsys.readouterr()
    assert told.out.strip() == str(tmp_path / "page.html") and (tmp_path / "page.html").is_file()
    assert f"{run}: A file: best.keras cannot be read: it is damaged, or was cut short." in told.err


CALLS = {
    "compare a file that is not there": (["compare", "nothere.keras"], "error: There is no file nothere.keras."),
    "compare no model": (["compare", "resnet81"], "error: Unknown model 'resnet81'; did you mean"),
    "a picture into no folder": (
        ["compare", "lenet5", "--picture", "nowhere/x.png"], "error: --picture: there is no folder nowhere."),
    "a picture of another kind": (["compare", "lenet5", "--picture", "x.gif"], "error: --picture: got 'x.gif', wanted"),
    "no such run": (["report", "nowhere"], "error: "),
    "unknown model": (["show", "resnet81"], "error: Unknown model 'resnet81'; did you mean"),
    "no model matches": (["list", "resnte*"], "error: No model matches 'resnte*'; did you mean"),
    "unknown recipe": (["train", "lenet"], "error: Unknown recipe 'lenet'"),
    "no such export": (["predict", "nowhere", "image.png"], "error: "),
    "no such weights": (["convert", "nowhere.pth", "--model", "resnet18", "--to", "keras"], "There is no weight file"),
    "convert to nothing known": (["convert", "a.pth", "--model", "lenet5", "--to", "onnx"], "invalid choice: 'onnx'"),
    "unknown command": (["trian"], "invalid choice: 'trian'"),
}


@pytest.mark.parametrize(("arguments", "message"), CALLS.values(), ids=CALLS)
def test_errors_are_messages_without_a_traceback(arguments, message, run_python):
    code = "import sys; from kerazoo.cli import main; sys.exit(main(sys.argv[1:]))"
    result = run_python(code, *arguments, check=False)
    assert result.returncode in (1, 2)
    assert message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("defect", ["int('ten')", "from kerazoo.registry import natural_order; natural_order(3)"])
def test_other_errors_keep_their_traceback(defect, run_python):
    code = f"from kerazoo.errors import plain_errors; plain_errors(); {defect}"
    assert "Traceback" in run_python(code, check=False).stderr


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m kerazoo list | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stdout.startswith("model") and result.stderr == ""


def test_train_without_a_recipe_names_the_recipes(capsys):
    assert cli.main(["train"]) == 2
    assert "lenet5_mnist" in capsys.readouterr().out


def test_train_hands_options_on_to_the_recipe(run_python):
    code = "import sys; from kerazoo.cli import main; sys.exit(main(['train', 'lenet5_mnist', *sys.argv[1:]]))"
    assert "--mixed-precision" in run_python(code, "--help").stdout
    result = run_python(code, "--epochs", "ten", check=False)
    assert result.returncode == 2 and "wanted a positive whole number, got 'ten'" in result.stderr
