"""`aliasfree export`: the same numbers from onnxruntime as from PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

from aliasfree import AliasFreeUNet2DModel, convert
from aliasfree.errors import AliasfreeError, ArgumentError
from aliasfree.experiments import export as module
from aliasfree.experiments.export import export


def needs_onnx() -> None:
    """Skip, saying so, where the optional packages are missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(
            name, reason=f"{name} is not installed: the ONNX export is NOT tested (pip install 'aliasfree[onnx]')"
        )


def ours(config, **options):
    return AliasFreeUNet2DModel(config, 8, 1, 1, 4, **options)


def stock():
    return convert(
        UNet2DModel(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), norm_num_groups=4,
                    layers_per_block=1, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2),
        "D-hq",
    )  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [lambda: ours("D-hq"), lambda: ours("D-2N", num_class_embeds=3), stock],
    ids=["ours", "classes", "converted"],
)
def test_onnxruntime_gives_what_torch_gives_for_any_batch(make, tmp_path):
    needs_onnx()
    import onnxruntime

    torch.manual_seed(1)
    model = make().eval()
    model.save_pretrained(tmp_path / "net")
    path = export(tmp_path / "net")
    assert path == tmp_path / "net.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    classes = model.config.get("num_class_embeds")
    for n in (1, 3):
        sample, t = torch.randn(n, 1, 8, 8), torch.arange(n) * 300 + 5
        given = {"class_labels": torch.arange(n) % classes} if classes else {}
        inputs = {"sample": sample, "timestep": t, **given}
        (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.no_grad():
            wanted = model(sample, t, **given).sample.numpy()
        assert np.abs(found - wanted).max() < 1e-4


def test_sizes_are_free_where_nothing_is_filtered_and_told_where_they_are_not(tmp_path):
    needs_onnx()
    import onnxruntime

    torch.manual_seed(1)
    model, told = AliasFreeUNet2DModel("A", 16, 1, 1, 4).eval(), []
    model.save_pretrained(tmp_path / "a")
    session = onnxruntime.InferenceSession(str(export(tmp_path / "a", told=told.append)))
    sample, t = torch.randn(1, 1, 32, 24), torch.tensor([5])
    (found,) = session.run(None, {"sample": sample.numpy(), "timestep": t.numpy()})
    with torch.no_grad():
        assert np.abs(found - model(sample, t).sample.numpy()).max() < 1e-4
    stock().save_pretrained(tmp_path / "d")
    path = export(tmp_path / "d", image_size=(8, 16), told=told.append)
    assert onnxruntime.InferenceSession(str(path)).get_inputs()[0].shape[1:] == [1, 8, 16]
    assert told == [
        "It takes images whose sides are multiples of 8, from 16 to 4096.",
        "It takes images of 8x16 alone.",
    ]


@pytest.mark.parametrize(("options", "labels"), [
    ({"sample_size": None}, None),
    ({"class_embed_type": "timestep"}, torch.tensor([3, 500])),
    ({"class_embed_type": "identity"}, torch.randn(2, 32, generator=torch.Generator().manual_seed(1))),
])  # fmt: skip
def test_stock_networks_without_a_size_or_with_other_classes_are_exported(options, labels, tmp_path):
    needs_onnx()
    import onnxruntime

    torch.manual_seed(1)
    kinds = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    small = {"in_channels": 1, "out_channels": 1, "block_out_channels": (8, 16), "norm_num_groups": 4}
    model = UNet2DModel(**{"sample_size": 8, "layers_per_block": 1, **kinds, **small, **options}).eval()
    model.save_pretrained(tmp_path / "net")
    if options.get("sample_size", 8) is None:
        with pytest.raises(ArgumentError, match="no size of its own"):
            export(tmp_path / "net")
    with pytest.raises(ArgumentError, match="does not run on images of 7x7"):
        export(tmp_path / "net", image_size=7)
    session = onnxruntime.InferenceSession(str(export(tmp_path / "net", image_size=8)))
    given = {"sample": torch.randn(2, 1, 8, 8), "timestep": torch.tensor([5, 700])}
    more = {} if labels is None else {"class_labels": labels}
    (found,) = session.run(None, {name: value.numpy() for name, value in {**given, **more}.items()})
    with torch.no_grad():
        assert np.abs(found - model(**given, **more).sample.numpy()).max() < 1e-4


def test_what_cannot_be_exported_is_refused_before_the_work(tmp_path, monkeypatch):
    ours("A").save_pretrained(tmp_path / "net")
    (tmp_path / "net.onnx").write_text("precious")
    with pytest.raises(ArgumentError, match="`overwrite=True`"):
        export(tmp_path / "net")
    with pytest.raises(ArgumentError, match="must end in"):
        export(tmp_path / "net", tmp_path / "net.pt")
    with pytest.raises(ArgumentError, match="`format`"):
        export(tmp_path / "net", form="tflite", overwrite=True)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"aliasfree\[onnx\]"):
        export(tmp_path / "net", overwrite=True)
    monkeypatch.undo()
    needs_onnx()
    with pytest.raises(AliasfreeError, match="neither a run nor"):
        export(tmp_path / "nothing")
    assert (tmp_path / "net.onnx").read_text() == "precious"
