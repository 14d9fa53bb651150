"""How many layers to freeze?

Question   Of a base trained on CIFAR-10, how many of the last layers should go on learning?
Command    sweeps run freeze_depth --data tiny-imagenet        (--set base=half: a base trained on half of the data set's own classes)
Cost       not yet measured on Tiny ImageNet; seven trials of 20 epochs, and the base's 50 where there is none yet
Expected   the more layers learn, the better: 0.2071, 0.2341, 0.2659, 0.3288 with 5, 8, 13 and all 24 in the report; not yet measured here there.
           `--data fashion-mnist --set base=half --epochs 6`, all 70,000 images, best validation accuracy, seed 0: 0.9033, 0.9165, 0.9224, 0.9247, 0.9255,
           0.9267, 0.9286 for 0, 5, 8, 13, 16, 21, 24 layers: as the report saw (test accuracy of the last one 0.9207).
           The same on few images (`--set images=4000 --epochs 8`, mean of seeds 0, 1, 2, standard deviations 0.006 to 0.009): 0.875, 0.883, 0.886, 0.894,
           0.895, 0.888, 0.883: it rises to two blocks and falls again, since 4,000 images are too few to better a first block that fits as it is
"""

from sweeps import Sweep, choice

SWEEP = Sweep(
    question="How many layers of a trained base should go on learning?",
    trainable="fine_tune",
    # Counted as the report counts: half a block, a block, a block and a half, ... of three. The costliest first, so that none of them is the last at work.
    space={"unfrozen_layers": choice(24, 21, 16, 13, 8, 5, 0)},
    fixed={"epochs": 20},
    searcher="grid",
    scheduler="none",
    samples=7,
)
