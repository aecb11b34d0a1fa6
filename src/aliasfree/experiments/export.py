"""`aliasfree export`: a denoiser as an ONNX file, which runs without PyTorch and without this library."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aliasfree.errors import ArgumentError, CheckpointError, ShapeError
from aliasfree.files import replacing
from aliasfree.outputs import check_outputs, expand_path

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["FORMATS", "export"]

FORMATS = ("onnx", "weights")
_PACKAGES = ("onnx", "onnxscript")


def export(
    target: Path,
    out: Path | None = None,
    *,
    form: str = "onnx",
    ema: bool = True,
    image_size: int | tuple[int, int] | None = None,
    overwrite: bool = False,
    told: Callable[[str], None] | None = None,
) -> Path:
    """Write the network of a run, or of a folder by `save_pretrained`, as a file; gives its path.

    form        "onnx", or "weights": the averaged weights of a run as a folder to give away, by `training.published`
    out         None = NAME.onnx beside the folder, or the folder NAME-weights
    image_size  of ONNX: pixels, a side or (height, width); None = the network's own
    told        called with a sentence that says which sizes of images the file takes

    Inputs are "sample" (N, C, H, W) float32, "timestep" (N,) int64 and, for networks that know classes, "class_labels":
    (N,) int64, or vectors (N, D) float32 where the network takes those. The output is "noise" (N, C, H, W). N is free;
    so are H and W of Config A, multiples of 8 from 16. Those of other networks are fixed, since the tables of their
    filters are made for one size. The kernels are replaced by the plain operations, which give the same to rounding. A
    network that knows the frame sees it unmoved.

    Raises ArgumentError for another format, for packages that are missing (`pip install aliasfree[onnx]`), for an
    `out` that exists and for a size that the network cannot take; CheckpointError, RunError for what is no denoiser.
    """
    target = expand_path(target)
    if form == "weights":
        if image_size is not None:
            raise ArgumentError("Weights are of no size of images; leave out `image_size`.")
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
    height, width = _size(model, target, image_size)
    free = model.config.get("alias_free") == "A" and min(height, width) >= 16
    example, names = _example(model, *((16, 24) if free else (height, width)))
    batch = torch.export.Dim("batch", min=1, max=2**16)
    axes: list[dict[int, Any]] = [{0: batch} for _ in example]
    if free:
        axes[0] |= {2: 8 * torch.export.Dim("rows", min=2, max=512), 3: 8 * torch.export.Dim("columns", min=2, max=512)}
    with torch.no_grad(), plain_only():
        wrapped = _wrap(model)
        try:
            wrapped(*example)  # the tables of the plain operations are made outside the exporter
        except (RuntimeError, ShapeError) as error:
            first = str(error).splitlines()[0]
            raise ArgumentError(
                f"The network in {target} does not run on images of {height}x{width} ({first}); give another "
                "`image_size`."
            ) from error
        program: Any = torch.onnx.export(
            wrapped, example, dynamo=True, dynamic_shapes=axes, input_names=names, output_names=["noise"], verbose=False
        )
    with replacing(path) as aside:
        program.save(str(aside))
    if told is not None:
        sides = "whose sides are multiples of 8, from 16 to 4096" if free else f"of {height}x{width} alone"
        told(f"It takes images {sides}.")
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


def _size(model: Any, target: Path, given: int | tuple[int, int] | None) -> tuple[int, int]:
    size = model.config["sample_size"] if given is None else given
    if size is None:
        raise ArgumentError(f"The network in {target} has no size of its own (`sample_size`); give `image_size`.")
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if min(height, width) < 1:
        raise ArgumentError(f"`image_size` must be at least 1, not {height}x{width}.")
    return height, width


def _example(model: Any, height: int, width: int) -> tuple[tuple[Tensor, ...], list[str]]:
    """Inputs of two samples, and their names."""
    import torch

    inputs = [torch.zeros(2, int(model.config["in_channels"]), height, width), torch.zeros(2, dtype=torch.long)]
    names = ["sample", "timestep"]
    kind = model.config.get("class_embed_type")
    if kind == "identity":  # vectors, added to the embedding of the time as they are
        inputs.append(torch.zeros(2, 4 * int(model.config["block_out_channels"][0])))
    elif kind == "timestep" or model.config.get("num_class_embeds"):
        inputs.append(torch.zeros(2, dtype=torch.long))
    return tuple(inputs), [*names, *(["class_labels"] if len(inputs) > 2 else [])]


def _weights(target: Path, out: Path, ema: bool, overwrite: bool) -> Path:
    from aliasfree.measuring.card import update_card
    from aliasfree.results.metrics import metrics_file, read_metrics
    from aliasfree.training import RunFolder
    from aliasfree.training.published import publish

    if not ema:
        raise ArgumentError("The format `weights` has the averaged weights; leave `ema` on.")
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
