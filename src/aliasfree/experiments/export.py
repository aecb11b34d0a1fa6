"""`aliasfree export`: a denoiser as an ONNX file, which runs without PyTorch and without this library."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import ArgumentError, CheckpointError
from aliasfree.files import replacing
from aliasfree.outputs import check_outputs, expand_path

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["FORMATS", "export"]

FORMATS = ("onnx", "weights")
_PACKAGES = ("onnx", "onnxscript")


def export(
    target: Path, out: Path | None = None, *, form: str = "onnx", ema: bool = True, overwrite: bool = False
) -> Path:
    """Write the network of a run, or of a folder by `save_pretrained`, as a file; gives its path.

    form  "onnx", or "weights": the averaged weights of a run as a folder to give away, by `training.published`
    out   None = NAME.onnx beside the folder, or the folder NAME-weights

    Inputs are "sample" (N, C, H, W) float32, "timestep" (N,) int64 and, for networks that know classes, "class_labels"
    (N,) int64; the output is "noise" (N, C, H, W). N is free, H and W are those of the training. The kernels are
    replaced by the plain operations, which give the same to rounding. A network that knows the frame sees it unmoved.

    Raises ArgumentError for another format, for packages that are missing (`pip install aliasfree[onnx]`) and for an
    `out` that exists; CheckpointError, RunError for what is no denoiser.
    """
    target = expand_path(target)
    if form == "weights":
        return _weights(target, out or target.with_name(f"{target.name}-weights"), ema, overwrite)
    path = out or target.with_name(f"{target.name}.onnx")
    if form not in FORMATS:
        raise ArgumentError(f"There is no `format` {form!r}; use {', '.join(FORMATS)}.")
    if path.suffix.lower() != ".onnx":
        raise ArgumentError(f"The file is ONNX, so `out` must end in .onnx, not {path.name!r}.")
    check_outputs([path], reads=[target / "config.json", target / "model", target / "unet"], overwrite=overwrite)
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ArgumentError(
            f"Exporting needs {' and '.join(missing)}; install them with `pip install 'aliasfree[onnx]'`."
        )
    import torch

    from aliasfree.ops.tracing import plain_only

    model = _denoiser(target, ema)
    example, names = _example(model)
    batch = torch.export.Dim("batch", min=1, max=2**16)
    with torch.no_grad(), plain_only():
        wrapped = _wrap(model)
        wrapped(*example)  # the tables of the plain operations are made outside the exporter
        program: Any = torch.onnx.export(
            wrapped, example, dynamo=True, dynamic_shapes=[{0: batch}] * len(example), input_names=names,
            output_names=["noise"], verbose=False,
        )  # fmt: skip
    with replacing(path) as aside:
        program.save(str(aside))
    return path


def _wrap(model: nn.Module) -> nn.Module:
    import torch

    class Denoiser(torch.nn.Module):
        """The network as a function of tensors alone."""

        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor | None = None) -> Tensor:
            given = {} if class_labels is None else {"class_labels": class_labels}
            noise: Tensor = self.network(sample, timestep, return_dict=False, **given)[0]
            return noise

    return Denoiser().eval().requires_grad_(False)  # with gradients the exporter would trace a training step


def _example(model: Any) -> tuple[tuple[Tensor, ...], list[str]]:
    """Inputs of two samples, and their names."""
    import torch

    size, channels = model.config["sample_size"], int(model.config["in_channels"])
    height, width = (size, size) if isinstance(size, int) else size
    inputs = [torch.zeros(2, channels, height, width), torch.zeros(2, dtype=torch.long)]
    names = ["sample", "timestep"]
    if model.config.get("num_class_embeds"):
        inputs, names = [*inputs, torch.zeros(2, dtype=torch.long)], [*names, "class_labels"]
    return tuple(inputs), names


def _weights(target: Path, out: Path, ema: bool, overwrite: bool) -> Path:
    from aliasfree.measuring.card import update_card
    from aliasfree.results.metrics import metrics_file, read_metrics
    from aliasfree.training import RunFolder
    from aliasfree.training.published import publish

    if not ema:
        raise ArgumentError("The format `weights` has the averaged weights; leave out `--no-ema`.")
    published = publish(RunFolder(target), out, overwrite=overwrite)
    figures = metrics_file(published.path)
    if figures.is_file():
        update_card(published, read_metrics(figures))
    return published.path


def _denoiser(target: Path, ema: bool) -> Any:
    """The network of a run, or of a folder that a UNet2DModel or a pipeline with one was saved to."""
    from aliasfree.loading import load_model
    from aliasfree.training import RunFolder

    run = RunFolder(target)
    folder = target / "unet" if (target / "unet" / "config.json").is_file() else target
    try:
        saved = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{target} holds neither a run nor a saved network; give the folder of one.") from error
    if "settings" in saved:
        return run.load_model(ema=ema)
    kind = saved.get("_class_name")
    if kind not in ("UNet2DModel", "AliasFreeStockUNet2DModel", "AliasFreeUNet2DModel"):
        raise CheckpointError(f"{folder} holds a {kind}; a UNet2DModel, stock, converted or ours, can be exported.")
    return load_model(folder)
