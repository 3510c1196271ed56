"""What an installed kerazoo consists of."""
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_carries_the_data_and_the_recipes_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("kerazoo-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("__init__.pyi", "py.typed", "published.csv", "data/mnist_sample.npz", "data/MNIST_SAMPLE.md",
                 "recipes/lenet5_mnist.py", "cli.py", "models/resnet.py"):
        assert f"kerazoo/{name}" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kerazoo"}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "kerazoo").rglob("*.py")}
    assert modules <= set(names)

    # In an empty environment, what needs no dependency works: the table of models, and the data is in its place.
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(program, *arguments):
        command = [str(tmp_path / "venv/bin" / program), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    run("python", "-m", "pip", "install", "--quiet", "--no-deps", str(wheel))
    assert "11,689,512" in run("kerazoo", "list", "resnet18")
    assert "lenet5_mnist" in run("kerazoo", "train", "-h")


def test_the_makefile_and_the_readme_name_the_versions_that_pip_accepts():
    import configparser

    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    low, high = (part.strip("<>= ") for part in config["options"]["python_requires"].split(","))
    newest = f"3.{int(high.split('.')[1]) - 1}"
    assert f"Python {low} to {newest}" in (ROOT / "README.md").read_text()
    assert f"({low.replace('.', ', ')}) <= v <= ({newest.replace('.', ', ')})" in (ROOT / "Makefile").read_text()
