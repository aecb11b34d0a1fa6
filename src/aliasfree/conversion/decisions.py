"""Which modules of a model resample or distort planes, what can be done about each, and why some are left.

What a module receives was watched (`trace`). Of a part whose `forward` cannot be called alone nothing was; then its
kind decides, and tensors of four axes are taken for planes (N, C, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from diffusers.models.activations import GEGLU, GELU, ApproximateGELU, LinearActivation, SwiGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.downsampling import Downsample2D, FirDownsample2D, KDownsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import FirUpsample2D, KUpsample2D
from torch import nn

from aliasfree.conversion import activations as _activations  # noqa: F401 (registers)
from aliasfree.conversion import functions as _functions  # noqa: F401 (registers)
from aliasfree.conversion.blocks import Filter, OnTorus
from aliasfree.conversion.converted_module import CONVERTED
from aliasfree.conversion.plane_filters import PlaneFilters
from aliasfree.conversion.resampling import Local, sides
from aliasfree.conversion.rules import SUBCLASS, ConvolutionRules, Decision
from aliasfree.conversion.trace import Trace, plane_axes
from aliasfree.conversion.unsupported import NEVER, unsupported

__all__ = ["Decision", "decide"]

NOT_SPATIAL = ("diffusers.models.embeddings", "diffusers.models.normalization", "transformers.")
"""Where modules see vectors and tokens: timesteps, classes, texts."""


def decide(
    model: nn.Module, filters: PlaneFilters, feed_forward: bool, seen: Trace | None, attention_rate: int = 1
) -> Iterator[Decision]:
    """Every spatial module of a stock model, in order, and the functions it calls; changes nothing.

    seen   one call of it; None = it could not be called
    """
    return _Decider(filters, feed_forward, seen, attention_rate).run(model)


class _Decider(ConvolutionRules):
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
        become = CONVERTED.get(type(module))
        if become is not None and become.rule == "pads_by_functions":
            if self.filters.tile:
                return Decision(name, type(module).__name__, module, self.outside, "", become)
            become = None  # what it is otherwise
        if become is None:
            general = self.unregistered(name, module)
            if not isinstance(general, bool):
                return general
            if not general:
                return None
        elif become.rule in _DECIDE_ALL:
            return cast(Decision | None, getattr(self, become.rule)(name, module))
        built_in = become is None or type(module).__module__.startswith("torch.nn.")
        if built_in and getattr(module, "stride", None) in (1, (1,), (1, 1), (1, 1, 1)):
            return None  # keeps every sample
        reason = unsupported(module) or self.not_reached(name, module) or self.unsupported_upsampling(name, module)
        if become is None and not reason:
            reason = SUBCLASS
        if reason or become is None:
            return self.left(name, module, reason)
        return cast(Decision | None, getattr(self, become.rule)(name, module))

    def unregistered(self, name: str, module: Any) -> Decision | bool | None:
        """Of a class that becomes nothing: what is to be said of it by its kind; else whether it needs a reason."""
        if isinstance(module, nn.Conv2d):
            return self.convolution(name, module)
        if isinstance(module, nn.Conv3d):
            return self.video_convolution(name, module)
        if isinstance(module, ResnetBlock2D):
            return self.functions(name, module)
        if isinstance(module, Transformer2DModel | GEGLU | Attention | nn.LayerNorm | _ON_TOKENS):
            return self.transformer(name, module)
        return isinstance(module, (*self.kinds, *NEVER))

    def block(self, name: str, module: Any) -> Decision | None:
        """A registered block."""
        become = CONVERTED[type(module)]
        if not any(getattr(self.filters.config.traits, trait) for trait in become.acts_in):
            return self.unfiltered(name, module)
        if isinstance(module, nn.PixelUnshuffle) and self.makes_tokens(name):
            return self.left(name, module, "makes tokens of patches")
        done = become.change
        if isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
            done += f", decimation by {sides(module.stride)[0]}"
        elif isinstance(module, Downsample2D):
            if not module.use_conv:
                return None  # it only holds an average pool
            self.owned[module.conv] = f"low-pass and decimation by 2 in {name}"
        return self.touched(name, module, done)

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

    def padding(self, name: str, module: nn.Module) -> Decision | None:
        if module in self.owned:
            return self.touched(name, module, self.owned[module], outside=False)
        return self.touched(name, module, self.outside, outside=True) if self.pads else None

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
        return self.touched(name, module, CONVERTED[type(module)].change)

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

_DECIDE_ALL = frozenset(("convolution", "video_convolution", "transformer", "by_functions"))
"""Rules that see to every reason themselves."""
