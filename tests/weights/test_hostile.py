"""No weight file can run anything, reach another file, or cost much time or memory: it is refused in a sentence."""
import importlib.util
import json
import pathlib
import subprocess
import sys
import warnings

import pytest

HERE = pathlib.Path(__file__).parent
FLIPS = 400


def neighbor(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = neighbor("hostile").CASES


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Write all files, and let one fresh process read them."""
    folder = tmp_path_factory.mktemp("hostile") / "inside"
    folder.mkdir()
    with warnings.catch_warnings():
        # zipfile finds some names odd; that is the point.
        warnings.simplefilter("ignore", UserWarning)
        for index, write in enumerate(CASES.values()):
            write(folder / str(index))
    before = listing(folder.parent)
    result = subprocess.run(
        [sys.executable, HERE / "worker.py", folder, str(FLIPS)], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr[-3000:]
    report = json.loads(result.stdout)
    own = {"inside/good", "inside/bad", *(f"inside/flip_{kind}" for kind in report["flips"])}
    report["written"] = sorted(listing(folder.parent) - before - own)
    report["cases"] = dict(zip(CASES, report["cases"], strict=True))
    return report


def listing(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_in_a_sentence(name, reports):
    report = reports["cases"][name]
    assert report["kind"] == "WeightsError", report
    message = report["message"]
    assert 30 < len(message) < 600 and message.isprintable() and message.endswith(".")


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_a_hostile_file_is_run_and_no_other_file_opened(name, reports):
    report = reports["cases"][name]
    assert not report["events"] and not report["canary"]


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_costs_little_time_and_memory(name, reports):
    report = reports["cases"][name]
    assert report["seconds"] < 2
    assert report["memory"] < 2 * report["size"] + 200e6


def test_nothing_is_written_anywhere(reports):
    assert reports["written"] == []


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy", "keras_legacy", "keras3"])
def test_a_flipped_bit_is_noticed_or_harmless(kind, reports):
    """Only the zip has checksums. Elsewhere a bit of a number goes unnoticed, and so does a letter of a name: whoever
    loads the arrays into a model compares names and shapes. Reading itself always ends in arrays or a sentence."""
    counts = reports["flips"][kind]
    allowed = {"WeightsError", "the same"}
    if kind != "zip":
        allowed |= {"other numbers or names", "other shapes"}
        assert counts.get("other shapes", 0) < 0.02 * FLIPS
    assert set(counts) <= allowed and sum(counts.values()) == FLIPS
    assert counts["WeightsError"] > 0.03 * FLIPS
