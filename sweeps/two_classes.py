"""Two classes only.

Question   Does AlexNet, which fails on 200 classes, learn to tell two of them apart?
Command    sweeps run two_classes --data tiny-imagenet
Cost       not yet measured on Tiny ImageNet; three trials of 500 epochs on 630 training images. A checkpoint of AlexNet is 259 MB, written each
           epoch; up to four of a trial stay.
Expected   0.996 test accuracy in the report (500 epochs, batches of 46); not yet measured here
"""

from sweeps import Sweep, choice

SWEEP = Sweep(
    question="Can AlexNet tell two classes apart?",
    trainable="alexnet",
    space={"learning_rate": choice(1e-4, 3e-4, 1e-3)},
    fixed={"classes": 2, "epochs": 500, "batch_size": 46},
    searcher="grid",
    scheduler="asha",
    grace_epochs=20,
    samples=3,
)
