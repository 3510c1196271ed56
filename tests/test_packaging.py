"""What an installed kerazoo consists of."""
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


def test_the_oldest_and_newest_python_are_stated_once_and_alike():
    import configparser

    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    assert config["options"]["python_requires"] == ">=3.10, <3.14"
    assert "(3, 10) <= v <= (3, 13)" in (ROOT / "Makefile").read_text()
    assert "Python 3.10 to 3.13" in (ROOT / "README.md").read_text()
