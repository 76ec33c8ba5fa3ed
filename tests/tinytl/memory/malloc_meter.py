"""Prints, as JSON, the peak of a training step for each configuration on the command line.

Run by test_measured.py in a process of its own, with the malloc counter preloaded.
"""

import ctypes
import json
import sys
from functools import partial

import torch

from tinytl.config import FinetuneConfig
from tinytl.engine.build import build_network
from tinytl.engine.execute import make_step
from tinytl.engine.step import make_optimizer


def peak_of_a_step(config: FinetuneConfig) -> int:
    """Returns the highest sum of blocks above what was there before the step."""
    meter = ctypes.CDLL(None)
    meter.meter_peak.restype = ctypes.c_longlong
    network = build_network(config, 10).network
    optimizer = make_optimizer(network, config)
    size = config.batch_size, 3, config.resolution, config.resolution
    images = torch.randint(256, size, dtype=torch.uint8)
    labels = torch.randint(10, (config.batch_size,))
    step = partial(make_step(network, optimizer, config), images, labels)
    step()  # creates the optimizer's state and the kernels' caches
    step()
    meter.meter_start()
    step()
    return meter.meter_peak()


if __name__ == "__main__":
    torch.set_num_threads(1)
    configs = [FinetuneConfig.parse(values) for values in json.loads(sys.argv[1])]
    json.dump([peak_of_a_step(config) for config in configs], sys.stdout)
