"""AutoKeras on a time budget.

Question   Does AutoKeras find a better network than the report's own?
Command    sweeps run autokeras --data tiny-imagenet
Cost       its time budget, 3 h as in the report, and the final fit. `--data digits --samples 6 --epochs 3 --seed 1`: 63 s on 2 cores, no GPU, test
           accuracy 0.9852; not yet measured on Tiny ImageNet
Expected   the report has 0.3005 on Tiny ImageNet. One candidate at a time, as AutoKeras does, so that equal seeds give equal candidates; `--parallel N`
           for N at a time on as many workers. The best is fitted once more on train and validation (`--set final_fit=false`: not).
"""

from sweeps import Sweep

SWEEP = Sweep(
    question="Does AutoKeras find a better network?",
    trainable="autokeras_search",
    space={},
    searcher="autokeras",
    scheduler="none",
    samples=100,
    parallel=1,
    time_budget="3h",
    published="3 hours",
)
