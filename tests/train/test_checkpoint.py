"""Checkpoint files: whole or not at all, and never taken for sound when they are not."""
import errno
import os
import random

import ml_dtypes
import numpy as np
import pytest

from kerazoo.train import checkpoint
from kerazoo.train.checkpoint import Checkpoints, Damaged

ARRAYS = {
    "kernel": np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype("float32"),
    "step": np.array(7, "int64"), "seed": np.array([1, 2], "uint32"), "empty": np.zeros((0, 3), "float16"),
    "half": np.arange(6, dtype="float32").astype(ml_dtypes.bfloat16), "flag": np.array([True, False]),
    "strided": np.arange(12.0)[::2],
}
NOTE = {"state": {"epoch": 3, "best": None, "value": float("inf")}, "text": "Größe"}


def test_what_was_written_is_read(tmp_path):
    checkpoint.write(tmp_path / "a", NOTE, ARRAYS)
    note, arrays = checkpoint.read(tmp_path / "a")
    assert note == NOTE and set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)
    assert os.listdir(tmp_path) == ["a"]


def damage(data, chance):
    if chance.random() < 0.5:
        return data[: chance.randrange(len(data))]
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def test_200_truncations_and_bit_flips_are_all_noticed_and_the_older_one_is_taken(tmp_path):
    folder, chance = Checkpoints(tmp_path), random.Random(0)
    folder.save(1, {"step": 1}, ARRAYS)
    folder.save(2, {"step": 2}, ARRAYS)
    newest = folder.files()[0]
    sound = newest.read_bytes()
    for _ in range(200):
        newest.write_bytes(damage(sound, chance))
        said = []
        note, arrays = folder.newest(tell=said.append)
        assert note == {"step": 1}
        assert len(said) == 1 and str(newest) in said[0] and "The one before is taken." in said[0]
    newest.write_bytes(sound)
    assert folder.newest()[0] == {"step": 2}


def test_two_are_kept(tmp_path):
    folder = Checkpoints(tmp_path)
    for step in (5, 10, 15, 20):
        folder.save(step, {}, ARRAYS)
    assert [path.name for path in folder.files()] == ["step_000000020.checkpoint", "step_000000015.checkpoint"]


def test_a_damaged_later_one_goes_when_a_new_one_is_written(tmp_path):
    folder = Checkpoints(tmp_path)
    for step in (10, 20):
        folder.save(step, {"step": step}, {})
    folder.files()[0].write_bytes(b"kerazoo checkpoint")
    assert folder.newest(tell=lambda text: None)[0] == {"step": 10}
    folder.save(12, {"step": 12}, {})
    assert [checkpoint.read(path)[0]["step"] for path in folder.files()] == [12, 10]


def test_none_is_none_and_all_damaged_is_an_error(tmp_path):
    folder = Checkpoints(tmp_path)
    assert folder.newest() is None
    folder.save(1, {}, {})
    folder.files()[0].write_bytes(b"")
    said = []
    with pytest.raises(Damaged, match="none of the 1 checkpoints"):
        folder.newest(tell=said.append)
    assert "There is no other." in said[0]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    folder = Checkpoints(tmp_path)
    folder.save(1, {"step": 1}, ARRAYS)

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.save(2, {"step": 2}, ARRAYS)
    assert os.listdir(tmp_path) == ["step_000000001.checkpoint"] and folder.newest()[0] == {"step": 1}


def test_what_a_kill_left_half_written_is_no_checkpoint(tmp_path):
    folder = Checkpoints(tmp_path)
    folder.save(1, {"step": 1}, ARRAYS)
    (tmp_path / ".part.step_000000002.checkpoint").write_bytes(b"kerazoo")
    assert folder.newest()[0] == {"step": 1}
    folder.clear()
    assert os.listdir(tmp_path) == []
