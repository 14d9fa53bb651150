"""How deep?

Question   How many double-convolution blocks generalise best? The report has three, and found no clear difference.
Command    sweeps run depth --data tiny-imagenet
Cost       not yet measured on Tiny ImageNet; five trials of 20 epochs
Expected   three or four blocks at 32 px; not yet measured on Tiny ImageNet
"""

from sweeps import Sweep, choice

SWEEP = Sweep(
    question="How many convolution blocks generalise best?",
    trainable="cnn",
    space={"depth": choice(3, 2, 4, 1, 5)},
    fixed={"epochs": 20},
    searcher="grid",
    scheduler="none",
    samples=5,
)
