"""One device, several, several hosts: the same curve, the same checkpoints, and words where it cannot be."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerazoo.train import distribute
from kerazoo.train.distribution import Placement, from_chief, is_chief, on_torch, prepare, read_hosts

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import curve  # noqa: E402

FIRST_BATCH = curve.CUT[0] * 3 + curve.CUT[1]  # of those after the checkpoint of the middle, counted over all epochs
EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("curve")


@pytest.fixture(scope="module")
def alone(folder):
    """What one device does, on TensorFlow, in this process."""
    keras.utils.set_random_seed(0)
    curve.residual_network((28, 28, 1), 10).save_weights(folder / "start.weights.h5")
    return curve.train(folder, "alone")


def start(folder, name, backend, task, **environment):
    target = folder / f"alone_for_{name}"
    if "alone" in task.get("continue", ()) and not target.exists():
        shutil.copytree(folder / "alone", target)
    return subprocess.Popen(
        [sys.executable, curve.__file__, str(folder), name, json.dumps(task)],
        env={**os.environ, "KERAS_BACKEND": backend, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )


def finish(process, code=0):
    output = process.communicate(timeout=600)[0]
    assert process.returncode == code, output[-4000:]
    return output


def free_hosts():
    with socket.socket() as first, socket.socket() as second:
        first.bind(("localhost", 0))
        second.bind(("localhost", 0))
        return ",".join(f"localhost:{one.getsockname()[1]}" for one in (first, second))


def check_same(folder, name, alone):
    """A place's curve, figures and predictions are those of one device on TensorFlow, from there, and back to there."""
    there = np.load(folder / f"{name}.npz")
    for key in ("batches", "epochs", "evaluation", "pixels", "labels"):
        np.testing.assert_allclose(there[key], alone[key], rtol=1e-5, err_msg=key)
    np.testing.assert_allclose(there["predictions"], alone["predictions"], atol=1e-5)
    np.testing.assert_allclose(there["alone"], alone["batches"][FIRST_BATCH:], rtol=1e-5)
    back = curve.train(folder, f"from_{name}", [name], whole=False)
    np.testing.assert_allclose(back[name], alone["batches"][FIRST_BATCH:], rtol=1e-5)


def test_same_curve_mirrored_on_tensorflow(folder, alone):
    output = finish(start(folder, "mirrored", "tensorflow", {"place": ["2"], "continue": ["alone"]}))
    assert "2 devices: CPU:0, CPU:1" in output
    check_same(folder, "mirrored", alone)


@pytest.mark.slow
def test_same_curve_on_eight_devices_of_jax(folder, alone):
    output = finish(start(folder, "eight", "jax", {"place": ["all"], "continue": ["alone"]}, **EIGHT))
    assert "8 devices: cpu:0, cpu:1" in output
    check_same(folder, "eight", alone)


@pytest.mark.slow
def test_same_curve_on_two_hosts_of_jax_and_the_loss_of_one(folder, alone):
    hosts = free_hosts()
    first, second = [
        start(folder, "hosts", "jax", {"place": [None, hosts, index], "continue": ["alone"], "lose": True})
        for index in (0, 1)
    ]
    output = finish(first, 1)
    assert "Host 0 of 2; 2 devices together, 1 here: cpu:0\n" in output
    # Host 1 is killed in the end; host 0 says so and ends.
    assert "The connection to another host broke" in output and "Traceback" not in output
    finish(second, -9)
    check_same(folder, "hosts", alone)


@pytest.mark.slow
def test_a_hundred_steps(folder):
    """At a rate so low that rounding does not grow; at a usual one it does so hundredfold in ten steps."""
    hosts = free_hosts()
    places = {
        "tensorflow": ("tensorflow", [None], {}), "tensorflow2": ("tensorflow", [2], {}), "jax": ("jax", [None], {}),
        "jax8": ("jax", [8], EIGHT), "host0": ("jax", [None, hosts, 0], {}), "host1": ("jax", [None, hosts, 1], {}),
    }

    def losses(names, rate, floatx):
        # The hosts run at the same time; the others have the first one's weights.
        task, running = {"steps": 100, "rate": rate, "floatx": floatx}, []
        for name in names:
            backend, place, environment = places[name]
            running.append(start(folder, name, backend, {"place": place, **task}, **environment))
            if name != "host0":
                for process in running:
                    finish(process)
                running = []
        return {name: np.load(folder / f"{name}.npz")["loss"] for name in names if name != "host1"}

    found = losses(places, 2e-4, "float32")
    for name in ("tensorflow2", "jax", "jax8", "host0"):
        np.testing.assert_allclose(found[name], found["tensorflow"], rtol=1e-5, err_msg=name)
    # It is rounding and nothing else.
    found = losses(["tensorflow", "tensorflow2"], 0.02, "float64")
    np.testing.assert_allclose(found["tensorflow2"], found["tensorflow"], rtol=1e-9)
    assert found["tensorflow"][-1] < 0.1 < found["tensorflow"][0]


@pytest.mark.parametrize("arguments, message", [
    ((0,), "devices must be a positive number"),
    ((True,), "devices must be a positive number"),
    (("many",), "devices must be a positive number"),
    ((10**6,), "1000000 devices were asked for, but TensorFlow finds"),
    ((None, "auto"), "Set KERAS_BACKEND=jax"),
    ((None, "a:1,b:2"), "several hosts train with JAX alone, since Keras 3 supports neither TensorFlow's multi-worker"),
    ((None, "a"), "name and port of each, or \"auto\"; got 'a'"),
    ((None, "a:b,c:1"), "got 'a:b'"),
    ((None, "a:1,b:99999"), "got 'b:99999'"),
    ((None, "::1:80,b:1"), "got '::1:80'"),
    ((None, ["a:1", "a:1"]), "names 'a:1' twice"),
    ((None, None, 1), "must say which of hosts=None this process is"),
])
def test_what_cannot_be_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        distribute(*arguments)


def test_one_device(capsys):
    placement = distribute()
    assert placement == Placement(("CPU:0",), 1, 0) and placement.is_chief and is_chief()
    assert capsys.readouterr().out == "1 device: CPU:0\n"
    assert distribute(1) == distribute("all") == distribute(hosts=["localhost:1"]) == placement
    assert from_chief([np.float32(3)]) == [3]


def test_hosts_in_one_string():
    assert read_hosts("a:1, [::1]:2") == read_hosts(["a:1", "[::1]:2"]) == ["a:1", "[::1]:2"]


def test_prepare_undoes_what_another_place_needed():
    """A model saved from several devices of TensorFlow trains on JAX, and on one device, again."""
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.BatchNormalization(synchronized=True)])
    nested = keras.Sequential([keras.Input((4, 4, 2)), model])
    assert prepare(nested) is nested
    assert not model.layers[0].synchronized


def test_replicas_draw_numbers_of_their_own_and_share_statistics(run_python):
    """On two mirrored CPUs: what does not work there is switched off; a model made before is refused."""
    run_python(
        "import keras, numpy as np, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "from kerazoo.train import distribute\n"
        "from kerazoo.train.distribution import prepare\n"
        "old = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name='late')])\n"
        "try: distribute(2); assert False\n"
        "except RuntimeError as error: assert 'was made before distribute() was called' in str(error), error\n"
        "del old\n"
        "distribute(2)\n"
        "class Keep(keras.layers.Layer):\n"
        "    def build(self, shape):\n"
        "        self.seen = self.add_weight(shape=(2, 8), initializer='zeros', trainable=False, aggregation='sum')\n"
        "    def call(self, x):\n"
        "        context = tf.distribute.get_replica_context()\n"
        "        if context is not None:\n"
        "            row = tf.one_hot(context.replica_id_in_sync_group, 2)[:, None] * x[:1]\n"
        "            self.seen.assign(row)\n"
        "        return x\n"
        "inputs = keras.Input((8,))\n"
        "keep = Keep()\n"
        "x = keep(keras.layers.Dropout(0.5, seed=1)(inputs))\n"
        "norm = keras.layers.BatchNormalization(momentum=0.0)\n"
        "outputs = keras.layers.Dense(1)(norm(x))\n"
        "model = keras.Model(inputs, outputs)\n"
        "model.compile('sgd', 'mse', jit_compile=True, steps_per_execution=2)\n"
        "prepare(prepare(model))\n"
        "assert norm.synchronized and not model.jit_compile and model.steps_per_execution == 1\n"
        "model.fit(np.ones((64, 8)), np.ones((64, 1)), batch_size=64, verbose=0)\n"
        "first, second = keras.ops.convert_to_numpy(keep.seen)\n"
        "assert set(first) == set(second) == {0.0, 2.0} and (first != second).any(), (first, second)\n"
    )


def test_devices_of_jax(run_python):
    """Calls that come late or ask for too much; batches that do not divide by the devices."""
    run_python(
        "import keras, time, numpy as np\n"
        "from kerazoo.train import distribute\n"
        "def refused(kind, words, *arguments, **options):\n"
        "    try: distribute(*arguments, **options)\n"
        "    except kind as error: assert words in str(error), error\n"
        "    else: raise AssertionError(words)\n"
        "hosts = 'localhost:1,203.0.113.1:1'\n"
        "refused(ValueError, 'JAX finds no cluster in the environment', hosts='auto')\n"
        "refused(ValueError, 'By its addresses, none', hosts='203.0.113.1:1,203.0.113.2:1')\n"
        "refused(ValueError, 'By its addresses, several', hosts='localhost:1,127.0.0.1:2')\n"
        "refused(ValueError, 'host_index=2 must say which of', hosts=hosts, host_index=2)\n"
        "refused(ValueError, '9 devices were asked for, but JAX finds 8: cpu:0, cpu:1', 9)\n"
        "model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name='early')\n"
        "refused(RuntimeError, \"The model 'early' was made before\", 2)\n"
        "refused(RuntimeError, \"The model 'early' was made before\", hosts=hosts)\n"
        "del model\n"
        "assert distribute(3).devices == ('cpu:0', 'cpu:1', 'cpu:2')\n"
        "assert keras.distribution.distribution().device_mesh.shape == (3,)\n"
        "images, labels = np.random.rand(13, 4, 4, 1), np.arange(13) % 3\n"
        "def figures():\n"
        "    keras.utils.set_random_seed(1)\n"
        "    layers = [keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), keras.layers.Flatten(),\n"
        "              keras.layers.Dropout(0.5), keras.layers.Dense(3)]\n"
        "    model = keras.Sequential([keras.Input((4, 4, 1)), *layers])\n"
        "    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)\n"
        "    model.compile(keras.optimizers.SGD(0.1, 0.9), loss, metrics=['accuracy'])\n"
        "    history = model.fit(images, labels, batch_size=9, epochs=2, shuffle=False, verbose=0).history\n"
        "    score = model.evaluate(images, labels, batch_size=9, verbose=0)\n"
        "    return history['loss'], score, model.predict(images, batch_size=9, verbose=0)\n"
        "three = figures()\n"
        "assert distribute().devices == ('cpu:0',) and keras.distribution.distribution() is None\n"
        "for one, other in zip(three, figures()): np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)\n"
        "refused(RuntimeError, 'must come before JAX computes anything', hosts=hosts, host_index=0)\n",
        backend="jax", **EIGHT,
    )


def test_hosts_that_do_not_come(run_python):
    """A sentence in bounded time, not JAX's abort after five minutes."""
    result = run_python(
        "from kerazoo.errors import plain_errors\n"
        "from kerazoo.train import distribute\n"
        "plain_errors()\n"
        "distribute(hosts='203.0.113.1:1,localhost:2', timeout=1)\n", backend="jax", check=False, timeout=240,
    )
    assert result.returncode == 1
    assert "Host 1 (localhost:2): waiting for '203.0.113.1:1,localhost:2', 1 seconds at most." in result.stdout
    assert "error: Waited 1 seconds for '203.0.113.1:1,localhost:2', in vain." in result.stderr
    assert "Traceback" not in result.stderr


def test_pytorch_has_one_device():
    pytest.importorskip("torch", reason="PyTorch is not installed: its devices are not counted")
    assert on_torch(None).devices == on_torch("all").devices == ("cpu:0",)
    with pytest.raises(ValueError, match="with PyTorch, Keras trains on one device"):
        on_torch(2)
