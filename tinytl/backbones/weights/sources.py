"""Which pre-trained weights there are, where their files come from, and what belongs to them.

The input normalization and the kind of norm layers belong to the weights, not to the dataset.
torchvision's and timm's addresses, digests and normalizations are read from their own tables.
"""

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from torchvision.models import get_model_weights

from tinytl.backbones import timm
from tinytl.config import Norm
from tinytl.errors import WeightsError

RGB = tuple[float, float, float]
HALF: tuple[RGB, RGB] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file, and where it is to be had.

    Attributes:
        file: Its name in a directory of weights; may have folders.
        urls: Where it is downloaded from, in this order.
        digest: What it must have, see `tinytl.download.verify`; None where nobody tells.
        needs: Files without which it is of no use, named likewise.
    """

    file: str
    urls: tuple[str, ...] = ()
    digest: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WeightsInfo(Source):
    """A weights file.

    Attributes:
        norm: The norm layers it was trained with; None where any will do.
        normalization: Mean and standard deviation of its input's channels, for values in 0 to 1.
        resolution: Side of the images it was trained on, in pixels; None where nobody tells.
        lite_residual: Whether it brings lite residual modules.
    """

    norm: Norm | None
    normalization: tuple[RGB, RGB]
    resolution: int | None = None
    lite_residual: bool = False


# The laboratory's files moved from the second host to the first, under the same paths.
_LABORATORY = ("https://hanlab18.mit.edu", "https://hanlab.mit.edu")
_TINYTL = tuple(f"{host}/projects/tinyml/tinyTL/files" for host in _LABORATORY)
_MCUNET = tuple(f"{host}/projects/tinyml/mcunet/release" for host in _LABORATORY)
_PROXYLESS = (
    "https://raw.githubusercontent.com/han-cai/files/master/proxylessnas",
    "https://hanlab.mit.edu/files/proxylessNAS",
    "https://file.lzhu.me/projects/proxylessNAS",
)

# Networks specialized for a dataset, by our name of it and the reference's.
SPECIALIZED = {
    "aircraft": "aircraft",
    "cars": "car",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "cub200": "cub200",
    "flowers102": "flowers102",
    "food101": "food101",
    "pets": "pets",
}


def specialized_source(dataset: str, file: str) -> Source:
    """Returns the source of `net.config` or `init`, which are named alike for every dataset."""
    folder = f"specialized/{SPECIALIZED[dataset]}"
    path = f"{folder}/{file}"
    needs = tuple(f"{folder}/{other}" for other in ("net.config", "init") if other != file)
    return Source(file=path, urls=_at(_TINYTL, path), needs=needs)


def _at(bases: tuple[str, ...], file: str) -> tuple[str, ...]:
    return tuple(f"{base}/{file}" for base in bases)


def _proxyless(name: str) -> WeightsInfo:
    file = f"{name}.pth"
    return WeightsInfo(
        file=file,
        urls=_at(_PROXYLESS, file),
        norm="bn_frozen",
        normalization=IMAGENET,
        resolution=224,
    )


def _mcunet(file: str, resolution: int, sha256: str) -> WeightsInfo:
    return WeightsInfo(
        file=file,
        urls=_at(_MCUNET, file),
        digest=f"sha256:{sha256}",
        norm="bn_frozen",
        normalization=HALF,
        resolution=resolution,
    )


def _specialized(dataset: str) -> WeightsInfo:
    source = specialized_source(dataset, "init")
    return WeightsInfo(
        file=source.file,
        urls=source.urls,
        needs=source.needs,
        norm="gn_ws",
        normalization=IMAGENET,
        lite_residual=True,
    )


_TINYTL_FILE = "proxylessnas_mobile+lite_residual@imagenet@ws+gn"
_TINYTL_WEIGHTS = WeightsInfo(
    file=_TINYTL_FILE,
    urls=_at(_TINYTL, _TINYTL_FILE),
    norm="gn_ws",
    normalization=IMAGENET,
    resolution=224,
    lite_residual=True,
)

# our names of torchvision's networks and its own
_TORCHVISION = {
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3_large",
    "mobilenet_v3_small": "mobilenet_v3_small",
    "mnasnet_0.5": "mnasnet0_5",
    "mnasnet_0.75": "mnasnet0_75",
    "mnasnet": "mnasnet1_0",
    "mnasnet_1.3": "mnasnet1_3",
    "efficientnet_b0": "efficientnet_b0",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "inception_v3": "inception_v3",
}


def _torchvision(version: str) -> dict[str, tuple[WeightsInfo, ...]]:
    """Returns the weights of a version by backbone, as far as torchvision has them."""
    found: dict[str, tuple[WeightsInfo, ...]] = {}
    for backbone, name in _TORCHVISION.items():
        for weights in get_model_weights(name):
            if weights.name == version:
                preset = weights.transforms()
                found[backbone] = (
                    WeightsInfo(
                        file=weights.url.rpartition("/")[2],
                        urls=(weights.url,),
                        digest=_digest_in(weights.url),
                        norm="bn_frozen",
                        normalization=(tuple(preset.mean), tuple(preset.std)),
                        resolution=preset.crop_size[0],
                    ),
                )
    return found


def _digest_in(url: str) -> str | None:
    """Returns the first digits of the SHA-256 that torchvision puts into its file names."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", url)
    return f"sha256:{found[1]}" if found else None


def _imagenet() -> dict[str, tuple[WeightsInfo, ...]]:
    known = _torchvision("IMAGENET1K_V1")
    # torchvision's network changes its input from mean and deviation to this; ours does not
    known["inception_v3"] = tuple(
        replace(info, normalization=HALF) for info in known["inception_v3"]
    )
    return known | {
        "proxyless_w0.25": (
            _mcunet(
                "proxyless-w0.25-r112_imagenet.pth",
                112,
                "d4bfc7a6fd8c2ee846cbad32a42153f454b02f73da605c6506bb233dc236ebbb",
            ),
        ),
        "proxyless_w0.3": (
            _mcunet(
                "proxyless-w0.3-r176_imagenet.pth",
                176,
                "5c94b02905bff62a4b1c11454b32e90d5c3e355d576aedf48257e2393de18d20",
            ),
        ),
        "proxyless_mobile": (_TINYTL_WEIGHTS, _proxyless("proxyless_mobile")),
        "proxyless_mobile_14": (_proxyless("proxyless_mobile_14"),),
        "proxyless_cpu": (_proxyless("proxyless_cpu"),),
        "proxyless_gpu": (_proxyless("proxyless_gpu"),),
        **{f"specialized/{dataset}": (_specialized(dataset),) for dataset in SPECIALIZED},
    }


# by the name in configurations, then by backbone; the first is the default, others have other norms
WEIGHTS: dict[str, dict[str, tuple[WeightsInfo, ...]]] = {
    "imagenet": _imagenet(),
    "imagenet_v2": _torchvision("IMAGENET1K_V2"),
    "rendered_digits": {
        "proxyless_tiny": (
            WeightsInfo(
                file="proxyless_tiny@rendered_digits.pt",
                norm="gn_ws",
                normalization=HALF,
                resolution=48,
            ),
        ),
    },
}
RANDOM = WeightsInfo(file="", norm=None, normalization=HALF)


def weights_of(backbone: str) -> dict[str, tuple[WeightsInfo, ...]]:
    """Returns a backbone's weights by their name in configurations."""
    if backbone.startswith(timm.PREFIX):
        return _timm(backbone)
    return {name: known[backbone] for name, known in WEIGHTS.items() if backbone in known}


def _timm(backbone: str) -> dict[str, tuple[WeightsInfo, ...]]:
    found = timm.pretrained(backbone)
    if found is None:
        return {}
    info = WeightsInfo(
        file=found.file,
        urls=(found.url,),
        digest=_digest_in(found.url),
        norm="bn_frozen",
        normalization=(found.mean, found.std),
        resolution=found.resolution,
    )
    return {"imagenet": (info,)}


def weights_info(weights: str, backbone: str, norm: Norm | None = None) -> WeightsInfo:
    """Returns what is known of the weights, without reading them.

    Args:
        weights: Name of the weights, or the path of a file with a known name.
        backbone: Name of the backbone.
        norm: The norm layers to be had, where there are weights for several.

    Raises:
        WeightsError: If there are none by that name for the backbone.
    """
    if weights == "random":
        return RANDOM
    named = weights_of(backbone)
    known = named.get(weights, ())
    if weights not in WEIGHTS:
        tables = (*(each for infos in WEIGHTS.values() for each in infos.values()), *named.values())
        files = (info for each in tables for info in each)
        known = tuple(info for info in files if Path(weights).match(info.file))
    if not known:
        raise WeightsError(_no_such_weights(weights, backbone))
    return next((info for info in known if info.norm == norm), known[0])


def _no_such_weights(weights: str, backbone: str) -> str:
    text = (
        f"there are no weights {weights!r} for backbone {backbone!r}: choose one of "
        f"{', '.join([*weights_of(backbone), 'random'])}, or the path of a file with a known name"
    )
    near = difflib.get_close_matches(backbone, WEIGHTS.get(weights, ()))
    return f"{text}; there are {weights!r} weights for {', '.join(near)}" if near else text
