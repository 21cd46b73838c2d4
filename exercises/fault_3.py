"""Fault 3: one line of one backward pass is wrong, and a model trains with it.

`python -m exercises check fault_3` plants the fault in the model (in memory, no file is changed), trains a small ViT
with and without it, and then calls `investigate` below while the fault is in place. The files of model/layers/ show the
correct code: find the file, and the line in it that was changed.
"""

from checks import check_layer
from model.layers.dense import Dense


def investigate():
    """Yours to change: look at whatever you suspect."""
    print(check_layer(Dense(12, 7), (2, 5, 12)))


def fault():
    """-> (file, line): a file of model/layers/ as in "dense", and the number of the line or its text."""
    raise NotImplementedError  # yours to write
