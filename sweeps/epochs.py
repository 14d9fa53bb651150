"""How many epochs?

Question   After how many epochs is AlexNet best on validation, and does a longer training still help?
Command    sweeps run epochs --data tiny-imagenet
Cost       not yet measured on Tiny ImageNet; four trials of 10, 25, 50 and 100 epochs are one training of 100, unless `--set schedule=...` goes by
           the final count: then they are 185 epochs
Expected   the report has 0.1251 after 50 epochs and 0.1037 after 100: it over-fits; not yet measured here
"""

from sweeps import Sweep, choice

SWEEP = Sweep(
    question="For how many epochs should it train?",
    trainable="alexnet",
    space={"epochs": choice(10, 25, 50, 100)},
    searcher="grid",
    scheduler="none",
    samples=4,
)
