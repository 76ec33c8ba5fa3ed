"""The schema of one run: every rule, all problems at once, and flat names."""

import math
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from tinytl.config import FinetuneConfig, LiteResidualConfig, nested, problems_of
from tinytl.errors import ConfigError

REQUIRED = {
    "dataset": "digits",
    "backbone": "proxyless_tiny",
    "method": "last",
    "resolution": 32,
    "batch_size": 8,
}


def parse(**changes: Any) -> FinetuneConfig:
    return FinetuneConfig.parse(REQUIRED | changes)


# --- rules ---

BROKEN = [
    ({"resolution": 7}, "resolution: input should be greater than or equal to 8, but got 7"),
    ({"resolution": 1025}, "resolution: input should be less than or equal to 1024, but got 1025"),
    ({"resolution": "big"}, "resolution: input should be a valid integer"),
    ({"batch_size": 0}, "batch_size: input should be greater than or equal to 1, but got 0"),
    ({"batch_size": 8.5}, "batch_size: input should be a valid integer"),
    ({"norm": "bn"}, "norm: input should be 'gn_ws' or 'bn_frozen', but got 'bn'"),
    (
        {"execution": "fast"},
        "execution: input should be 'plain', 'saving' or 'planned', but got 'fast'",
    ),
    (
        {"optimizer": "lion"},
        "optimizer: input should be 'adam', 'adam8bit', 'adamw', 'sgd' or 'sgd_momentum'",
    ),
    ({"learning_rate": 0}, "learning_rate: input should be greater than 0, but got 0"),
    ({"learning_rate": 11}, "learning_rate: input should be less than or equal to 10, but got 11"),
    ({"learning_rate": math.nan}, "learning_rate: .* but got nan"),
    ({"learning_rate": math.inf}, "learning_rate: .* but got inf"),
    ({"epochs": 0}, "epochs: input should be greater than or equal to 1, but got 0"),
    ({"weight_decay": -1}, "weight_decay: input should be greater than or equal to 0"),
    ({"label_smoothing": 1}, "label_smoothing: input should be less than 1, but got 1"),
    ({"dropout": 1}, "dropout: input should be less than 1, but got 1"),
    ({"crop_scale": 0}, "crop_scale: input should be greater than 0, but got 0"),
    ({"weights": None}, "weights: input should be a valid string, but got None"),
    ({"validation": 1}, "validation: input should be less than 1, but got 1"),
    ({"train_images": 0}, "train_images: input should be greater than or equal to 1"),
    ({"eval_images": 0}, "eval_images: input should be greater than or equal to 1"),
    ({"seed": -1}, "seed: input should be greater than or equal to 0, but got -1"),
    ({"lr": 1}, "lr: unknown key; remove it or correct its name"),
    ({"lite_residual": 1}, "lite_residual: input should be a valid dictionary"),
    ({"lite_residual": {"width": "a"}}, "lite_residual.width: input should be a valid number"),
    ({"lite_residual": {"width": 9}}, "lite_residual.width: .* or equal to 8, but got 9"),
    ({"lite_residual": {"width": [1, -1]}}, r"lite_residual.width.1: .* to 0, but got -1"),
    ({"lite_residual": {"groups": 0}}, "lite_residual.groups: .* equal to 1, but got 0"),
    ({"lite_residual": {"kernel_size": 4}}, "lite_residual.kernel_size: .* 1, 3, 5 or 7, but"),
    ({"lite_residual": {"init": "zero"}}, "lite_residual.init: .* 'weights' or 'random'"),
    ({"lite_residual": {"size": 1}}, "lite_residual.size: unknown key"),
    ({"frozen_weights": 8}, "frozen_weights: input should be a valid dictionary"),
    ({"frozen_weights": {"bits": 1}}, "frozen_weights.bits: .* or equal to 2, but got 1"),
    ({"frozen_weights": {"bits": 9}}, "frozen_weights.bits: .* or equal to 8, but got 9"),
    ({"frozen_weights": {"bits": 4.5}}, "frozen_weights.bits: input should be a valid integer"),
    ({"frozen_weights": {"bits": [4, 1]}}, r"frozen_weights.bits.1: .* to 2, but got 1"),
    ({"frozen_weights": {"storage": "zip"}}, "frozen_weights.storage: .* 'kmeans' or 'scale'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_broken_rule_is_one_sentence_with_its_key(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{message}") as caught:
        parse(**changes)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("key", REQUIRED)
def test_what_is_required_is_missed(key: str) -> None:
    values = {name: value for name, value in REQUIRED.items() if name != key}
    with pytest.raises(ConfigError, match=f"^{key}: required, but missing$"):
        FinetuneConfig.parse(values)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(resolution=7, lr=1, lite_residual={"groups": 0, "width": [9, "a"]})
    keys = [problem.partition(":")[0] for problem in caught.value.problems]
    assert sorted(keys) == [
        "lite_residual.groups",
        "lite_residual.width.0",
        "lite_residual.width.1",
        "lr",
        "resolution",
    ]
    assert str(caught.value).splitlines() == caught.value.problems


def test_problems_can_be_told_below_a_key() -> None:
    with pytest.raises(ValidationError) as caught:
        LiteResidualConfig.model_validate({"groups": 0})
    assert problems_of(caught.value, "params.lite_residual.") == [
        "params.lite_residual.groups: input should be greater than or equal to 1, but got 0"
    ]


# --- values ---


def test_a_configuration_is_frozen_and_survives_a_round_trip() -> None:
    config = parse(lite_residual={"width": [1, 0, 0.5, 2]}, learning_rate=2e-4)
    assert config.lite_residual is not None
    assert config.lite_residual.width == (1.0, 0.0, 0.5, 2.0)
    assert FinetuneConfig.parse(config.model_dump()) == config
    assert FinetuneConfig.model_validate_json(config.model_dump_json()) == config
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1


# --- flat names ---

FLAT = [
    ({}, {}),
    ({"a": 1, "b": 2}, {"a": 1, "b": 2}),
    ({"a.b": 1, "a.c": 2}, {"a": {"b": 1, "c": 2}}),
    ({"lite_residual.width": 0.5}, {"lite_residual": {"width": 0.5}}),
    (
        {"lite_residual.width.1": 2, "lite_residual.groups": 4, "lite_residual.width.0": 1},
        {"lite_residual": {"groups": 4, "width": (1, 2)}},
    ),
    (
        {f"lite_residual.width.{stage}": stage for stage in range(11)},
        {"lite_residual": {"width": tuple(range(11))}},
    ),
    (
        {"frozen_weights.bits.0": 4, "frozen_weights.storage": "scale", "frozen_weights.bits.1": 8},
        {"frozen_weights": {"storage": "scale", "bits": (4, 8)}},
    ),
    ({"lite_residual": {"groups": 4}}, {"lite_residual": {"groups": 4}}),
    ({"lite_residual": None}, {"lite_residual": None}),
]


@pytest.mark.parametrize(("flat", "expected"), FLAT, ids=str)
def test_flat_names_become_nested(flat: dict, expected: dict) -> None:
    before = dict(flat)
    assert nested(flat) == expected
    assert flat == before


CONFLICTS = [
    ({"lite_residual.width.1": 1}, "one for each stage from 0 on, but got lite_residual.width.1"),
    ({"lite_residual.width.x": 1}, "one for each stage from 0 on, but got lite_residual.width.x"),
    (
        {"lite_residual.width": 1, "lite_residual.width.0": 1},
        "but got lite_residual.width, lite_residual.width.0",
    ),
    ({"frozen_weights.bits.1": 4}, "one for each stage from 0 on, but got frozen_weights.bits.1"),
    ({"a": 1, "a.b": 2}, "a: given as a whole and as a.b; leave one out"),
    ({"a.b": 2, "a": None}, "a: given as a whole and as a.b; leave one out"),
]


@pytest.mark.parametrize(("flat", "message"), CONFLICTS, ids=str)
def test_flat_names_that_contradict_each_other(flat: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        nested(flat)


def test_a_configuration_from_flat_names_is_the_nested_one() -> None:
    flat = {**REQUIRED, "lite_residual.width.0": 1, "lite_residual.width.1": 0.5}
    assert FinetuneConfig.from_flat(flat) == parse(lite_residual={"width": (1, 0.5)})
    with pytest.raises(ConfigError, match=r"^lite_residual\.width\.1: .* but got 'wide'$"):
        FinetuneConfig.from_flat(flat | {"lite_residual.width.1": "wide"})
