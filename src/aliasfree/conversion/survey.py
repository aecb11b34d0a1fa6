"""Which modules of a model resample or distort planes, what can be done about each, and why some are left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from diffusers.models.activations import GEGLU, GELU, ApproximateGELU, LinearActivation, SwiGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.downsampling import Downsample2D, FirDownsample2D, KDownsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import FirUpsample2D, KUpsample2D, Upsample2D
from torch import nn

from aliasfree.conversion.modules import ACTIVATIONS, CONVERTED, Filter, sides
from aliasfree.conversion.treatment import FACTORS, Treatment

__all__ = ["Finding", "survey"]

LARGEST_STRIDE = 4
UPSAMPLING_FACTORS = (2, 4, 8)
NOT_SPATIAL = ("diffusers.models.embeddings", "diffusers.models.normalization", "transformers.")
"""Where modules see vectors and tokens: timesteps, classes, texts."""


@dataclass(frozen=True)
class Finding:
    """One module.

    name        as in `named_modules`
    module      itself
    done        what conversion makes of it; "" = it is left
    reason      why it is left
    become      the class it changes to; None = it keeps its own
    attributes  what else changes
    """

    name: str
    module: nn.Module
    done: str = ""
    reason: str = ""
    become: type[nn.Module] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


def survey(model: nn.Module, treatment: Treatment, feed_forward: bool) -> Iterator[Finding]:
    """Every spatial module of a stock model, in order; changes nothing."""
    return _Survey(treatment, feed_forward).run(model)


class _Survey:
    def __init__(self, treatment: Treatment, feed_forward: bool) -> None:
        self.how = treatment
        self.letter = f"config {treatment.config.letter}"
        self.resampling = treatment.config.filters_resampling
        self.activations = treatment.config.filters_activations
        self.feed_forward = feed_forward
        self.owned: dict[nn.Module, str] = {}  # modules that a module above takes care of, and how
        self.vectors: set[nn.Module] = set()  # modules that see no planes

    def run(self, model: nn.Module) -> Iterator[Finding]:
        for name, module in model.named_modules():
            if type(module).__module__.startswith(NOT_SPATIAL):
                self.vectors.update(module.modules())
            if name.rpartition(".")[2] == "time_embed_act":
                self.vectors.add(module)
            found = self.examine(name, module)
            if found is not None:
                yield found

    def examine(self, name: str, module: Any) -> Finding | None:
        if isinstance(module, nn.Conv2d):
            return self.convolution(name, module)
        if isinstance(module, ResnetBlock2D):
            return self.functions(name, module)
        if isinstance(module, Transformer2DModel | GEGLU | Attention | nn.LayerNorm | _ON_TOKENS):
            return self.transformer(name, module)
        known = type(module) in CONVERTED
        if not known and not isinstance(module, (*CONVERTED, *_NEVER)):
            return None
        obstacle = _obstacle(module)
        if not known and not obstacle:
            obstacle = "a subclass of a known part, perhaps with a forward of its own"
        if obstacle:
            return Finding(name, module, reason=obstacle)
        if type(module) in ACTIVATIONS:
            return self.activation(name, module)
        if isinstance(module, ControlNetConditioningEmbedding):
            return self.condition_encoder(name, module)
        if not self.resampling:
            if self.how.padding_mode and isinstance(module, Downsample2D) and module.use_conv and module.padding == 0:
                done = f"{self.how.padding_mode} padding behind the plane"
                return Finding(name, module, done, become=CONVERTED[Downsample2D])
            return Finding(name, module, reason=self.letter)
        if isinstance(module, Upsample2D | FirUpsample2D | KUpsample2D | nn.Upsample):
            done = "band-limited interpolation"
        elif isinstance(module, FirDownsample2D | KDownsample2D):
            done = "its filter at full rate, low-pass, decimation by 2"
        elif isinstance(module, nn.AvgPool2d):
            done = f"average at full rate, low-pass, decimation by {sides(module.kernel_size)[0]}"
        elif module.use_conv:
            self.owned[module.conv] = f"low-pass and decimation by 2 in {name}"
            done = "low-pass and decimation by 2 after its convolution"
        else:
            return None  # a Downsample2D that only holds an average pool
        return Finding(name, module, done, become=CONVERTED[type(module)])

    def activation(self, name: str, module: nn.Module) -> Finding:
        if module in self.vectors:
            return Finding(name, module, reason="sees embeddings, not planes")
        if not self.activations:
            return Finding(name, module, reason=self.letter)
        return Finding(name, module, "filtered on planes; vectors pass", become=CONVERTED[type(module)])

    def convolution(self, name: str, conv: nn.Conv2d) -> Finding:
        changes: dict[str, Any] = {}
        done, become, reason = "", None, "stride 1: linear, does not alias"
        if conv in self.owned:
            done, changes["stride"] = f"stride 1; {self.owned[conv]}", (1, 1)
        elif tuple(conv.stride) != (1, 1):
            reason = self._stride_obstacle(conv)
            if not reason:
                done, become = f"stride 1, low-pass, decimation by {conv.stride[0]}", CONVERTED[nn.Conv2d]
                changes = {"decimation": conv.stride[0], "stride": (1, 1)}
        padding = self.how.padding_mode
        if padding and conv.padding not in ((0, 0), "valid") and conv.padding_mode != padding:
            changes["padding_mode"] = padding
            done = f"{done}; {padding} padding" if done else f"{padding} padding"
        return Finding(name, conv, done, "" if done else reason, become, changes)

    def _stride_obstacle(self, conv: nn.Conv2d) -> str:
        if not self.resampling:
            return self.letter
        if conv in self.vectors:
            return "makes tokens of patches"
        if conv.stride[0] != conv.stride[1] or conv.stride[0] > LARGEST_STRIDE:
            return f"stride {conv.stride[0]}x{conv.stride[1]}: only equal strides up to {LARGEST_STRIDE} are converted"
        return "" if type(conv) is nn.Conv2d else "a subclass of a known part, perhaps with a forward of its own"

    def functions(self, name: str, block: ResnetBlock2D) -> Finding | None:
        """Residual blocks made with kernel="fir" or "sde_vp" hold plain functions that resample."""
        changes: dict[str, Any] = {}
        for which in ("upsample", "downsample"):
            function = getattr(block, which)
            if function is not None and not isinstance(function, nn.Module):
                line = (1, 1) if hasattr(function, "func") else (1, 3, 3, 1)  # a partial of avg_pool2d, or FIR
                changes[which] = Filter(self.how, which == "upsample", line)
        if not changes:
            return None
        if not self.resampling:
            return Finding(name, block, reason=f"resamples by a function: {self.letter}")
        return Finding(name, block, "the function it resamples by is filtered", attributes=changes)

    def condition_encoder(self, name: str, module: ControlNetConditioningEmbedding) -> Finding:
        if not (self.resampling or self.activations):
            return Finding(name, module, reason=self.letter)
        factors = tuple(block.stride[0] if self.resampling else 1 for block in module.blocks)
        for block, factor in zip(module.blocks, factors, strict=True):
            if factor > 1:
                self.owned[block] = f"low-pass and decimation by {factor} in {name}"
        parts = ["decimation"] * self.resampling + ["SiLU"] * self.activations
        return Finding(
            name,
            module,
            f"{' and '.join(parts)} filtered",
            become=CONVERTED[ControlNetConditioningEmbedding],
            attributes={"decimations": factors},
        )

    def transformer(self, name: str, module: Any) -> Finding | None:
        if isinstance(module, Attention):
            return Finding(name, module, reason="softmax over positions, no resampling")
        if isinstance(module, nn.LayerNorm):
            return None if module in self.vectors else Finding(name, module, reason="normalises each position alone")
        if isinstance(module, GEGLU):
            if module in self.owned:
                return Finding(name, module, self.owned[module], become=CONVERTED[GEGLU])
            return Finding(name, module, reason="acts on tokens; filtered in C and D with feed_forward=True")
        if isinstance(module, _ON_TOKENS):
            return Finding(name, module, reason="acts on tokens")
        if not (self.activations and self.feed_forward) or type(module) is not Transformer2DModel:
            return None
        layers = [block.ff.net[0] for block in module.transformer_blocks if type(block.ff.net[0]) is GEGLU]
        if not layers or not module.is_input_continuous:
            return None
        self.owned.update(dict.fromkeys(layers, "filtered as planes"))
        done = "tells its feed-forward layers the shape of the plane"
        return Finding(name, module, done, become=CONVERTED[Transformer2DModel])


_ON_TOKENS = GELU | ApproximateGELU | LinearActivation | SwiGLU
"""diffusers' feed-forward layers that are not gated by a GELU: a projection of tokens, then a nonlinearity."""

_NEVER = (
    nn.MaxPool2d,
    nn.ConvTranspose2d,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)


def _obstacle(module: nn.Module) -> str:
    """Why a known kind of module cannot be converted as it is; "" = it can."""
    if isinstance(module, nn.MaxPool2d):
        return "takes maxima: no linear filter equals it"
    if isinstance(module, nn.ConvTranspose2d):
        return "a transposed convolution: its interpolation is learned"
    if isinstance(module, nn.PixelShuffle | nn.PixelUnshuffle):
        return "exchanges channels and pixels"
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return "pools to a fixed size"
    if isinstance(module, nn.AvgPool2d):
        window = sides(module.kernel_size)
        touching = window == sides(module.stride) and sides(module.padding) == (0, 0)
        square = window[0] == window[1] and window[0] in FACTORS and module.divisor_override is None
        return (
            "" if touching and square else "an average pool with overlapping, padded, oblong, large or rescaled windows"
        )
    if isinstance(module, nn.Upsample):
        factors = sides(module.scale_factor)
        if module.align_corners or module.mode not in ("nearest", "nearest-exact", "bilinear"):
            return f"{module.mode} upsampling{' with corners aligned' if module.align_corners else ''}"
        if module.size is not None or factors[0] != factors[1] or factors[0] not in UPSAMPLING_FACTORS:
            return "upsampling other than by 2, 4 or 8"
    if isinstance(module, Upsample2D) and module.use_conv_transpose:
        return "a transposed convolution: its interpolation is learned"
    if isinstance(module, Upsample2D) and not module.interpolate:
        return "does not interpolate"
    if isinstance(module, FirUpsample2D | FirDownsample2D) and module.use_conv:
        return "its convolution is fused with its filter"
    return ""
