"""The benchmark of the input pipeline, on a few photos."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks.systems.input_pipeline import (
    OurBatches,
    Settings,
    compare,
    draw,
    peer_batches,
    print_results,
    write_photos,
)
from benchmarks.systems.report import write
from tinytl.data import load_splits

SETTINGS = Settings(images=12, resolution=32, workers=1, batch_size=4, rounds=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, SETTINGS.images)
    return folder


def test_photos_are_the_same_every_time_and_as_large_as_photos(
    photos: Path, tmp_path: Path
) -> None:
    write_photos(tmp_path, 3)
    for path in sorted((tmp_path / "train").rglob("*.jpg")):
        content = path.read_bytes()
        assert content == (photos / path.relative_to(tmp_path)).read_bytes()
        assert 20_000 < len(content) < 300_000


def test_both_pipelines_make_inputs_of_the_same_kind(photos: Path) -> None:
    splits = load_splits("photos", photos, validation=0)
    in_process = Settings(**{**asdict(SETTINGS), "workers": 0})
    peer = peer_batches(photos / "train", in_process, jitter=False)
    ours = OurBatches(splits.train, in_process, jitter=False)
    (theirs, their_labels), (mine, my_labels) = (
        [torch.cat(part) for part in zip(*pipeline, strict=True)] for pipeline in (peer, ours)
    )
    assert mine.shape == theirs.shape == (12, 3, 32, 32)
    assert my_labels.sum() == their_labels.sum() == 6
    assert mine.mean() == pytest.approx(float(theirs.mean()), abs=0.2)
    assert mine.std() == pytest.approx(float(theirs.std()), rel=0.2)


@pytest.mark.integration
def test_results_have_all_rounds_and_say_where_they_were_found(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = compare(photos, SETTINGS)
    print_results(results)
    assert "crop + flip + jitter" in capsys.readouterr().out
    write(tmp_path / "results.json", results)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["settings"] == asdict(SETTINGS)
    assert torch.__version__.startswith(content["provenance"]["packages"]["torch"])
    for name in ("crop_flip", "crop_flip_jitter"):
        rates = content[name]["images_per_second"]
        assert content[name]["ratio"] == pytest.approx(rates["ours"] / rates["peer"])
        assert {len(found) for found in content[name]["rounds"].values()} == {1}
    assert content["cache"]["images"] == 14
    assert str(tmp_path) not in json.dumps(content)
    assert draw(results).startswith(b"\x89PNG")
