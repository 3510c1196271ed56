"""What all tests share. They run on TensorFlow; other backends are tried in fresh processes."""
import importlib.util
import os
import shutil
import subprocess
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import pytest  # noqa: E402


def pytest_configure(config):
    # A warning that kerazoo causes is a defect; what its dependencies say about themselves is theirs.
    config.addinivalue_line("filterwarnings", "error:::kerazoo")


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_iterators():
    """Data sets of tests, and those that Keras makes of arrays, as kerazoo's own are: see kerazoo.data.tensors.untuned.

    Else tests that train wait at random, up to a minute each: tests/train/test_run.py took 436 s so, and 156 s now.
    """
    import tensorflow as tf

    from kerazoo.data.tensors import untuned

    iterate = tf.data.Dataset.__iter__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.data.Dataset, "__iter__", lambda data: iterate(data.with_options(untuned())))
        yield


@pytest.fixture(autouse=True)
def fresh_settings():
    """No test sees the random state or the settings of another."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")


@pytest.fixture(autouse=True, scope="module")
def fresh_memory():
    """Models and traces of one file do not pile up beside those of the next; slow, so not after every test."""
    yield
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def chromium():
    """A browser, for pages of ours; Chromium's own business stays off the net."""
    library = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    options = (
        "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    )
    with library.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def run_python():
    """Run code in a fresh interpreter: run_python(code, backend="jax", **environment) -> its output.

    The test is skipped where the backend is not installed: `make setup` brings TensorFlow and JAX.
    """

    def run(code, *arguments, backend="tensorflow", check=True, timeout=600, **environment):
        if importlib.util.find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed: pip install 'kerazoo[{backend}]'")
        result = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
            env={**os.environ, "KERAS_BACKEND": backend, **environment},
        )
        if check:
            assert result.returncode == 0, result.stderr[-3000:]
        return result

    return run
