"""The same script on one device, on several, on several hosts."""
import functools
import gc
import inspect
import os
import re
import socket
import sys
import threading
import typing

import keras
import numpy as np

from kerazoo.train.graph import layers_of

HOST = re.compile(r"(\[[\da-fA-F:.]+\]|[^\s:,\[\]]+):(\d{1,5})")


class Placement(typing.NamedTuple):
    """Where a script runs.

    Attributes:
        devices: names of the devices that train, those of all hosts, in the order in which they share a batch.
        hosts: how many processes train together.
        index: which of them this is, from 0 on.
    """

    devices: tuple
    hosts: int
    index: int

    @property
    def is_chief(self):
        return self.index == 0


def distribute(devices=None, hosts=None, host_index=None, *, timeout=300):
    """Choose the devices and hosts that share the training from here on. Call it before the model is made.

    Nothing else in a script changes: `fit` and `evaluate` take the same batches, and every device works on its share
    of each. `batch_size` is that of all devices together and a multiple of their number, so that losses, weights and
    checkpoints are those of one device, but for rounding. On JAX this is `keras.distribution.DataParallel`, on
    TensorFlow `tf.distribute.MirroredStrategy`; with PyTorch, Keras trains on one device.

    On several hosts (JAX alone) the same script runs once a host. The first host in the list brings the others
    together at its address; that port must be free there, the other ports only tell processes of one machine apart.
    Seed all alike. Each reads its own share of the images where they come from `kerazoo.data.load`; other data must
    yield the host's share. If one host fails, the others end too: at once where the connection breaks, otherwise
    after 100 seconds without a sign of life.

    Args:
        devices: a number, or "all"; on several hosts, of each of them. None: one, and on several hosts all that each
            has. GPUs or TPU cores count where there are any, otherwise CPUs: TensorFlow's logical ones, and those that
            JAX is told of by `XLA_FLAGS=--xla_force_host_platform_device_count=8`.
        hosts: the same on all hosts: ["first:1234", "second:1234"], or these in one string, with commas; "auto":
            whatever `jax.distributed.initialize()` finds in the environment of SLURM, Open MPI, Kubernetes or a TPU.
            None: this process alone.
        host_index: which of `hosts` this process is, from 0 on. None: the one that is an address of this machine.
        timeout: seconds to wait for the other hosts.

    Returns:
        A named tuple: `devices` (names), `hosts` (how many), `index` (of this one), and `is_chief`, whether this
        process is the one that writes files.

    Raises:
        ValueError: if there are fewer devices, if the hosts cannot be made out, or if the backend cannot do it.
        RuntimeError: if a model has been made, or JAX has computed, before.
        TimeoutError: if the other hosts do not appear in time.

    Example:
        >>> kerazoo.train.distribute(devices="all")
        2 devices: gpu:0, gpu:1
    """
    wanted, hosts = read_devices(devices), read_hosts(hosts)
    backend = keras.backend.backend()
    if hosts and backend != "jax":
        raise ValueError(
            f"hosts={shown(hosts)}: several hosts train with JAX alone, since Keras 3 supports neither TensorFlow's "
            "multi-worker strategy nor PyTorch's DistributedDataParallel. Set KERAS_BACKEND=jax."
        )
    if host_index is not None and not (isinstance(hosts, list) and host_index in range(len(hosts))):
        raise ValueError(
            f"host_index={host_index!r} must say which of hosts={shown(hosts)} this process is, from 0 on."
        )
    if hosts:
        check_no_model()
        meet(hosts, host_index, timeout)
    return {"jax": on_jax, "tensorflow": on_tensorflow}.get(backend, on_torch)(wanted)


def read_devices(devices):
    if isinstance(devices, str) and devices.isdecimal():
        devices = int(devices)
    if devices in (None, "all") or (type(devices) is int and devices > 0):
        return devices
    raise ValueError(f'devices must be a positive number, "all", or None for one; got {devices!r}.')


def read_hosts(hosts):
    """None, "auto", or a list of "name:port" of two or more."""
    if hosts is None or hosts == "auto":
        return hosts
    listed = hosts.split(",") if isinstance(hosts, str) else list(hosts)
    listed = [str(host).strip() for host in listed]
    for host in listed:
        found = HOST.fullmatch(host)
        if not found or not 0 < int(found[2]) < 65536:
            raise ValueError(
                f'hosts must be like "first:1234,second:1234", name and port of each, or "auto"; got {host!r}.'
            )
    if twice := [host for host in listed if listed.count(host) > 1]:
        raise ValueError(f"hosts names {twice[0]!r} twice; processes on one machine need different ports.")
    return listed if len(listed) > 1 else None


def shown(hosts):
    return repr(",".join(hosts) if isinstance(hosts, list) else hosts)


def check_no_model():
    """A model's variables stay where they were made; Keras's own errors about that come late and from deep inside."""
    gc.collect()
    models = [item for item in gc.get_objects() if issubclass(type(item), keras.Model) and item.variables]
    if models:
        raise RuntimeError(
            f"The model {models[0].name!r} was made before distribute() was called, on one device. Call distribute() "
            "first; in a notebook, restart, or delete the model and make it again."
        )


def choose(wanted, there, kind):
    """The first so many of the devices there are."""
    count = len(there) if wanted == "all" else wanted or 1
    if count > len(there):
        raise ValueError(
            f"{count} devices were asked for, but {kind} finds {len(there)}: {listed(there)}. "
            f'Ask for at most {len(there)}, or for "all".'
        )
    return there[:count]


def listed(names):
    return ", ".join(names) if len(names) <= 8 else f"{names[0]}, ..., {names[-1]}"


def announce(placement, there, here=None):
    """One line about where the script runs, on several hosts with the names of the devices of this one."""
    names = placement.devices
    line = f"{len(names)} device{'s' * (len(names) > 1)}: {listed(names)}"
    if placement.hosts > 1:
        line = (f"Host {placement.index} of {placement.hosts}; {len(names)} devices together, "
                f"{len(here)} here: {listed(here)}")
    elif there > len(names):
        line += f" (of {there})"
    print(line, flush=True)
    return placement


def on_torch(wanted):
    import torch

    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    there = [f"{kind}:{index}" for index in range(torch.cuda.device_count() if kind == "cuda" else 1)]
    if wanted not in (None, "all", 1):
        raise ValueError(
            f"devices={wanted}: with PyTorch, Keras trains on one device ({there[0]} here). "
            "For several, set KERAS_BACKEND=jax or tensorflow."
        )
    return announce(Placement(tuple(there[:1]), 1, 0), len(there))


def on_tensorflow(wanted):
    import tensorflow as tf

    there = tf.config.list_logical_devices("TPU") or tf.config.list_logical_devices("GPU")
    there = [device.name.removeprefix("/device:") for device in there or tf.config.list_logical_devices("CPU")]
    if there[0].startswith("TPU") and wanted not in (None, 1):
        raise ValueError("TPUs are shared with KERAS_BACKEND=jax; TensorFlow's strategy for them is not supported.")
    names = choose(wanted, there, "TensorFlow")
    strategy = None
    if len(names) > 1:
        check_no_model()
        strategy = tf.distribute.MirroredStrategy(names)
    # Keras makes variables and runs fit's steps under the default strategy, so that a script needs no `with`.
    tf.distribute.experimental_set_strategy(strategy)
    return announce(Placement(tuple(names), 1, 0), len(there))


def on_jax(wanted):
    import jax

    processes = jax.process_count()
    shares = []
    for process in range(processes):
        own = sorted((device for device in jax.devices() if device.process_index == process), key=lambda d: d.id)
        there = [f"{device.platform}:{device.id}" for device in own]
        shares.append(choose("all" if wanted is None and processes > 1 else wanted, there, "JAX"))
    chosen = [name for share in shares for name in share]
    distribution = None
    if len(chosen) > 1:
        check_no_model()
        place_by_ourselves()
        # Data sets deal out their own shares; Keras's way reads all images on every host.
        distribution = keras.distribution.DataParallel(devices=chosen, auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)
    index = jax.process_index()
    return announce(Placement(tuple(chosen), processes, index), len(jax.devices()), shares[index])


def place_by_ourselves():
    """Replace the two functions by which Keras places arrays on several devices; it has no public place for this.

    *Batches.* Keras shards every batch over all devices, and fails where that leaves a rest. Such a batch, such as the
    last one of an epoch, goes to all devices whole: each computes the same, nothing is left out or counted twice.
    With several processes, Keras takes what each of them yields for its own share; there, a batch that all of them have
    whole is recognized by an attribute `every_process`, which `kerazoo.data.load` gives to it.

    *Variables.* With several processes, JAX compares each value that is put into a variable among all of them. One that
    sets or makes a variable by itself, as the first does when it saves a model, would wait forever.
    """
    import jax
    from keras.src.backend.jax import distribution_lib

    if getattr(distribution_lib.distribute_data_input, "from_kerazoo", False):
        return
    place_batch, place_value = distribution_lib.distribute_data_input, distribution_lib.distribute_tensor

    def distribute_data_input(batch, layout, *rest, **names):
        sharding = getattr(layout, "backend_layout", layout)
        whole = jax.process_count() == 1 or getattr(batch, "every_process", False)
        if not whole or not isinstance(batch, (np.ndarray, jax.Array)) or sharding.mesh.devices.ndim > 1:
            return place_batch(batch, layout, *rest, **names)
        if len(batch) % sharding.mesh.size:
            sharding = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
        if isinstance(batch, np.ndarray):
            batch = np.asarray(batch)
        return jax.make_array_from_process_local_data(sharding, batch, batch.shape)

    def distribute_tensor(tensor, layout):
        sharding = getattr(layout, "backend_layout", layout)
        if jax.process_count() == 1 or isinstance(tensor, jax.core.Tracer) or not sharding.is_fully_replicated:
            return place_value(tensor, layout)
        if isinstance(tensor, jax.Array) and tensor.sharding.is_equivalent_to(sharding, tensor.ndim):
            return tensor
        value = np.asarray(tensor)
        return jax.make_array_from_process_local_data(sharding, value, value.shape)

    distribute_data_input.from_kerazoo = True
    distribution_lib.distribute_data_input = distribute_data_input
    distribution_lib.distribute_tensor = distribute_tensor


def meet(hosts, index, timeout):
    """Bring the processes together, in bounded time and with words about it."""
    import jax

    if jax.distributed.is_initialized():
        if hosts != "auto" and (len(hosts), index) != (jax.process_count(), jax.process_index()):
            raise RuntimeError(
                f"This process is number {jax.process_index()} of {jax.process_count()} already; hosts={shown(hosts)} "
                "says otherwise. Call distribute() once."
            )
        return
    options = {}
    if hosts != "auto":
        if index is None:
            index = own_index(hosts)
        options = {"coordinator_address": hosts[0], "num_processes": len(hosts), "process_id": index}
        print(f"Host {index} ({hosts[index]}): waiting for {shown(hosts)}, {timeout} seconds at most.", flush=True)
    if jax.config.jax_cpu_collectives_implementation in (None, "none"):  # the default of JAX before 0.7
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX would take SIGTERM for a note to save something, and the process would not end.
    jax.config.update("jax_enable_preemption_service", False)
    if "shutdown_timeout_seconds" in inspect.signature(jax.distributed.initialize).parameters:
        # At the end of a script the others wait for the first, which may be writing its results.
        options["shutdown_timeout_seconds"] = 3600
    result = []

    def initialize():
        try:
            # At the end of its own time, JAX aborts the process.
            jax.distributed.initialize(**options, initialization_timeout=10**6)
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        whom = "the other hosts" if hosts == "auto" else shown(hosts)
        raise TimeoutError(
            f"Waited {timeout} seconds for {whom}, in vain. Start the same command on each host, each with its own "
            f"host index; the first must be reachable from all{'' if hosts == 'auto' else f' at {hosts[0]}'}."
        )
    if result:
        raise too_late_or_nowhere(result[0], hosts)
    end_together()
    agree_on_a_seed()


def too_late_or_nowhere(error, hosts):
    if "must be called before" in str(error):
        return RuntimeError(
            "distribute() with hosts must come before JAX computes anything, and before jax.devices(). Call it first."
        )
    if hosts == "auto":
        return ValueError(
            'hosts="auto": JAX finds no cluster in the environment (SLURM, Open MPI, Kubernetes, TPU). '
            f'Give hosts="first:1234,second:1234" and host_index. ({error})'
        )
    return RuntimeError(f"The hosts {shown(hosts)} could not be brought together: {str(error).splitlines()[0]}")


def own_index(hosts):
    """Which of the hosts has an address of this machine: one that a socket can be bound to."""
    own = []
    for index, host in enumerate(hosts):
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(
                host.rpartition(":")[0].strip("[]"), 0, type=socket.SOCK_STREAM
            ):
                with socket.socket(family, kind, protocol) as probe:
                    probe.bind(address)
                own.append(index)
                break
        except OSError:
            continue
    if len(own) != 1:
        found = "none" if not own else "several"
        raise ValueError(
            f"Which of hosts={shown(hosts)} is this process? By its addresses, {found}. "
            f"Say host_index, from 0 to {len(hosts) - 1}."
        )
    return own[0]


def end_together():
    """Let an error on one host end its process at once, and with it the others, with a sentence.

    On its way out, JAX waits for the other hosts, while they wait for this one in the middle of a step. And an error
    about a broken connection does not say that the cause is to be looked for elsewhere.
    """
    before = sys.excepthook

    def hook(kind, error, trace):
        if lost := lost_host(error):
            print(f"error: {lost}", file=sys.stderr)
        else:
            before(kind, error, trace)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    sys.excepthook = hook


def lost_host(error):
    """A sentence if an error is that of a broken connection to another host, otherwise None."""
    sign = re.search(r"(Gloo|NCCL|[Cc]oordination service|heartbeat)[^\n]{0,160}", str(error))
    return sign and (
        f"The connection to another host broke ({sign[0]}). Its process ended or cannot be reached; the cause stands "
        "in its own output. Start the same command on all hosts again, and the run goes on from its last checkpoint."
    )


def agree_on_a_seed():
    """Hosts must start from the same weights. Where they are seeded differently, or not at all, the first decides."""
    import random

    from jax.experimental import multihost_utils

    # What Python's generator would draw next, which keras.utils.set_random_seed sets beside the others.
    peek = random.Random()
    peek.setstate(random.getstate())
    drawn = multihost_utils.process_allgather(np.uint32(peek.getrandbits(31)))
    if np.any(drawn != drawn[0]):
        keras.utils.set_random_seed(int(drawn[0]))


def is_chief():
    """Whether this process is the one that writes files: of several hosts, the first.

    Returns:
        A bool.

    Example:
        >>> if is_chief():
        ...     model.save("model.keras")
    """
    if not several_hosts():
        return True
    import jax

    return jax.process_index() == 0


def several_hosts():
    """Whether JAX runs in several processes. Asking does not start JAX, which must not be done before they meet."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.distributed.is_initialized() and jax.process_count() > 1


def prepare(model):
    """Make a model behave on several devices as on one. `kerazoo.train.Run` does so; without it, call it before `fit`.

    On TensorFlow, batch norms take their statistics over the whole batch, as they do on JAX anyway, and layers that
    draw random numbers draw other ones on each device. There, a model compiled with `jit_compile=True` or several
    `steps_per_execution` goes without: XLA does not reach the variables of other devices, and the devices' sums do not
    work inside of TensorFlow's loop over steps. On several hosts, `predict` returns the predictions of all.

    Args:
        model: a `keras.Model`, compiled or not.

    Returns:
        The model.
    """
    synchronize_batch_norm(model)
    if replicas() > 1:
        for layer in layers_of(model):
            draw_per_replica(layer)
        if model.compiled:
            if model.steps_per_execution != 1:
                print(f"steps_per_execution={model.steps_per_execution} is 1 on several devices of TensorFlow.")
            model.jit_compile, model.steps_per_execution, model.train_function = False, 1, None
    if several_hosts():
        gather_predictions(model)
    return model


def replicas():
    """Replicas of the current strategy of TensorFlow; 1 on other backends."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def synchronize_batch_norm(model):
    """Let every batch norm take its statistics over the whole batch where TensorFlow mirrors the model on devices.

    Elsewhere it is switched off: it changes nothing on one device, and on JAX, where the statistics are those of the
    whole batch anyway, Keras refuses to train a model that was saved with it.

    Args:
        model: a `keras.Model`.
    """
    wanted, changed = replicas() > 1, False
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.synchronized != wanted:
            layer.synchronized, changed = wanted, True
    if changed:
        model.train_function = None  # traced with the other kind


def draw_per_replica(layer):
    """Give each replica its own numbers: Keras hands the same seed to all of them, as if each had the first images.

    kerazoo's augmentation does that itself.
    """
    if type(layer).__module__.startswith("kerazoo."):
        return
    import tensorflow as tf

    for generator in vars(layer).values():
        if not isinstance(generator, keras.random.SeedGenerator) or "next" in vars(generator):
            continue

        def draw(ordered=True, plain=generator.next):
            seed = plain(ordered)
            context = tf.distribute.get_replica_context()
            if context is None:
                return seed
            replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
            return seed + replica * tf.constant([1_000_003, 0], seed.dtype)

        generator.next = draw


def gather_predictions(model):
    """Let `predict` return what all hosts computed; Keras tries to read arrays that lie on other hosts, and fails."""
    from jax.experimental import multihost_utils

    model.make_predict_function(force=True)
    own, gather = model.predict_function, functools.partial(multihost_utils.process_allgather, tiled=True)

    def gathered(state, iterator):
        outputs, state = own(state, iterator)
        return keras.tree.map_structure(gather, outputs), state

    model.predict_function = gathered


def from_chief(values):
    """The first host's values, on every host, such as those of a checkpoint that lies on its disk alone.

    Args:
        values: a structure of arrays, of the same shapes and types on every host; those of the others do not matter.

    Returns:
        The same structure of NumPy arrays.
    """
    if not several_hosts():
        return keras.tree.map_structure(np.asarray, values)
    from jax.experimental import multihost_utils

    return keras.tree.map_structure(np.asarray, multihost_utils.broadcast_one_to_all(values))
