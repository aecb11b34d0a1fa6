"""What is decided about a module, and the rules for convolutions and the padding before them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import nn

from aliasfree.conversion.converted_module import CONVERTED, Converted
from aliasfree.conversion.plane_filters import PlaneFilters
from aliasfree.conversion.resampling import AliasFreePaddedConv2d, sides_of
from aliasfree.conversion.trace import Trace
from aliasfree.conversion.traced_calls import TracedCalls

__all__ = ["SUBCLASS", "ConvolutionRules", "Decision"]

LARGEST_STRIDE = 4
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


class ConvolutionRules(TracedCalls):
    """What every rule knows: the filters, and what a module above has taken over; and the rules for convolutions."""

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
        self.kinds = tuple(stock for stock, become in CONVERTED.items() if not become.rule.endswith("by_functions"))
        self.owned: dict[nn.Module, str] = {}  # modules that a module above takes care of, and how
        self.around: dict[nn.Module, tuple[nn.Module, str]] = {}  # a convolution: the padding before it

    def left(self, name: str, module: nn.Module, reason: str) -> Decision:
        return Decision(name, type(module).__name__, module, reason=reason)

    def touched(self, name: str, module: nn.Module, done: str, **attributes: Any) -> Decision:
        become = CONVERTED[type(module)]
        return Decision(name, type(module).__name__, module, done, become=become, attributes=attributes)

    def sequence(self, name: str, module: nn.Sequential) -> None:
        """A padding followed by a strided convolution is one operation: the torus is that of the plane before it."""
        if not (any(self.filters.wraps) and self.resampling):
            return
        children = list(module.named_children())
        for (_, pad), (last, conv) in pairwise(children):
            strided = type(conv) is nn.Conv2d and conv.stride != (1, 1) and conv.padding in ((0, 0), "valid")
            if (
                strided
                and CONVERTED.get(type(pad), Converted).rule == "padding"
                and (self.filters.padding_mode or type(pad) is nn.ZeroPad2d)
            ):
                inner = f"{name}.{last}" if name else last
                if not self.unsupported_stride(inner, conv):
                    self.around[conv] = (pad, inner)
                    self.owned[pad] = f"done by {inner}"

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
