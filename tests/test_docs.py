"""The pages of docs/ that are generated say what the tables say."""
import pathlib
import runpy

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
