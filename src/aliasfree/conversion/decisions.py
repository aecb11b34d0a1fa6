"""Which modules of a model resample or distort planes, what can be done about each, and why some are left.

What a module receives was watched (`trace`). Of a part whose `forward` cannot be called alone nothing was; then its
kind decides, and tensors of four axes are taken for planes (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from diffusers.models.activations import GEGLU, GELU, ApproximateGELU, LinearActivation, SwiGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.downsampling import Downsample2D, FirDownsample2D, KDownsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import FirUpsample2D, KUpsample2D, Upsample2D
from torch import nn

from aliasfree.conversion.activations import ACTIVATIONS
from aliasfree.conversion.blocks import Filter, OnTorus
from aliasfree.conversion.functions import BY_FUNCTIONS, PAD_BY_FUNCTIONS
from aliasfree.conversion.modules import CONVERTED, PADS
from aliasfree.conversion.plane_filters import PlaneFilters
from aliasfree.conversion.resampling import AliasFreePaddedConv2d, Local, sides, sides_of
from aliasfree.conversion.trace import Trace, plane_axes
from aliasfree.conversion.traced_calls import TracedCalls
from aliasfree.conversion.unsupported import NEVER, unsupported

__all__ = ["Decision", "decide"]

LARGEST_STRIDE = 4
NOT_SPATIAL = ("diffusers.models.embeddings", "diffusers.models.normalization", "transformers.")
"""Where modules see vectors and tokens: timesteps, classes, texts."""
SUBCLASS = "a subclass of a known part, perhaps with a forward of its own"


@dataclass(frozen=True)
class Decision:
    """One module.

    name        as in `named_modules`
    kind        its class, or the function that it calls
    module      itself
    done        what conversion makes of it; "" = it is left
    reason      why it is left
    become      the class it changes to; None = it keeps its own
    attributes  what else changes
    """

    name: str
    kind: str
    module: nn.Module
    done: str = ""
    reason: str = ""
    become: type[nn.Module] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


def decide(
    model: nn.Module, filters: PlaneFilters, feed_forward: bool, seen: Trace | None, attention_rate: int = 1
) -> Iterator[Decision]:
    """Every spatial module of a stock model, in order, and the functions it calls; changes nothing.

    seen   one call of it; None = it could not be called
    """
    return _Decider(filters, feed_forward, seen, attention_rate).run(model)


class _Decider(TracedCalls):
    def __init__(self, filters: PlaneFilters, feed_forward: bool, seen: Trace | None, attention_rate: int) -> None:
        super().__init__(seen)
        self.filters = filters
        self.letter = f"config {filters.config.letter}"
        self.resampling = filters.config.filters_resampling
        self.activations = filters.config.filters_activations
        self.feed_forward = feed_forward
        self.attention_rate = attention_rate
        self.outside = f"tiled along {filters.tile}" if filters.tile else f"{filters.padding_mode} padding"
        self.pads = bool(filters.tile or filters.padding_mode)  # whether padding is another than the stock model's
        self.owned: dict[nn.Module, str] = {}  # modules that a module above takes care of, and how
        self.around: dict[nn.Module, tuple[nn.Module, str]] = {}  # a convolution: the padding before it

    def run(self, model: nn.Module) -> Iterator[Decision]:
        functions: dict[str, list[str]] = {}
        if self.seen is not None:
            for (owner, function), layouts in self.seen.functions.items():
                if any(plane_axes(layout) for layout in layouts):
                    functions.setdefault(owner, []).append(function)
        for name, module in model.named_modules():
            if type(module).__module__.startswith(NOT_SPATIAL):
                self.vectors.update(module.modules())
            if name.rpartition(".")[2] == "time_embed_act":
                self.vectors.add(module)
            if isinstance(module, nn.Sequential):
                self.sequence(name, module)
            found = self.examine(name, module)
            if found is not None:
                yield found
                continue
            for function in sorted(functions.get(name, ())):
                yield from self.function(name, module, function)

    def examine(self, name: str, module: Any) -> Decision | None:
        if self.filters.tile and type(module) in PAD_BY_FUNCTIONS:
            return Decision(name, type(module).__name__, module, self.outside, "", PAD_BY_FUNCTIONS[type(module)])
        if isinstance(module, nn.Conv2d):
            return self.convolution(name, module)
        if isinstance(module, nn.Conv3d):
            return self.video_convolution(name, module)
        if isinstance(module, ResnetBlock2D):
            return self.functions(name, module)
        if isinstance(module, Transformer2DModel | GEGLU | Attention | nn.LayerNorm | _ON_TOKENS):
            return self.transformer(name, module)
        if type(module) in BY_FUNCTIONS:
            return self.by_functions(name, module)
        known = type(module) in CONVERTED
        if not known and not isinstance(module, (*CONVERTED, *NEVER)):
            return None
        if getattr(module, "stride", None) in (1, (1,), (1, 1), (1, 1, 1)):
            return None  # keeps every sample
        reason = unsupported(module) or self.not_reached(name, module) or self.unsupported_upsampling(name, module)
        if not known and not reason:
            reason = SUBCLASS
        if reason:
            return self.left(name, module, reason)
        if type(module) in ACTIVATIONS:
            return self.activation(name, module)
        if type(module) in PADS:
            return self.padding(name, module)
        if isinstance(module, ControlNetConditioningEmbedding):
            return self.condition_encoder(name, module)
        if not self.resampling:
            return self.unfiltered(name, module)
        if isinstance(module, nn.PixelUnshuffle) and self.makes_tokens(name):
            return self.left(name, module, "makes tokens of patches")
        done = _DONE.get(type(module), "")
        if isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
            kind = "average" if isinstance(module, nn.AvgPool2d) else "maximum"
            done = f"{kind} at full rate, low-pass, decimation by {sides(module.stride)[0]}"
        elif isinstance(module, Downsample2D):
            if not module.use_conv:
                return None  # it only holds an average pool
            self.owned[module.conv] = f"low-pass and decimation by 2 in {name}"
        return self.touched(name, module, done)

    def left(self, name: str, module: nn.Module, reason: str) -> Decision:
        return Decision(name, type(module).__name__, module, reason=reason)

    def touched(self, name: str, module: nn.Module, done: str, **attributes: Any) -> Decision:
        become = (CONVERTED | BY_FUNCTIONS)[type(module)]
        return Decision(name, type(module).__name__, module, done, become=become, attributes=attributes)

    def activation(self, name: str, module: nn.Module) -> Decision:
        axes, reason = self.axes(name, module)
        in_place = axes == {4: (2, 3)}
        if not reason and isinstance(module, nn.PReLU) and module.num_parameters > 1 and not in_place:
            reason = "has a slope for each channel, and its planes are not (N, C, H, W)"
        if not reason and isinstance(module, nn.GLU) and not (in_place and module.dim in (1, -3)):
            reason = "halves other than the channels of planes (N, C, H, W)"
        if reason or not self.activations:
            return self.left(name, module, reason or self.letter)
        done = "filtered on planes"
        if any(place[0] < ndim - 2 for ndim, place in axes.items()):
            done += " (channels last)"
        elif 5 in axes:
            done += ", frame by frame"
        others = {len(call.layout) for call in self.calls(name)} - set(axes) if self.seen is not None else {2}
        return self.touched(name, module, done + "; vectors pass" * bool(others), axes=axes)

    def sequence(self, name: str, module: nn.Sequential) -> None:
        """A padding followed by a strided convolution is one operation: the torus is that of the plane before it."""
        if not (any(self.filters.wraps) and self.resampling):
            return
        children = list(module.named_children())
        for (_, pad), (last, conv) in pairwise(children):
            strided = type(conv) is nn.Conv2d and conv.stride != (1, 1) and conv.padding in ((0, 0), "valid")
            if strided and type(pad) in PADS and (self.filters.padding_mode or type(pad) is nn.ZeroPad2d):
                inner = f"{name}.{last}" if name else last
                if not self.unsupported_stride(inner, conv):
                    self.around[conv] = (pad, inner)
                    self.owned[pad] = f"done by {inner}"

    def padding(self, name: str, module: nn.Module) -> Decision | None:
        if module in self.owned:
            return self.touched(name, module, self.owned[module], outside=False)
        return self.touched(name, module, self.outside, outside=True) if self.pads else None

    def convolution(self, name: str, conv: nn.Conv2d) -> Decision:
        changes: dict[str, Any] = {}
        done, become, reason = "", None, "stride 1: linear, does not alias"
        if conv in self.owned:
            done, changes["stride"] = f"stride 1; {self.owned[conv]}", (1, 1)
        elif tuple(conv.stride) != (1, 1):
            reason = self.unsupported_stride(name, conv)
            if not reason:
                done, become = f"stride 1, low-pass, decimation by {conv.stride[0]}", CONVERTED[nn.Conv2d]
                pad = self.around.get(conv)
                around = sides_of(pad[0].padding) if pad else None
                changes = {"decimation": conv.stride[0], "stride": (1, 1), "around": around}
        padding = self.filters.padding_mode
        other = self.filters.tile or (padding and conv.padding_mode != padding)
        if other and conv.padding not in ((0, 0), "valid"):
            own = type(conv).forward is not nn.Conv2d.forward
            if own or (self.filters.tile and type(conv) is not nn.Conv2d):
                reason = f"keeps its own padding: {SUBCLASS}"
            else:
                done = f"{done}; {self.outside}" if done else self.outside
                if self.filters.tile:
                    become = become or AliasFreePaddedConv2d
                else:
                    changes["padding_mode"] = padding
        return Decision(name, type(conv).__name__, conv, done, "" if done else reason, become, changes)

    def unsupported_stride(self, name: str, conv: Any) -> str:
        if not self.resampling:
            return self.letter
        if self.makes_tokens(name) or (self.seen is None and conv in self.vectors):
            return "makes tokens of patches"
        if conv.stride[0] != conv.stride[1] or conv.stride[0] > LARGEST_STRIDE:
            return f"stride {conv.stride[0]}x{conv.stride[1]}: only equal strides up to {LARGEST_STRIDE} are converted"
        if self.seen is not None and not self.calls(name):
            return "not called in the traced call"
        return "" if type(conv) is nn.Conv2d else SUBCLASS

    def video_convolution(self, name: str, conv: nn.Conv3d) -> Decision:
        _, rows, columns = conv.stride
        strided = (rows, columns) != (1, 1)
        reason = "stride 1 along rows and columns: linear, does not alias"
        if strided:
            reason = "" if self.resampling else self.letter
            if self.makes_tokens(name) or (self.seen is None and conv.kernel_size[1:] == (rows, columns)):
                reason = "makes tokens of patches"
            elif rows != columns or rows > LARGEST_STRIDE:
                reason = f"stride {rows}x{columns}: only equal strides up to {LARGEST_STRIDE} are converted"
        own = type(conv).forward is not nn.Conv3d.forward
        outside = self.pads and conv.padding != "valid" and any(conv.padding[1:])
        if own and (outside or (strided and not reason)):
            outside, reason = False, SUBCLASS + (", and its own padding" if self.pads else "")
        decimation = rows if strided and not reason else 1
        if decimation == 1 and not outside:
            return self.left(name, conv, reason)
        done = [f"stride 1, low-pass, decimation by {rows}, frame by frame"] * (decimation > 1)
        done += [f"{self.outside} of rows and columns" if not self.filters.tile else self.outside] * outside
        changes: dict[str, Any] = {"decimation": decimation, "outside": outside}
        if decimation > 1:
            changes["stride"] = (conv.stride[0], 1, 1)
        if type(conv) is not nn.Conv3d:
            return self.left(name, conv, SUBCLASS)
        return Decision(name, "Conv3d", conv, "; ".join(done), "", CONVERTED[nn.Conv3d], changes)

    def unfiltered(self, name: str, module: Any) -> Decision:
        """A resampling module in a config that filters none."""
        if self.pads and isinstance(module, Downsample2D) and module.use_conv and module.padding == 0:
            done = self.outside if self.filters.tile else f"{self.outside} behind the plane"
            return self.touched(name, module, done)
        if self.filters.tile and issubclass(CONVERTED[type(module)], Local):
            return self.touched(name, module, self.outside)
        if self.pads and isinstance(module, _OWN_PADDING):
            return self.left(name, module, f"{self.letter}; keeps its own padding")
        return self.left(name, module, self.letter)

    def by_functions(self, name: str, module: nn.Module) -> Decision:
        if not self.resampling:
            return self.left(name, module, f"resamples by functions: {self.letter}")
        return self.touched(name, module, "the functions it resamples by are filtered")

    def function(self, name: str, module: nn.Module, function: str) -> Iterator[Decision]:
        """A function that a module calls itself."""
        kind = f"F.{function}"
        if function == "pad":
            if self.pads:
                reason = f"a function called in the forward of {type(module).__name__}: keeps its own padding"
                yield Decision(name, kind, module, reason=reason)
            return
        yield Decision(name, kind, module, reason=f"a function called in the forward of {type(module).__name__}")

    def functions(self, name: str, block: ResnetBlock2D) -> Decision | None:
        """Residual blocks made with kernel="fir" or "sde_vp" hold plain functions that resample."""
        changes: dict[str, Any] = {}
        tiled = self.filters.tile and not self.resampling
        for which in ("upsample", "downsample"):
            function = getattr(block, which)
            if function is not None and not isinstance(function, nn.Module):
                if tiled:
                    changes[which] = OnTorus(self.filters, function, which == "upsample")
                    continue
                line = (1, 1) if hasattr(function, "func") else (1, 3, 3, 1)  # a partial of avg_pool2d, or FIR
                changes[which] = Filter(self.filters, which == "upsample", line)
        if not changes:
            return None
        kind = type(block).__name__
        if tiled:
            return Decision(name, kind, block, self.outside, attributes=changes)
        if not self.resampling:
            return self.left(name, block, f"resamples by a function: {self.letter}")
        return Decision(name, kind, block, "the function it resamples by is filtered", attributes=changes)

    def condition_encoder(self, name: str, module: ControlNetConditioningEmbedding) -> Decision:
        if not (self.resampling or self.activations):
            return self.left(name, module, self.letter)
        factors = tuple(block.stride[0] if self.resampling else 1 for block in module.blocks)
        for block, factor in zip(module.blocks, factors, strict=True):
            if factor > 1:
                self.owned[block] = f"low-pass and decimation by {factor} in {name}"
        parts = ["decimation"] * self.resampling + ["SiLU"] * self.activations
        return self.touched(name, module, f"{' and '.join(parts)} filtered", decimations=factors)

    def transformer(self, name: str, module: Any) -> Decision | None:
        if isinstance(module, Attention):
            return self.attention(name, module)
        if isinstance(module, nn.LayerNorm):
            return None if module in self.vectors else self.left(name, module, "normalises each position alone")
        if isinstance(module, GEGLU):
            if module in self.owned:
                return self.touched(name, module, self.owned[module])
            if self.activations and self.feed_forward:
                return self.left(name, module, "acts on tokens, not those of a Transformer2DModel's plane")
            wanted = "with feed_forward=True" if self.activations else "in C and D with feed_forward=True"
            return self.left(name, module, f"acts on tokens; filtered {wanted}")
        if isinstance(module, _ON_TOKENS):
            return self.left(name, module, "acts on tokens")
        if type(module) is not Transformer2DModel or not module.is_input_continuous:
            return None
        layers: list[nn.Module] = []
        if self.activations and self.feed_forward:
            layers = [block.ff.net[0] for block in module.transformer_blocks if type(block.ff.net[0]) is GEGLU]
            self.owned.update(dict.fromkeys(layers, "filtered as planes"))
        if self.attention_rate > 1:
            heads = [v for b in module.transformer_blocks for v in (b.attn1, b.attn2) if type(v) is Attention]
            self.owned.update(
                dict.fromkeys(heads, f"its tokens taken as planes, at {self.attention_rate} times the rate")
            )
            layers += heads
        if not layers:
            return None
        return self.touched(name, module, "tells its layers the shape of the plane")

    def attention(self, name: str, module: Attention) -> Decision:
        if self.attention_rate == 1:
            return self.left(name, module, "softmax over positions, no resampling")
        if module in self.owned:
            return self.touched(name, module, self.owned[module], attention_rate=self.attention_rate, plane=None)
        if type(module) is Attention and any(plane_axes(call.layout) == (2, 3) for call in self.calls(name)):
            done = f"at {self.attention_rate} times the rate"
            return self.touched(name, module, done, attention_rate=self.attention_rate, plane=None)
        return self.left(name, module, "softmax over tokens, not those of a plane that is known")


_OWN_PADDING = FirDownsample2D | FirUpsample2D | KDownsample2D | KUpsample2D | nn.ConvTranspose2d
"""What pads in a way of its own, unless it is converted."""

_ON_TOKENS = GELU | ApproximateGELU | LinearActivation | SwiGLU
"""diffusers' feed-forward layers that are not gated by a GELU: a projection of tokens, then a nonlinearity."""

_DONE: dict[type[nn.Module], str] = {
    **dict.fromkeys((FirDownsample2D, KDownsample2D), "its filter at full rate, low-pass, decimation by 2"),
    Downsample2D: "low-pass and decimation by 2 after its convolution",
    nn.ConvTranspose2d: "band-limited interpolation, then its kernel",
    nn.PixelShuffle: "low-passed after the shuffle",
    nn.PixelUnshuffle: "low-passed before the shuffle",
    **{
        kind: "band-limited interpolation"
        for kind in CONVERTED
        if issubclass(kind, Upsample2D | FirUpsample2D | KUpsample2D | nn.Upsample)
    },
}
