"""Ring all-reduce (Patarasuk and Yuan 2009): devices that each send to one neighbour, and all get the mean gradient.

Ring             device k sends to device k + 1 and receives from device k - 1; after the last device comes device 0
Pieces           each gradient is cut into as many pieces as there are devices; gradients[k, j] is piece j of device k
Reduce-scatter   DEVICES - 1 rounds. In each, a device sends one piece, and adds what it receives to its own numbers
                 of that piece. In the end device k has piece k of the sum.
Mean             device k divides that piece by DEVICES
All-gather       DEVICES - 1 rounds. In each, a device sends one piece, and replaces its own numbers of the piece that
                 it receives. In the end every device has all pieces of the mean.

In a round all devices send at the same time, and each of them another piece.
"""

import jax
import jax.numpy as jnp

DEVICES = 4


def ring(gradients):
    """gradients (DEVICES, DEVICES, S) -> what is sent, what is summed, and what each device has in the end.

    sent   (2 (DEVICES - 1), DEVICES, S): in each round, what device k sends to device k + 1
    owned  (DEVICES, S): piece k of the sum, as device k has it after the reduce-scatter
    mean   (DEVICES, DEVICES, S): all pieces of the mean gradient, as each device has them in the end
    """
    raise NotImplementedError  # yours to write
