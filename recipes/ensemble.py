"""Several runs together: their averaged probabilities against each of them alone.

    python recipes/ensemble.py                                                  # 3 LeNets, one minute of CPU time
    python recipes/ensemble.py --dataset cifar10 --runs runs/a runs/b runs/c    # the best weights of three runs

The first, on the 2,000 test images of the sample of MNIST, once: 98.58 % and a log-likelihood of -0.0440 in the mean
of each alone, 98.95 % and -0.0316 together. --runs takes folders that recipes left, such as those of three seeds.
"""
import json
import pathlib

import keras
import numpy as np

import kerazoo
from kerazoo.augment import RandomAffine
from kerazoo.train import Diagnostics, Run, WarmupCosine, optimizer, recipe_arguments
from kerazoo.train.recipe import positive


def fit(args, seed, train, validation):
    """A run of its own for each seed."""
    keras.utils.set_random_seed(seed)
    model = kerazoo.create_model(
        args.model, classes=train.classes, input_shape=train.image_shape,
        augmentation=RandomAffine(rotation=6, translation=0.04, scale=0.05, seed=seed),
    )
    rate = WarmupCosine(2e-3, args.epochs, warmup=0.05 * args.epochs, steps=len(train))
    model.compile(
        optimizer(model, "adamw", rate, weight_decay=1e-2, verbose=False),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=1 if keras.backend.backend() == "torch" else 16,  # its steps are short
    )
    with Run(pathlib.Path(args.output) / f"seed{seed}", model, {**vars(args), "seed": seed}) as run:
        model.fit(
            run.data(train), validation_data=validation, epochs=args.epochs, initial_epoch=run.initial_epoch,
            callbacks=run.callbacks(Diagnostics(train, folder=run.path)), shuffle=False, verbose=0,
        )
        run.restore_best()
    return model


def scores(probabilities, labels):
    """Accuracy in percent, and the mean negative log-likelihood, which also counts how sure a network is."""
    likelihood = probabilities[np.arange(len(labels)), labels]
    return 100 * np.mean(probabilities.argmax(-1) == labels), -np.mean(np.log(np.maximum(likelihood, 1e-12)))


def main(args):
    options = dict(batch_size=args.batch_size, limit=args.limit)
    test = kerazoo.data.load(args.dataset, "test", **options)
    if args.runs:
        models = {path: kerazoo.load_model(pathlib.Path(path) / "best.keras", compile=False) for path in args.runs}
    else:
        models = {}
        for seed in range(args.seed, args.seed + args.members):
            train, validation, _ = kerazoo.data.load(args.dataset, seed=seed, **options)
            models[f"seed {seed}"] = fit(args, seed, train, validation)
    for name, model in models.items():
        if model.output_shape[-1] != test.classes:
            raise SystemExit(f"error: {name} tells {model.output_shape[-1]} classes apart, and {args.dataset} has "
                             f"{test.classes}. Name the --dataset that the runs were trained on.")

    _, labels = kerazoo.data.arrays(test)
    answers = {
        name: keras.ops.convert_to_numpy(keras.ops.softmax(keras.ops.cast(model.predict(test, verbose=0), "float32")))
        for name, model in models.items()
    }
    single = np.array([scores(probabilities, labels) for probabilities in answers.values()])
    together = scores(np.mean(list(answers.values()), axis=0), labels)
    rows = {**dict(zip(answers, single)), "mean of each alone": single.mean(0), f"ensemble of {len(models)}": together}
    width = max(map(len, rows))
    print(f"\n{'':{width}}  accuracy  log-likelihood   ({len(labels):,} test images)")
    for name, (accuracy, loss) in rows.items():
        print(f"{name:{width}}  {accuracy:6.2f} %  {-loss:14.4f}")
    (folder := pathlib.Path(args.output)).mkdir(parents=True, exist_ok=True)
    table = {name: {"accuracy": float(accuracy) / 100, "loss": float(loss)} for name, (accuracy, loss) in rows.items()}
    (folder / "test.json").write_text(json.dumps({"results": table, "images": len(labels), **vars(args)}))
    if not args.runs:
        members = [folder / name.replace(" ", "") for name in models]
        print(f"Report: {kerazoo.visualize.report(*members, path=folder / 'report.html')}")


if __name__ == "__main__":
    main(recipe_arguments(
        __doc__,
        options={
            "--members": dict(type=positive, default=3, help="runs to train, with seeds from --seed on"),
            "--runs": dict(nargs="+", metavar="FOLDER", help="runs to take instead of training some"),
        },
        smoke=dict(epochs=1, limit=500, members=2),
        dataset="mnist_sample", model="lenet5", epochs=15, batch_size=64, output="runs/ensemble",
    ))
