"""How much data?

Question   What are more training images worth? The report went from 70 % of the labelled images to 90 % once.
Command    sweeps run data_fraction --data tiny-imagenet
Cost       not yet measured on Tiny ImageNet; five trials of 20 epochs, together as long as 53 over all images
Expected   0.1950 at 90 % (data_fraction 1) and 0.1806 at 70 % (7/9 of it) in the report, whose two runs have different test images; here all
           trials have the same tenth of the images to be tested on, and the same validation. Not yet measured here
"""

from sweeps import Sweep, choice

SWEEP = Sweep(
    question="What are more training images worth?",
    trainable="transfer",
    space={"data_fraction": choice(1.0, 7 / 9, 0.5, 0.25, 0.1)},
    fixed={"train_fraction": 0.9, "base": "cifar10", "epochs": 20},
    searcher="grid",
    scheduler="none",
    samples=5,
)
