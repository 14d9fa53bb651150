"""HOW one trial trains: one file per experiment here; what runs them is in `core/`."""

from trainables.core.config import TrainConfig as TrainConfig
from trainables.core.trainable import Trainable as Trainable
from trainables.core.trainable import get_trainable as get_trainable
from trainables.core.trainable import trainable_names as trainable_names
