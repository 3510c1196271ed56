"""ResNet-20 on CIFAR-10, and its deeper kin: --model resnet32, resnet44, resnet56, resnet110.

    python recipes/resnet20_cifar10.py                       # target 92.5 %: not yet run
    python recipes/resnet20_cifar10.py --model resnet56 --output runs/resnet56_cifar10   # target 94.2 %: not yet run
    python recipes/resnet20_cifar10.py --plan paper          # published: 91.25 % (ResNet-56: 93.03 %): not yet run

`--plan paper` trains as He et al. 2015, section 4.2: 64,000 steps of 128 images, the rate of 0.1 divided by 10 after a
half and three quarters of them, weight decay 1e-4, momentum 0.9; crop and flip. The default has what came later: a
cosine, Nesterov's momentum, and five times the weight decay. 1,000 of the training images are kept to watch, no choice
is made by them: the weights tested are the last.
"""
import json

import keras

import kerazoo
from kerazoo.augment import Compose, RandomCrop, RandomFlip
from kerazoo.train import Diagnostics, Run, WarmupCosine, WarmupStep, optimizer, recipe_arguments

EPOCHS = {"cosine": 200, "paper": 167}  # of 383 steps


def main(args):
    args.epochs = args.epochs or EPOCHS[args.plan]
    train, validation, test = kerazoo.data.load(
        args.dataset, batch_size=args.batch_size, validation_split=0.02, limit=args.limit, seed=args.seed
    )
    model = kerazoo.create_model(
        args.model, classes=train.classes, input_shape=train.image_shape,
        augmentation=Compose([RandomCrop(padding=4), RandomFlip()], seed=args.seed),
    )
    if args.plan == "paper":
        rate = WarmupStep(0.1, boundaries=(0.5 * args.epochs, 0.75 * args.epochs), steps=len(train))
        sgd = optimizer(model, "sgd", rate, momentum=0.9, weight_decay=1e-4)
    else:
        rate = WarmupCosine(0.1, args.epochs, warmup=0.01 * args.epochs, steps=len(train))
        sgd = optimizer(model, "sgd", rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    model.compile(sgd, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])

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
        options={"--plan": dict(choices=EPOCHS, default="cosine", help="how to train")},
        smoke=dict(dataset="mnist_sample", epochs=1, limit=500),
        dataset="cifar10", model="resnet20", epochs=None, batch_size=128, output="runs/resnet20_cifar10",
    ))
