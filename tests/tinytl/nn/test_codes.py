"""Codes are packed without waste, and stand for weights as near as their bits allow."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from tinytl.config import BITS, FrozenWeightsConfig
from tinytl.nn.codes import STORAGES, pack, unpack


def stored(weight: torch.Tensor, storage: str, bits: int) -> torch.Tensor:
    """The weight after it was stored and made dense."""
    ways = STORAGES[storage]
    codes, levels = ways.quantize(weight, bits)
    assert codes.dtype == torch.uint8
    assert codes.max().item() < 2**bits
    return ways.dequantize(codes, levels, bits, weight.shape)


# --- packing ---


@pytest.mark.parametrize("numel", [1, 7, 8, 9, 64, 1001])
@pytest.mark.parametrize("bits", BITS)
def test_packed_codes_unpack_to_what_they_were(bits: int, numel: int) -> None:
    torch.manual_seed(0)
    codes = torch.randint(0, 2**bits, (numel,), dtype=torch.uint8)
    packed = pack(codes, bits)
    assert packed.numel() == -(-numel * bits // 8)
    assert torch.equal(unpack(packed, bits, numel), codes)
    # the second way: one whole number, whose lowest bits are the first code
    number = int.from_bytes(packed.tolist(), "little")
    assert [number >> i * bits & (2**bits - 1) for i in range(numel)] == codes.tolist()


# --- k-means ---


@pytest.mark.parametrize("shape", ["normal", "laplace", "uniform"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_the_codebook_is_as_good_as_scikit_learns(bits: int, shape: str) -> None:
    rng = np.random.default_rng(0)
    values = getattr(rng, shape)(size=2000)
    weight = torch.from_numpy(values).view(20, 100)
    ours = (stored(weight, "kmeans", bits) - weight).square().sum().item()
    with np.errstate(all="ignore"):
        theirs = KMeans(2**bits, n_init=2, random_state=0).fit(values[:, None]).inertia_
    assert ours <= 1.05 * theirs


@pytest.mark.parametrize("bits", BITS)
def test_entries_are_the_means_of_their_weights(bits: int) -> None:
    torch.manual_seed(bits)
    weight = torch.randn(8, 500, dtype=torch.float64)
    codes, codebook = STORAGES["kmeans"].quantize(weight, bits)
    nearest = (weight.flatten()[:, None] - codebook).abs().argmin(dim=1)
    assert torch.equal(codes.long(), nearest)
    assert torch.equal(codebook, codebook.sort().values)
    for code in codes.unique().tolist():
        mean = weight.flatten()[codes == code].mean()
        assert mean.item() == pytest.approx(codebook[code].item(), abs=0.02)


@pytest.mark.parametrize("distinct", [1, 2, 3, 4])
def test_few_distinct_weights_are_kept_exactly(distinct: int) -> None:
    values = torch.tensor([-1.0, 1e-3, 2e-3, 7.0])[:distinct]
    weight = values.repeat(50).view(10, -1)
    assert torch.equal(stored(weight, "kmeans", 2), weight)


# --- scales ---


@pytest.mark.parametrize("bits", BITS)
def test_a_scaled_weight_is_off_by_half_a_step_at_most(bits: int) -> None:
    torch.manual_seed(bits)
    weight = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    weight[2] *= 100  # a channel does not spoil the others
    weight[4] = 0
    step = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / (2 ** (bits - 1) - 1)
    dense = stored(weight, "scale", bits)
    assert ((dense - weight).abs() <= step * (0.5 + 1e-12)).all()
    torch.testing.assert_close(dense.abs().amax(), weight.abs().amax())
    assert torch.equal(stored(-weight, "scale", bits), -dense)


# --- both ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("storage", STORAGES)
def test_more_bits_are_nearer_and_the_type_stays(storage: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = torch.randn(32, 16, 3, 3, dtype=dtype)
    before = weight.clone()
    dense = [stored(weight, storage, bits) for bits in BITS]
    errors = [(each - weight).square().mean().item() for each in dense]
    assert errors == sorted(errors, reverse=True)
    assert {each.dtype for each in dense} == {dtype}
    assert torch.equal(weight, before)


def test_configurations_know_every_storage() -> None:
    for storage in STORAGES:
        FrozenWeightsConfig.model_validate({"storage": storage})
    schema = FrozenWeightsConfig.model_json_schema()
    assert schema["properties"]["storage"]["enum"] == list(STORAGES)
