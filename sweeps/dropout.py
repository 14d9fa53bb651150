"""How much dropout?

Question   Which rate, in all of the network's dropout layers, generalises best on this data set?
Command    sweeps run dropout --data tiny-imagenet        (or digits, fashion-mnist, cifar10, images:PATH)
Cost       not yet measured on Tiny ImageNet; digits: see README
Expected   +1 to +2 points over no dropout on Tiny ImageNet (published experience with like networks); not yet measured here
"""

from sweeps import Sweep, uniform

SWEEP = Sweep(
    question="How much dropout generalises best?",
    trainable="cnn",
    space={"dropout": uniform(0.0, 0.7)},
    known_points=({"dropout": 0.25}, {"dropout": 0.0}, {"dropout": 0.5}),
    fixed={"epochs": 20},
    searcher="tpe",
    scheduler="asha",
    grace_epochs=6,  # a high rate learns slowly at first: judged earlier it always loses
    samples=8,
)
