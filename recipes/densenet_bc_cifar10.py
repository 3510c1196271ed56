"""DenseNet-BC-100-12 on CIFAR-10: 769,162 parameters, 100 layers.

    python recipes/densenet_bc_cifar10.py                  # target 95.7 %: not yet run
    python recipes/densenet_bc_cifar10.py --plan paper     # published: 95.49 %: not yet run

`--plan paper` trains as Huang et al. 2016, section 4.2: 300 epochs of 64 images a step, the rate of 0.1 divided by 10
after a half and three quarters of them, Nesterov's momentum of 0.9, weight decay 1e-4; shifts and flips. The default
lowers the rate along a cosine, and cuts a hole of 8 pixels into each image. 1,000 of the training images are kept to
watch, no choice is made by them: the weights tested are the last.
"""
import json

import keras

import kerazoo
from kerazoo.augment import Compose, Cutout, RandomCrop, RandomFlip
from kerazoo.train import Diagnostics, Run, WarmupCosine, WarmupStep, optimizer, recipe_arguments


def main(args):
    train, validation, test = kerazoo.data.load(
        args.dataset, batch_size=args.batch_size, validation_split=0.02, limit=args.limit, seed=args.seed
    )
    crop_and_flip = [RandomCrop(padding=4), RandomFlip()]
    hole = [Cutout(8, fill=120)] if args.plan == "cosine" else []
    model = kerazoo.create_model(
        args.model, classes=train.classes, input_shape=train.image_shape,
        augmentation=Compose(crop_and_flip + hole, seed=args.seed),
    )
    if args.plan == "paper":
        rate = WarmupStep(0.1, boundaries=(0.5 * args.epochs, 0.75 * args.epochs), steps=len(train))
    else:
        rate = WarmupCosine(0.1, args.epochs, steps=len(train))
    model.compile(
        optimizer(model, "sgd", rate, momentum=0.9, nesterov=True, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    with Run(args.output, model, vars(args), monitor=None) as run:
        model.fit(
            run.data(train),
            validation_data=validation,
            epochs=args.epochs,
            initial_epoch=run.initial_epoch,
            callbacks=run.callbacks(Diagnostics(train, folder=run.path)),
            shuffle=False,
            verbose=0,
        )
        accuracy = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
        print(f"Test accuracy: {100 * accuracy:.2f} % of {test.num_examples:,} images")
        result = {"accuracy": accuracy, "images": test.num_examples, **vars(args)}
        (run.path / "test.json").write_text(json.dumps(result))
        kerazoo.visualize.curves(run.log()).savefig(run.path / "curves.png")
    print(f"Report: {kerazoo.visualize.report(run.path, model=model, data=test)}")


if __name__ == "__main__":
    main(recipe_arguments(
        __doc__,
        options={"--plan": dict(choices=("cosine", "paper"), default="cosine", help="how to train")},
        smoke=dict(dataset="mnist_sample", epochs=1, limit=60, batch_size=20),
        dataset="cifar10", model="densenet_bc100_12", epochs=300, batch_size=64, output="runs/densenet_bc_cifar10",
    ))
