"""All experiments of the report.

Question   How far does each of the report's experiments get on one data set, searched with the same effort?
Command    sweeps run study --data tiny-imagenet --seeds 3 --set base=cifar10 --set inception.size=150
Cost       `--data digits --epochs 2 --samples 1`: 2 min 12 s on 2 cores, idle, no GPU; not yet measured on Tiny ImageNet
Expected   a row an experiment beside the report's figure. The base is trained on half of the data set's own classes unless `base` says otherwise, so
           that one data set is enough; InceptionV3 sees 75 px, its least, instead of the report's 150, which costs four times as much.
           Where ImageNet's weights cannot be downloaded, VGG16 and InceptionV3 are random ones, and it says so.
"""

from sweeps import Part, Study, Sweep, log_uniform

# All parts: the rate that the experiment has, then three draws.
RATE = {"learning_rate": log_uniform(1e-4, 3e-3)}
SLOW, FAST = ({"learning_rate": 1e-4},), ({"learning_rate": 1e-3},)
SEARCH = {"searcher": "random", "samples": 4}
TRANSFER = {"question": "How far do frozen features carry?", "trainable": "transfer", "space": RATE, "known_points": FAST, **SEARCH}
FINE_TUNE = {"question": "How far does fine-tuning carry?", "trainable": "fine_tune", "space": RATE, "known_points": FAST, **SEARCH}

SWEEP = Study(
    question="How far does each of the report's experiments get?",
    settings={"base": "half", "weights": "imagenet-or-random"},
    parts=(
        Part(
            name="cnn",
            sweep=Sweep(question="How far does the small network get?", trainable="cnn", space=RATE, known_points=FAST, **SEARCH),
        ),
        Part(
            name="alexnet",
            sweep=Sweep(question="How far does AlexNet get?", trainable="alexnet", space=RATE, known_points=SLOW, **SEARCH),
        ),
        Part(
            name="alexnet-two-classes",
            sweep=Sweep(
                question="Can AlexNet tell two classes apart?",
                trainable="alexnet",
                space=RATE,
                fixed={"classes": 2, "batch_size": 46, "epochs": 500},
                known_points=SLOW,
                **SEARCH,
            ),
        ),
        Part(
            name="inception",
            sweep=Sweep(
                question="How far do InceptionV3's frozen features carry?",
                trainable="inception",
                space=RATE,
                fixed={"base": "inception", "size": 75},
                known_points=SLOW,
                **SEARCH,
            ),
        ),
        Part(
            name="autokeras",
            sweep=Sweep(
                question="Does AutoKeras find a better network?",
                trainable="autokeras_search",
                space={},
                searcher="autokeras",
                scheduler="none",
                samples=100,
                parallel=1,
                time_budget="3h",
                published="3 hours",
            ),
        ),
        Part(name="transfer", sweep=Sweep(published="base=cifar10", **TRANSFER)),
        Part(name="transfer-vgg16", sweep=Sweep(fixed={"base": "vgg16"}, published="base=vgg16", **TRANSFER)),
        Part(
            name="transfer-more-data",
            sweep=Sweep(fixed={"train_fraction": 0.9}, published="base=cifar10 train_fraction=0.9", **TRANSFER),
        ),
        Part(name="fine-tune-5", sweep=Sweep(fixed={"unfrozen_layers": 5}, published="base=cifar10 unfrozen_layers=5", **FINE_TUNE)),
        Part(name="fine-tune-8", sweep=Sweep(fixed={"unfrozen_layers": 8}, published="base=cifar10 unfrozen_layers=8", **FINE_TUNE)),
        Part(name="fine-tune-13", sweep=Sweep(fixed={"unfrozen_layers": 13}, published="base=cifar10 unfrozen_layers=13", **FINE_TUNE)),
        Part(name="fine-tune-24", sweep=Sweep(fixed={"unfrozen_layers": 24}, published="base=cifar10 unfrozen_layers=24", **FINE_TUNE)),
    ),
)
