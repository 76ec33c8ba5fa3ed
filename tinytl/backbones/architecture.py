"""Architectures of ProxylessNAS networks: written compactly, or read as published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tinytl.backbones.base import ModuleShape
from tinytl.errors import ConfigError

NORM_EPS = 1e-3


@dataclass(frozen=True)
class Block:
    """An inverted bottleneck, with a skip connection everywhere but at the start of a stage.

    Some published networks have lite residual modules as part of them.
    """

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    expand_ratio: float
    shortcut: bool
    module: ModuleShape | None = None


@dataclass(frozen=True)
class Architecture:
    """Channels and blocks of a network; None is the zero operation, which leaves the skip alone."""

    stem_channels: int
    feature_channels: int
    blocks: tuple[Block | None, ...]

    @classmethod
    def compact(cls, stem: int, first: int, stages: str, widths: Sequence[int], head: int) -> Self:
        """Builds an architecture from one word per block.

        Args:
            stem: Channels of the first convolution.
            first: Channels of the first block, which is no part of a stage.
            stages: Stages separated by commas, each `stride: word ...`; the word `5e3` is kernel 5
                and expansion 3, `-` the zero operation.
            widths: Channels of each stage.
            head: Channels of the last convolution.
        """
        blocks: list[Block | None] = [Block(stem, first, 3, 1, 1, shortcut=False)]
        channels = first
        for stage, width in zip(stages.split(","), widths, strict=True):
            stride, words = stage.split(":")
            for position, word in enumerate(words.split()):
                if word == "-":
                    blocks.append(None)
                    continue
                kernel_size, expand_ratio = (int(part) for part in word.split("e"))
                is_first = position == 0
                blocks.append(
                    Block(
                        channels,
                        width,
                        kernel_size,
                        int(stride) if is_first else 1,
                        expand_ratio,
                        shortcut=not is_first,
                    )
                )
                channels = width
        return cls(stem, head, tuple(blocks))

    @classmethod
    def from_published(cls, config: Mapping[str, Any]) -> Self:
        """Builds an architecture from a configuration file as published (`net.config`).

        Raises:
            ConfigError: If the configuration is not of that form.
        """
        try:
            _check(config.get("bn", {}), eps=(NORM_EPS,))
            return cls(
                config["first_conv"]["out_channels"],
                config["feature_mix_layer"]["out_channels"],
                tuple(_published_block(block) for block in config["blocks"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"not a published ProxylessNAS configuration: {error!r} is missing or malformed"
            ) from None

    @property
    def stages(self) -> int:
        """How many stages there are: each starts at a block, after the first, without shortcut."""
        return sum(block is not None and not block.shortcut for block in self.blocks[1:])


def _published_block(config: Mapping[str, Any]) -> Block | None:
    main = config["conv"] if "conv" in config else config["mobile_inverted_conv"]
    module = None
    if main is not None and "lite_residual" in main:
        main, module = main["main"], _published_module(main["lite_residual"])
    # names of layers may be left out; the zero operation has no channels
    if main is None or main.get("name") == "ZeroLayer" or main.keys() <= {"stride"}:
        return None
    _check(main, name=("MBInvertedConvLayer", "MBConvLayer"))
    _check(main, act_func=("relu6",), use_se=(False,), groups=(None,))
    hidden = main.get("mid_channels") or round(main["in_channels"] * main["expand_ratio"])
    return Block(
        main["in_channels"],
        main["out_channels"],
        main["kernel_size"],
        main["stride"],
        hidden / main["in_channels"],
        shortcut=config["shortcut"] is not None,
        module=module,
    )


def _published_module(config: Mapping[str, Any]) -> ModuleShape:
    _check(config, act_func=("relu",), upsample_type=("bilinear",), downsample_ratio=(2, None))
    pooled = config["downsample_ratio"] is None  # over the whole map
    return ModuleShape(config["expand"], 1 if pooled else config["kernel_size"], config["n_groups"])


def _check(config: Mapping[str, Any], **allowed: tuple[Any, ...]) -> None:
    """Checks settings that are fixed here; a configuration may leave them out."""
    for key, values in allowed.items():
        if key in config and config[key] not in values:
            raise ValueError(f"{key}: {config[key]!r}")
