"""The network that `transfer` and `fine_tune` start from.

Question   How well does the base network learn the images that it is to pass its features on from?
Command    sweeps run base --data cifar10        (sweeps with base=cifar10 run it by themselves where it has not been run yet)
Cost       not yet measured on CIFAR-10; one trial of 50 epochs
Expected   about 0.84 test accuracy on CIFAR-10 (the report); not yet measured here
"""

from sweeps import Sweep

SWEEP = Sweep(
    question="How good a base is this network?",
    trainable="base",
    space={},
    searcher="grid",
    scheduler="none",
    samples=1,
    data="cifar10",
)
