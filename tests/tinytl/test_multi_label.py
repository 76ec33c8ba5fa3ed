"""A run on a dataset whose images have several labels each."""

from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from tests.official import pack, tree
from tinytl.checkpoint import read_tensors
from tinytl.config import FinetuneConfig
from tinytl.data import load_splits
from tinytl.engine.build import build_network
from tinytl.finetune import CHECKPOINT, epochs


def test_a_run_on_celeba(tmp_path: Path) -> None:
    for name, data in tree("celeba").items():
        pack(tmp_path / "data/celeba" / name, data)
    config = FinetuneConfig.parse(
        {
            "dataset": "celeba",
            "backbone": "proxyless_tiny",
            "weights": "random",
            "method": "tinytl-lite_residual+bias",
            "resolution": 40,
            "batch_size": 4,
            "epochs": 2,
            "label_smoothing": 0.1,
            "crop_scale": 1.0,
        }
    )
    first, last = epochs(config, directory=tmp_path / "run", data=tmp_path / "data")
    assert last.metrics["train_loss"] < first.metrics["train_loss"]
    assert last.metrics["peak_bytes"] > 0

    torch.manual_seed(config.seed)  # the frozen weights are random too
    built = build_network(config, 40)
    trained = read_tensors(tmp_path / "run" / CHECKPOINT, torch.device("cpu"))["trained"]
    built.network.load_state_dict(trained, strict=False)
    built.network.eval()
    splits = load_splits("celeba", tmp_path / "data", validation=0.1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in built.weights.normalization)
    for part, images in (("val", splits.validation), ("test", splits.test)):
        # every photo is of one grey, so that resizing and cropping leave it as it is
        greys = [images.image(i).double().mean() / 255 for i in range(len(images))]
        inputs = torch.stack([(torch.full((3, 40, 40), float(g)) - mean) / std for g in greys])
        with torch.no_grad():
            logits = built.network(inputs)
        predicted = logits > 0
        shares = [accuracy_score(images.labels[:, k], predicted[:, k]) for k in range(40)]
        loss = log_loss(images.labels.flatten(), logits.double().sigmoid().flatten())
        assert last.metrics[f"{part}_accuracy"] == pytest.approx(sum(shares) / 40)
        assert last.metrics[f"{part}_loss"] == pytest.approx(loss, rel=1e-4)
        assert 0 < last.metrics[f"{part}_accuracy"] < 1
