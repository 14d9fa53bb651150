"""Whose features?

Question   Which base's frozen features carry over best, and how much dropout does the head on them need?
Command    sweeps run transfer --data tiny-imagenet
Cost       not yet measured on Tiny ImageNet; six trials of 20 epochs, and the base's 50 where there is none yet
Expected   0.1806 on CIFAR-10's features and 0.1260 on VGG16's in the report (at 32 px VGG16 leaves one pixel); not yet measured here
"""

from sweeps import Sweep, choice

SWEEP = Sweep(
    question="Which trained base's features carry over best?",
    trainable="transfer",
    space={"base": choice("cifar10", "vgg16"), "dropout": choice(0.5, 0.25, 0.0)},
    fixed={"epochs": 20},
    searcher="grid",
    scheduler="none",
    samples=6,
)
