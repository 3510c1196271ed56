"""A folder of images, one sub-folder a class."""
import collections
import dataclasses
import math
import os
import pathlib
import warnings

import numpy as np

from kerazoo.data.checks import some
from kerazoo.data.facts import look_at, shape_of
from kerazoo.data.parts import Files, Images, Source, rows_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


def open_folder(path, splits, image_size, shares, corrupt_limit):
    root = pathlib.Path(path).expanduser()
    if not path or not root.exists():
        raise FileNotFoundError(
            f'The folder of "folder:{path}" does not exist. Wanted: a folder with one sub-folder of images a class, '
            f'written "folder:PATH" (looked in {root.absolute()}).'
        )
    if not root.is_dir():
        raise NotADirectoryError(
            f'"folder:{path}" is a file. Wanted: the folder above, with one sub-folder of images a class.'
        )
    roots = split_folders(root)
    class_names = class_folders(roots["train"])
    stored = {split: list_files(folder, class_names) for split, folder in roots.items()}
    paths = [file for files, _, _ in stored.values() for file in files]
    facts, pixels = look_at(root, paths, image_size)

    checked, good_facts, kept, seen = {}, [], {}, 0
    for split, (files, labels, others) in stored.items():
        bad = [file for file in files if facts[file].error]
        if len(bad) > corrupt_limit * len(files):
            raise ValueError(
                f"{len(bad)} of {len(files)} image files in {roots[split]} cannot be decoded, more than "
                f"corrupt_limit={corrupt_limit} allows: {some(bad)} ({facts[bad[0]].error}). "
                f"Repair or remove them, or pass a corrupt_limit of at least {rounded_up(len(bad) / len(files))}."
            )
        good = np.array([not facts[file].error for file in files], bool)
        checked[split] = Files(
            [file for file, ok in zip(files, good) if ok], labels[good], np.arange(good.sum()),
            tuple(sorted(bad + others)), len(bad), len(files),
        )
        good_facts += [facts[file] for file in checked[split].paths]
        if pixels is not None:
            kept[split] = pixels[seen : seen + len(files)]
            kept[split] = kept[split] if good.all() else kept[split][good]
        seen += len(files)
        missing = set(range(len(class_names))) - set(labels[good].tolist()) if split == "train" else ()
        if missing:
            empty = [class_names[label] for label in sorted(missing)]
            raise ValueError(
                f"No image that can be decoded for {some(empty)} in {roots[split]}. Add images "
                f"({', '.join(suffix[1:] for suffix in SUFFIXES)}), or remove the sub-folder."
            )

    shape = shape_of(good_facts, image_size)
    found = {}
    for split in splits:
        place = rows_of(split, checked, lambda stored_split: checked[stored_split].labels, shares)
        found[split] = None
        if place:
            files = checked[place[0]]
            found[split] = dataclasses.replace(files, rows=place[1])
            if pixels is not None and pixels.shape[1:] == shape:
                found[split] = Images(kept[place[0]], files.labels, place[1], files.skipped)
    return Source(class_names, shape, found)


def visible_folders(folder):
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def split_folders(root):
    """Stored split -> folder: `train` with `test`, `val` or `validation`, or the whole folder as the training part."""
    names = visible_folders(root)
    known = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}
    if "train" not in names or not {"test", "val", "validation"} & set(names):
        return {"train": root}
    if {"val", "validation"} <= set(names):
        raise ValueError(f'{root} holds both "val" and "validation": which one is meant? Rename or remove one.')
    if others := [name for name in names if name not in known]:
        warnings.warn(f"{root} is read by its splits; left alone: {some(others)}.", stacklevel=5)
    return {known[name]: root / name for name in names if name in known}


def class_folders(root):
    names = visible_folders(root)
    wanted = "Wanted: one sub-folder of images a class, at least two of them."
    if not names:
        loose = sum(1 for entry in root.iterdir() if entry.suffix.lower() in SUFFIXES)
        raise ValueError(
            f"{root} has no sub-folders{f', but {loose} images of unknown class' if loose else ''}. {wanted}"
        )
    if len(names) == 1:
        inside = visible_folders(root / names[0])
        hint = f' If its classes are inside, load "folder:{root / names[0]}".' if inside else ""
        raise ValueError(f"{root} has one class only, {names[0]!r}: nothing to tell apart. {wanted}{hint}")
    return names


def list_files(root, class_names):
    """(image files, labels, other files) below the class folders, in sorted order; hidden files are left alone."""
    if unknown := sorted(set(visible_folders(root)) - set(class_names)):
        raise ValueError(
            f"{root} has classes that the training part has not: {some(unknown)}. "
            f"Wanted: sub-folders out of {some(class_names)}."
        )
    files, labels, others = [], [], []
    for label, name in enumerate(class_names):
        for folder, subfolders, entries in os.walk(root / name):
            subfolders[:] = sorted(entry for entry in subfolders if not entry.startswith("."))
            for entry in sorted(entries):
                if entry.startswith("."):
                    continue
                if entry.lower().endswith(SUFFIXES):
                    files.append(os.path.join(folder, entry))
                    labels.append(label)
                else:
                    others.append(os.path.join(folder, entry))
    if not files:
        found = collections.Counter(pathlib.Path(file).suffix or "no ending" for file in others)
        seen = f" Found instead: {', '.join(f'{n} x {suffix}' for suffix, n in found.most_common(5))}." if found else ""
        raise ValueError(
            f"{root} holds no images. Wanted: files ending in {', '.join(suffix[1:] for suffix in SUFFIXES)} "
            f"in its sub-folders.{seen}"
        )
    return files, np.array(labels, "int64"), others


def rounded_up(share):
    return math.ceil(share * 1000) / 1000
