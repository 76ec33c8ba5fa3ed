"""The paper's recipes are shipped as sweep files, and each builds the network it names."""

import random

import pytest
import torch

from orchestrator.spec import load_spec
from orchestrator.spec.file import shipped_names
from tinytl.data import dataset_info
from tinytl.engine.build import build_network
from tinytl.methods import METHODS, PAPER_METHODS
from tinytl.nn.lite_residual import WithLiteResidual

JITTER = (0.4, 0.4, 0.4, 0.1)
# dataset, learning rate at batch 8 and at batch 1, label smoothing, colour jitter
RECIPES = [
    ("flowers102", 2e-4, 3e-4, 0.7, None),
    ("aircraft", 1.6e-3, 3e-4, 0.7, JITTER),
    ("cars", 8e-4, 2e-4, 0.7, JITTER),
    ("cub200", 6e-4, None, 0.7, None),
    ("food101", 2e-4, None, 0.1, None),
    ("pets", 5e-5, None, 0.7, None),
    ("cifar10", 3e-4, None, 0.1, None),
    ("cifar100", 3e-4, None, 0.1, None),
]
BATCHES = [
    (dataset, batch_size, rate, smoothing, jitter)
    for dataset, *rates, smoothing, jitter in RECIPES
    for batch_size, rate in zip((8, 1), rates, strict=True)
    if rate is not None
]


@pytest.mark.parametrize(("dataset", "batch_size", "rate", "smoothing", "jitter"), BATCHES)
def test_a_recipe_is_the_papers(
    dataset: str, batch_size: int, rate: float, smoothing: float, jitter: tuple | None
) -> None:
    spec = load_spec(f"paper/{dataset}_batch{batch_size}")
    configs = [spec.finetune_config(dataset, params) for params in spec.space.grid()]
    assert {config.seed for config in configs} == {0, 1, 2, 3, 4}
    for config in configs:
        assert (config.dataset, config.batch_size) == (dataset, batch_size)
        assert (config.learning_rate, config.label_smoothing) == (rate, smoothing)
        assert (config.epochs, config.optimizer, config.dropout) == (50, "adam", 0.2)
        assert (config.weight_decay, config.validation) == (0, 0)
    info = dataset_info(dataset)
    assert (info.crop_scale, info.flip, info.colour_jitter) == (0.22, True, jitter)


def test_the_rows_of_table_2() -> None:
    spec = load_spec("paper/flowers102_batch8")
    params = list(spec.space.grid())
    assert {row["method"] for row in params} == set(PAPER_METHODS)
    assert {row["resolution"] for row in params} == {224}
    (larger,) = {
        row["resolution"]
        for row in load_spec("paper/flowers102_batch8", ["resolution=320"]).space.grid()
    }
    assert larger == 320


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_sweep_file_builds_its_networks(name: str) -> None:
    spec, rng = load_spec(name), random.Random(0)
    configs = {}
    while set(configs) != set(spec.values("method")):
        config = spec.finetune_config(spec.datasets[0], spec.space.sample(rng))
        configs[config.method] = config
    for method, config in configs.items():
        with torch.device("meta"):
            network = build_network(config, 10, pretrained=False).network
        inserted = any(isinstance(module, WithLiteResidual) for module in network.modules())
        brought = config.backbone == "proxyless_mobile"  # by its weights, for every method
        assert inserted == (METHODS[method].uses_lite_residual or brought)
