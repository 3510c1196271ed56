"""All or nothing: an export that fails leaves no trace, and an earlier one as it was."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import keras
import pytest

import kerazoo.export
from kerazoo.export import formats, placing, verify

ROOT = pathlib.Path(kerazoo.export.__file__).parents[2]


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])


@pytest.fixture
def unchecked(monkeypatch):
    """Leave the check in a fresh process out, where it is not what is tested."""
    monkeypatch.setattr(verify, "compare", lambda *_: (0.0, 1, 1))


@pytest.fixture
def earlier(model, tmp_path, unchecked):
    return kerazoo.export(model, tmp_path / "model", verbose=False)


def content(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_an_earlier_saved_model_is_replaced_whole(model, earlier, tmp_path):
    (earlier / "assets" / "of_before.txt").touch()
    kerazoo.export(model, earlier, class_names=["a", "b", "c"], verbose=False)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert sorted(os.listdir(earlier / "assets")) == ["class_names.txt", "preprocessing.json"]
    assert (earlier / "assets" / "class_names.txt").read_text() == "a\nb\nc\n"


def test_a_link_is_followed(model, earlier, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(earlier)
    kerazoo.export(model, link, class_names=["a", "b", "c"], verbose=False)
    assert link.is_symlink() and (earlier / "assets" / "class_names.txt").read_text() == "a\nb\nc\n"


def test_others_may_read_what_the_umask_lets_them(earlier):
    os.umask(mask := os.umask(0o022))
    assert earlier.stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("the export disagrees")])
def test_what_fails_before_the_swap_leaves_the_earlier_export(error, model, earlier, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    before = content(tmp_path)
    monkeypatch.setattr(verify, "compare", fail)
    for path in (earlier, tmp_path / "new"):
        with pytest.raises(error if isinstance(error, type) else type(error)):
            kerazoo.export(model, path)
    assert content(tmp_path) == before and os.listdir(tmp_path) == ["model"]


def test_two_folders_change_places_in_one_step(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not placing.exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this system cannot exchange two folders")
    assert os.listdir(tmp_path / "one") == ["other"] and os.listdir(tmp_path / "other") == ["one"]


def test_what_a_killed_export_left_is_removed_by_the_next(model, earlier, tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from kerazoo.export import placing\n"
        "with placing.written_aside(pathlib.Path(sys.argv[1]), None, 0) as aside:\n"
        "    (aside / 'new' / 'half').write_text('written')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    before = content(earlier)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, earlier], env=environment)
    assert len(os.listdir(tmp_path)) == 2 and content(earlier) == before
    # One that is under way, and stays.
    with placing.written_aside(tmp_path / "model", formats.FORMATS["tf_saved_model"], 0) as aside:
        kerazoo.export(model, earlier, verbose=False)
        assert sorted(os.listdir(tmp_path)) == sorted([aside.name, "model"])
        (aside / "new" / "model").mkdir()


def test_what_somebody_put_there_meanwhile_stays(model, tmp_path, monkeypatch):
    def compare(*_):
        (tmp_path / "new" / "model").mkdir(parents=True)
        (tmp_path / "new" / "model" / "thesis.txt").write_text("mine")
        return 0.0, 1, 1

    monkeypatch.setattr(verify, "compare", compare)
    (tmp_path / "new").mkdir()
    with pytest.raises(FileExistsError, match="the folder holds thesis.txt"):
        kerazoo.export(model, tmp_path / "new" / "model")
    assert content(tmp_path / "new") == {"model/thesis.txt": b"mine"} and len(os.listdir(tmp_path / "new")) == 1


def test_a_failed_export_leaves_no_new_folders(model, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("the export disagrees")

    monkeypatch.setattr(verify, "compare", fail)
    with pytest.raises(RuntimeError):
        kerazoo.export(model, tmp_path / "a" / "b" / "model")
    assert os.listdir(tmp_path) == []


def test_a_swap_of_two_steps_that_was_killed_between_them_is_undone(model, earlier, tmp_path):
    os.rename(earlier, placing.previous_of(earlier))
    with pytest.raises(RuntimeError), placing.written_aside(earlier, formats.FORMATS["tf_saved_model"], 0):
        raise RuntimeError
    assert os.listdir(tmp_path) == ["model"]


def test_several_exports_to_one_place_do_not_disturb_each_other(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from kerazoo.export import placing\n"
        "class format: suffixes, content, marks, title = (), {'mark'}, {'mark'}, 'an export'\n"
        "for _ in range(150):\n"
        "    with placing.written_aside(pathlib.Path(sys.argv[1]), format, 0) as aside:\n"
        "        (aside / 'new' / 'model').mkdir()\n"
        "        (aside / 'new' / 'model' / 'mark').touch()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    several = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "model"], env=environment) for _ in range(3)]
    assert [one.wait() for one in several] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("the disk is gone")])
def test_a_swap_that_fails_halfway_is_undone(error, model, earlier, tmp_path, monkeypatch):
    before, rename = content(tmp_path), os.rename
    monkeypatch.setattr(placing, "exchange", lambda *_: False)  # a system that cannot do it in one step

    def fail_once(source, destination):
        if os.path.basename(source) == "model" and ".tmp-" in str(source):
            raise error
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        kerazoo.export(model, earlier)
    assert content(tmp_path) == before and os.listdir(tmp_path) == ["model"]


def test_an_export_that_disagrees_with_its_model_is_not_kept(tmp_path):
    class Noise(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(1)

        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), seed=self.seed)

    layers = [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(3)]
    with pytest.raises(RuntimeError, match="disagrees with the model: [a-z_0-9]+ differs by .*random numbers"):
        kerazoo.export(keras.Sequential([*layers, Noise()]), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_an_export_that_cannot_be_loaded_is_not_kept(model, tmp_path, monkeypatch):
    def empty(module, folder, signatures, options):
        os.makedirs(os.path.join(folder, "assets.extra"))

    monkeypatch.setattr(formats.tf.saved_model, "save", empty)
    with pytest.raises(RuntimeError, match="(?s)could not be loaded and run in a fresh process.*a folder that holds"):
        kerazoo.export(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on file sizes on this system")
def test_a_full_disk_leaves_nothing_behind(tmp_path):
    code = (
        "import resource, signal, sys, keras, kerazoo.export, kerazoo.export.formats\n"
        "model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(5000)])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "kerazoo.export(model, sys.argv[1])\n"
    )
    path = tmp_path / "folder" / "model"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, env=environment)
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith(f"OSError: could not write the model to {path}: ")
    assert "It takes about 1.30 MB; that disk has " in message and "MB free. Free some space" in message
    assert not path.parent.exists()


def test_too_little_room_is_seen_before_writing(model, earlier, tmp_path, monkeypatch):
    before = content(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 900, 100))
    with pytest.raises(OSError, match="No space left on device.*about 0.00 MB; that disk has 0.00 MB free.*untouched"):
        kerazoo.export(model, earlier)
    assert content(tmp_path) == before


def make_file(folder):
    (folder / "model").write_text("mine")
    return folder / "model", FileExistsError, "a file of that name exists"


def make_file_above(folder):
    (folder / "file").write_text("mine")
    return folder / "file" / "model", NotADirectoryError, "file is a file, not a folder"


def make_other_content(folder):
    (folder / "model").mkdir()
    (folder / "model" / "thesis.tex").write_text("mine")
    return folder / "model", FileExistsError, "holds thesis.tex, and only a SavedModel exported earlier is replaced"


def make_mixed_content(folder):
    (folder / "model").mkdir()
    (folder / "model" / "saved_model.pb").write_text("mine")
    (folder / "model" / "thesis.tex").write_text("mine")
    return folder / "model", FileExistsError, "the folder holds thesis.tex"


def make_look_alike(folder):
    (folder / "model" / "assets").mkdir(parents=True)
    return folder / "model", FileExistsError, "the folder holds assets"


@pytest.mark.parametrize("make", [make_file, make_file_above, make_other_content, make_mixed_content, make_look_alike])
def test_what_is_not_a_saved_model_is_not_replaced(make, model, tmp_path, unchecked):
    path, error, message = make(tmp_path)
    before = content(tmp_path)
    with pytest.raises(error, match=message):
        kerazoo.export(model, path)
    assert content(tmp_path) == before


def test_a_parent_that_cannot_be_written(model, tmp_path, monkeypatch, unchecked):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(placing.tempfile, "mkdtemp", refuse)
    with pytest.raises(
        PermissionError, match=f"cannot write into the folder {tmp_path}: Permission denied. Choose a path"
    ):
        kerazoo.export(model, tmp_path / "model")


@pytest.mark.parametrize(
    "path, error, message",
    [
        (3, TypeError, "path must be the place.*got 3"),
        ("", TypeError, "got ''"),
        ("gs://a/b", ValueError, "local place"),
    ],
)
def test_a_path_that_is_none(path, error, message, model):
    with pytest.raises(error, match=message):
        kerazoo.export(model, path)
