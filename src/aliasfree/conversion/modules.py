"""Known parts of diffusion models and what each becomes."""

from __future__ import annotations

from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageUpsample
from diffusers.models.autoencoders.autoencoder_kl_wan import WanUpsample
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.downsampling import Downsample2D, FirDownsample2D, KDownsample2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import FirUpsample2D, KUpsample2D, Upsample2D
from torch import nn

from aliasfree.conversion.activations import ACTIVATIONS
from aliasfree.conversion.blocks import (
    AliasFreeAttention,
    AliasFreeControlNetConditioningEmbedding,
    AliasFreeDownsample2D,
    AliasFreeFirDownsample2D,
    AliasFreeFirUpsample2D,
    AliasFreeGEGLU,
    AliasFreeKDownsample2D,
    AliasFreeKUpsample2D,
    AliasFreeTransformer2DModel,
    AliasFreeUpsample2D,
)
from aliasfree.conversion.converted_module import Converted
from aliasfree.conversion.resampling import (
    AliasFreeAvgPool2d,
    AliasFreeConv2d,
    AliasFreeConv3d,
    AliasFreeConvTranspose2d,
    AliasFreeMaxPool2d,
    AliasFreePad2d,
    AliasFreePixelShuffle,
    AliasFreePixelUnshuffle,
    AliasFreeQwenImageUpsample,
    AliasFreeReflectionPad2d,
    AliasFreeReplicationPad2d,
    AliasFreeUpsample,
    AliasFreeUpsamplingNearest2d,
    AliasFreeWanUpsample,
    AliasFreeZeroPad2d,
)

__all__ = ["CONVERTED", "PADS"]

PADS: dict[type[nn.Module], type[AliasFreePad2d]] = {
    cls.__bases__[1]: cls for cls in (AliasFreeZeroPad2d, AliasFreeReplicationPad2d, AliasFreeReflectionPad2d)
}
"""stock padding of planes -> its counterpart with another padding."""

CONVERTED: dict[type[nn.Module], type[Converted]] = {
    nn.Conv2d: AliasFreeConv2d,
    nn.Conv3d: AliasFreeConv3d,
    nn.ConvTranspose2d: AliasFreeConvTranspose2d,
    nn.AvgPool2d: AliasFreeAvgPool2d,
    nn.MaxPool2d: AliasFreeMaxPool2d,
    nn.PixelShuffle: AliasFreePixelShuffle,
    nn.PixelUnshuffle: AliasFreePixelUnshuffle,
    nn.Upsample: AliasFreeUpsample,
    nn.UpsamplingNearest2d: AliasFreeUpsamplingNearest2d,
    WanUpsample: AliasFreeWanUpsample,
    QwenImageUpsample: AliasFreeQwenImageUpsample,
    Upsample2D: AliasFreeUpsample2D,
    Downsample2D: AliasFreeDownsample2D,
    FirDownsample2D: AliasFreeFirDownsample2D,
    FirUpsample2D: AliasFreeFirUpsample2D,
    KDownsample2D: AliasFreeKDownsample2D,
    KUpsample2D: AliasFreeKUpsample2D,
    ControlNetConditioningEmbedding: AliasFreeControlNetConditioningEmbedding,
    GEGLU: AliasFreeGEGLU,
    Attention: AliasFreeAttention,
    Transformer2DModel: AliasFreeTransformer2DModel,
    **PADS,
    **ACTIVATIONS,
}
"""stock class -> what it becomes. Subclasses are not in it: their `forward` may be another."""
