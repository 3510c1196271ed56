"""The pages of docs/course say what kerazoo does: their examples are run, and their tables recomputed."""
import doctest
import pathlib
import re

import keras
import pytest

import kerazoo

COURSE = pathlib.Path(__file__).parents[1] / "docs" / "course"
PAGES = sorted(COURSE.glob("*.md"))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(text, name="page"):
    """The examples of a page's ```pycon blocks as one doctest; its line numbers are those of the page."""
    inside, kept = False, []
    for line in text.splitlines():
        if line.startswith("```"):
            inside = line == "```pycon"
            line = ""
        kept.append(line if inside else "")
    return doctest.DocTestParser().get_doctest("\n".join(kept) + "\n", {}, name, name, 0)


def failures(text, name="page"):
    """What the examples answer where it is not what the page says; "" if all is as it says."""
    told = []
    doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(examples(text, name), out=told.append)
    return "".join(told)


LONG = ("schedules", "transfer", "initialization", "regularization")


@pytest.mark.parametrize("page", [
    pytest.param(page, marks=pytest.mark.slow if page.stem in LONG else (), id=page.stem) for page in PAGES
])
def test_the_examples_of_the_page_answer_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    told = failures(page.read_text(encoding="utf-8"), page.name)
    assert not told, told


def test_a_wrong_answer_on_a_page_would_be_told():
    page = "Text.\n\n```pycon\n>>> import kerazoo\n>>> kerazoo.conv_output_size(32, 5)\n{}\n```\n"
    assert not failures(page.format(28))
    assert "page\", line 5" in failures(page.format(27)) and "Got:\n    28" in failures(page.format(27))


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_page_has_examples_that_are_run_and_links_that_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    assert examples(text).examples
    assert set(re.findall(r"^```(.*)$", text, re.MULTILINE)) <= {"", "pycon", "text", "sh"}  # no code that is not run
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert targets and all((COURSE / target).exists() for target in targets)


def test_the_index_names_every_page():
    text = (COURSE / "README.md").read_text(encoding="utf-8")
    assert {COURSE / link for link in re.findall(r"\]\((\w[\w-]*\.md)\)", text)} == {*PAGES} - {COURSE / "README.md"}


def table_of_architectures():
    """{model: (parameters, MACs, top-1, field)} as the page of architectures shows them."""
    text = (COURSE / "architectures.md").read_text(encoding="utf-8")
    row = r"^\| `(\w+)` \| ([\d,]+) \| ([\d.]+ [MG]) \| (?:([\d.]+) \w[\w-]*)? \| (\S+) \|$"
    rows = re.findall(row, text, re.MULTILINE)
    return {name: cells for name, *cells in rows}


def test_the_table_of_architectures_is_that_of_the_facts():
    rows = table_of_architectures()
    assert len(rows) == (COURSE / "architectures.md").read_text(encoding="utf-8").count("\n| `")
    assert {kerazoo.facts(name).family for name in rows} == set(kerazoo.list_families()) - {"baseline"}
    for name, (parameters, macs, top1, _) in rows.items():
        facts = kerazoo.facts(name)
        number, unit = macs.split()
        assert parameters == f"{facts.parameters:,}", name
        assert f"{float(number):.3g}" == f"{facts.gmacs * {'M': 1e3, 'G': 1}[unit]:.3g}", name
        assert (float(top1) if top1 else None) == facts.top1, name


@pytest.mark.slow
def test_the_receptive_fields_of_the_table_are_those_of_the_models():
    for name, (*_, field) in table_of_architectures().items():
        analysis = kerazoo.analyze(kerazoo.create_model(name))
        gated = "*" * any(row.gated for row in analysis.rows)
        assert field == f"{analysis.receptive_field[0]:,}{gated}", name
        keras.backend.clear_session()
