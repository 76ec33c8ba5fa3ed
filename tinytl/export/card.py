"""The card of an exported network: what it is and what it took, on one page."""

from collections.abc import Iterator, Mapping

from tinytl.backbones import Network
from tinytl.data.pipeline.transforms import EVALUATED_SHARE
from tinytl.export.formats import FORMATS
from tinytl.export.restore import Trained

_RELOAD = {
    "state": 'network = tinytl.export.load("DIR")  # import tinytl.export',
    "torch.export": 'network = torch.export.load("DIR/model.pt2").module()  # torch alone',
    "onnx": 'session = onnxruntime.InferenceSession("DIR/model.onnx")',
}


def card(
    trained: Trained, network: Network, files: Mapping[str, int], difference: float, source: str
) -> str:
    """Returns the card as Markdown.

    Args:
        trained: The run.
        network: As it is exported.
        files: The other files and their bytes.
        difference: Of its outputs from those of the network that was trained.
        source: Whose network it is.
    """
    config = trained.config
    side = config.resolution
    lines = [
        f"# {config.backbone} for {config.dataset}, by {config.method}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in _rows(trained, network, difference, source)),
        "",
        f"Takes uint8 images [N, 3, {side}, {side}] (RGB, not normalized) and returns logits "
        f"[N, {len(trained.classes)}], in the order of `classes` in config.yaml. It was evaluated "
        f"on images resized to a short side of {int(side / EVALUATED_SHARE)}, of which the middle "
        "was cut out. In one line, for DIR this folder:",
        "",
        "```python",
        *(
            _RELOAD[name].format(folder="DIR")
            for name, each in FORMATS.items()
            if each.file in files
        ),
        "```",
        "",
        "| file | kB |",
        "|---|---|",
        *(f"| {name} | {size / 1e3:.1f} |" for name, size in files.items()),
    ]
    return "\n".join([*lines, ""])


def _rows(
    trained: Trained, network: Network, difference: float, source: str
) -> Iterator[tuple[str, str]]:
    config, metrics = trained.config, trained.metrics
    if source:
        yield "from", source.replace("|", "\\|")
    for split in ("val", "test"):
        if f"{split}_accuracy" in metrics:
            name = {"val": "validation", "test": "test"}[split]
            yield f"{name} accuracy", f"{100 * metrics[f'{split}_accuracy']:.1f} %"
    if "peak_bytes" in metrics:
        device = trained.device or "a device that was not recorded"
        yield "measured training memory", f"{_megabytes(metrics['peak_bytes'])} MB on {device}"
        yield "kept by autograd", f"{_megabytes(metrics['saved_bytes'])} MB"
        yield "by the paper's count", f"{_megabytes(metrics['modeled_bytes'])} MB"
    yield "resolution, batch size", f"{config.resolution}, {config.batch_size}"
    yield "epochs", f"{trained.epoch} of {config.epochs}"
    yield "parameters", f"{sum(p.numel() for p in network.parameters()):,}"
    yield "of them trained", f"{sum(p.numel() for p in trained.parameters.values()):,}"
    yield "largest difference of outputs from the trained network", f"{difference:.1e}"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.2f}"
