"""Data-parallel training with keras.distribution on JAX: each device computes its share of every batch.

The computation is that of one device with the whole batch: XLA sums gradients, the Dice loss and BatchNorm's statistics
over all devices.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from edge.errors import UserError, counted, one_line, reason_of
from train.data.devices import ONE_DEVICE, Devices

if TYPE_CHECKING:
    import keras

ADDRESSES, COUNT, NUMBER = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
"""Environment variables that Keras reads on each of several hosts."""


def join_hosts() -> None:
    """Connect to the other hosts if the environment names them; must come before the first computation.

    Raises `UserError`, also if they do not answer.
    """
    keras = import_module("keras")
    if (backend := keras.backend.backend()) != "jax":
        raise UserError(f"--distribute does not work with Keras on {backend}", "set KERAS_BACKEND=jax")
    if not any(name in os.environ for name in (ADDRESSES, COUNT, NUMBER)):
        return
    try:
        keras.distribution.initialize()
    except (ValueError, RuntimeError) as error:
        problem = f"the hosts of {ADDRESSES} could not be joined ({one_line(reason_of(error))})"
        raise UserError(problem, f"set it, {COUNT} and {NUMBER} on each host, and start them together") from error


def data_parallel(batch_size: int) -> keras.distribution.DataParallel:
    """Return the distribution over all devices of all hosts. Raises `UserError` if they cannot share a batch."""
    distribution = import_module("keras").distribution.DataParallel(auto_shard_dataset=False)
    count = distribution.device_mesh.devices.size
    if batch_size % count:
        problem = f"--batch-size {batch_size} cannot be divided among {count} devices"
        raise UserError(problem, f"expected a multiple of {count}")
    return distribution


def devices_of(distribution: keras.distribution.DataParallel | None, **images: int) -> Devices:
    """Return the devices of a distribution. Raises `UserError` for a set with fewer images than devices."""
    if distribution is None:
        return ONE_DEVICE
    jax = import_module("jax")
    devices = Devices(distribution.device_mesh.devices.size, jax.process_count(), jax.process_index())
    for name, count in images.items():
        if 0 < count < devices.count:
            problem = f"{counted(count, f'{name} image')} cannot be divided among {devices.count} devices"
            raise UserError(problem, "add images, or train without --distribute")
    return devices
