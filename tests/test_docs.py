"""The pages of docs/ that are generated say what the tables say."""
import pathlib
import re
import runpy

import keras
import pytest

import kerazoo

DOCS = pathlib.Path(__file__).parents[1] / "docs"


def test_the_page_of_the_zoo_is_what_its_script_writes():
    page = runpy.run_path(str(DOCS / "make_zoo.py"))["page"]
    assert (DOCS / "zoo.md").read_text(encoding="utf-8") == page(), "run python docs/make_zoo.py"


def test_the_page_of_the_zoo_names_every_model_and_every_tag():
    text = (DOCS / "zoo.md").read_text(encoding="utf-8")
    for name in kerazoo.list_models():
        assert f"| `{name}` | {kerazoo.facts(name).parameters:,} |" in text
        for tag in kerazoo.list_weights(name):
            assert f"| `{name}` | `{tag.split('/')[1]}`" in text


@pytest.fixture(scope="module")
def augmentation():
    return runpy.run_path(str(DOCS / "make_augmentation.py"))


def test_the_page_of_augmentation_is_what_its_script_writes(augmentation):
    written = (DOCS / "augmentation.md").read_text(encoding="utf-8")
    assert written == augmentation["page"](), "run python docs/make_augmentation.py"


def test_the_page_of_augmentation_names_every_layer_and_every_operation(augmentation):
    from kerazoo.augment.policies import KNOWN

    text = (DOCS / "augmentation.md").read_text(encoding="utf-8")
    layers = set(kerazoo.augment.__all__) - {"AugmentationLayer", "EpochCallback", "preset", "presets"}
    for name in layers:
        assert f"| `{name}(" in text, name
    assert set(KNOWN) == set(augmentation["OPERATIONS"]) and all(f"| `{name}` |" in text for name in KNOWN)
    # As RandAugment's paper has them, table 6 of AutoAugment's appendix.
    assert "| `rotate` | turns about the center | 0° | 10° | 20° | 30° |" in text
    assert "| keeps the upper bits of each level | 8 bits | 7 bits | 5 bits | 4 bits |" in text


def test_the_pictures_of_the_page_are_there_and_small():
    text = (DOCS / "augmentation.md").read_text(encoding="utf-8")
    shown = {DOCS / path for path in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)}
    assert shown == set((DOCS / "augmentation").iterdir())
    assert sum(path.stat().st_size for path in shown) < 600_000


def test_the_training_that_the_readme_shows_learns(tmp_path, monkeypatch):
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"## Training\n\n```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    keras.utils.set_random_seed(0)
    exec(compile(shown.replace('"epochs": 10', '"epochs": 2'), "README.md", "exec"), names)
    assert names["run"].log()["val_accuracy"][-1] > 0.9
