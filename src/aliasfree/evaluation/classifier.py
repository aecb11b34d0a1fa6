"""A small image classifier, to say how many generated images look like the real ones.

A generated image counts as accepted when the classifier, trained on the real images, gives one class at least
0.9. A plain classifier gives that to much of pure noise too (17 to 79 % over three seeds on the 16x16 digits), so
this one also learns to be undecided about noise and about real images with their blocks shuffled. It remains a
floor test: it does not see missing variety. Report it beside the classifier's own accuracy and beside what it
accepts of real images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aliasfree.errors import ArgumentError, ShapeError
from aliasfree.files import together, write_file, write_json

__all__ = ["Classifier", "accepted_share", "accuracy", "cached_classifier", "train_classifier"]

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

BATCH = 128
IMAGES_SEEN = 150_000
"""Training images seen when no number of epochs is given, at least 2 and at most 15 epochs."""
DECOYS = 1 / 4
"""Images of nothing per real image in a training batch; their target is the same probability for every class."""


@dataclass(frozen=True)
class Shape:
    """What decides the weights' shapes: image channels (1 or 3), number of classes, channels of the first stage."""

    channels: int
    classes: int
    width: int


class Classifier(nn.Module):
    """Six 3x3 convolutions with batch norm in three stages, halved between, then the mean over all pixels.

    forward: images (N, C, H, W) in [-1, 1], H and W from 8 upwards -> logits (N, classes).

    >>> import torch
    >>> from aliasfree.evaluation.classifier import Classifier, Shape
    >>> classifier = Classifier(Shape(channels=1, classes=10, width=4))
    >>> tuple(classifier.probabilities(torch.zeros(2, 1, 16, 16)).shape)
    (2, 10)
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        stages: list[nn.Module] = []
        before = shape.channels
        for stage in range(3):
            after = shape.width * 2**stage
            stages += [nn.MaxPool2d(2)] if stage else []
            for _ in range(2):
                stages += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
                before = after
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(before, shape.classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits

    @torch.inference_mode()
    def probabilities(self, images: Tensor, batch_size: int = 512) -> Tensor:
        """Class probabilities (N, classes) of images (N, C, H, W) in [-1, 1], batch by batch, in evaluation mode."""
        _check(images, self.shape.channels)
        training = self.training
        self.eval()
        try:
            parts = [self(part.float()).softmax(1) for part in images.split(batch_size)]
        finally:
            self.train(training)
        return torch.cat(parts) if parts else torch.zeros(0, self.shape.classes)


def train_classifier(
    images: Tensor,
    labels: Tensor,
    *,
    seed: int = 0,
    epochs: int | None = None,
    width: int = 16,
    progress: Progress | None = None,
) -> Classifier:
    """A classifier trained on `images`: AdamW, one-cycle learning rate, shifts of up to 1/16 of the side.

    images   float (N, C, H, W) in [-1, 1], C = 1 or 3, H and W >= 8; its device is used
    labels   integers (N,), 0 .. classes - 1
    seed     fixes initial weights, order, shifts and dropout; the global generator is left as it was
    epochs   None = 150,000 images seen, but 2 to 15 epochs
    width    channels of the first stage, >= 1

    Raises ShapeError for other shapes, ArgumentError for negative labels, one class only, or epochs < 1.

    >>> import torch
    >>> from aliasfree.evaluation import accuracy, train_classifier
    >>> labels = torch.arange(64) % 2
    >>> images = -torch.ones(64, 1, 8, 8)
    >>> images[labels == 0, :, :4] = 1.0  # bright above
    >>> images[labels == 1, :, 4:] = 1.0  # bright below
    >>> classifier = train_classifier(images, labels, epochs=40, width=4)
    >>> accuracy(classifier, images, labels)
    1.0
    """
    _check(images)
    if labels.shape != images.shape[:1]:
        raise ShapeError(f"expected {len(images)} labels, one an image, got shape {tuple(labels.shape)}")
    classes = int(labels.max()) + 1 if len(labels) else 0
    if classes < 2 or int(labels.min()) < 0:
        raise ArgumentError("a classifier needs labels 0 .. classes - 1 of at least two classes: use data with labels")
    epochs = usual_epochs(len(images)) if epochs is None else epochs
    if epochs < 1:
        raise ArgumentError(f"epochs must be >= 1, not {epochs}")
    labels = labels.to(images.device, torch.long)
    batches = -(-len(images) // BATCH)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        order = torch.Generator().manual_seed(seed)
        model = Classifier(Shape(images.shape[1], classes, width)).to(images.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=epochs * batches)
        for epoch in range(epochs):
            # chunks of nearly equal size: a last batch of one image would upset batch norm
            for k, index in enumerate(torch.randperm(len(images), generator=order).chunk(batches)):
                index = index.to(images.device)
                real = images[index].float()
                decoys = _decoys(real[: max(2, round(DECOYS * len(real)))], order)
                logits = model(torch.cat([_shifted(real, order), decoys]))
                loss = F.cross_entropy(logits[: len(real)], labels[index])
                undecided = -logits[len(real) :].log_softmax(1).mean()
                loss = loss + len(decoys) / len(real) * undecided
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                rate.step()
                if progress is not None:
                    progress(epoch * batches + k + 1, epochs * batches)
    return model.eval()


def usual_epochs(num: int) -> int:
    """Epochs of `train_classifier` over `num` images where none are given."""
    return min(15, max(2, round(IMAGES_SEEN / num)))


def accuracy(classifier: Classifier, images: Tensor, labels: Tensor) -> float:
    """Share of images (N, C, H, W) whose most probable class is the label (N,).

    >>> import torch
    >>> from aliasfree.evaluation import accuracy
    >>> from aliasfree.evaluation.classifier import Classifier, Shape
    >>> untrained = Classifier(Shape(channels=1, classes=2, width=4))
    >>> images = torch.zeros(4, 1, 8, 8)  # all alike, so of one class
    >>> accuracy(untrained, images, torch.tensor([0, 1, 0, 1]))
    0.5
    """
    return (classifier.probabilities(images).argmax(1).cpu() == labels.cpu()).double().mean().item()


def accepted_share(classifier: Classifier, images: Tensor, confidence: float = 0.9) -> float:
    """Share of images (N, C, H, W) in [-1, 1] to which the classifier gives one class at least `confidence`.

    >>> import torch
    >>> from aliasfree.evaluation import accepted_share
    >>> from aliasfree.evaluation.classifier import Classifier, Shape
    >>> untrained = Classifier(Shape(channels=1, classes=10, width=4))
    >>> accepted_share(untrained, torch.randn(8, 1, 16, 16).clamp(-1, 1))  # it is sure of nothing
    0.0
    """
    if not 0 < confidence <= 1:
        raise ArgumentError(f"confidence must be in (0, 1], not {confidence}")
    return (classifier.probabilities(images).amax(1) >= confidence).double().mean().item()


def cached_classifier(
    path: str | Path,
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    *,
    seed: int = 0,
    epochs: int | None = None,
    width: int = 16,
    progress: Progress | None = None,
) -> tuple[Classifier, float]:
    """(classifier, accuracy on the test images), trained once and then read from `path`.

    `path` ("classifier.safetensors") holds the weights; beside it a .json holds the accuracy, a checksum of the
    weights and a key of all that decides them (images, labels, settings). When the key or the checksum differs,
    the classifier is trained again and both files are replaced. Raises what `train_classifier` raises.

    >>> import torch
    >>> from aliasfree.evaluation import cached_classifier
    >>> labels = torch.arange(64) % 2
    >>> images = 0.1 * torch.randn(64, 1, 8, 8) + (labels - 0.5)[:, None, None, None]
    >>> data = (images, labels, images, labels)
    >>> trained, _ = cached_classifier("classifier.safetensors", *data, epochs=1, width=4)
    >>> read, _ = cached_classifier("classifier.safetensors", *data, epochs=1, width=4)
    >>> torch.equal(read.probabilities(images), trained.probabilities(images))
    True
    """
    path = Path(path)
    note_path = path.with_suffix(".json")
    settings = f"{seed} {epochs} {width} {BATCH} {IMAGES_SEEN}"
    key = _key(settings, images, labels, test_images, test_labels)
    from safetensors.torch import load, save

    if path.is_file() and note_path.is_file():
        note, weights = json.loads(note_path.read_text("utf-8")), path.read_bytes()
        if note.get("key") == key and note.get("sha256") == hashlib.sha256(weights).hexdigest():
            known = Classifier(Shape(**note["shape"]))
            known.load_state_dict(load(weights))
            if progress is not None:
                progress(1, 1)
            return known.to(images.device).eval(), float(note["accuracy"])
    model = train_classifier(images, labels, seed=seed, epochs=epochs, width=width, progress=progress)
    score = accuracy(model, test_images, test_labels)
    weights = save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})
    note = {
        "key": key,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "shape": asdict(model.shape),
        "accuracy": score,
        "trained_on": len(images),
        "tested_on": len(test_images),
        "seed": seed,
    }
    with together():
        write_file(path, weights)
        write_json(note_path, note, indent=2)
    return model, score


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch with every image shifted by whole pixels, edges repeated; one shift per axis and image."""
    n, _, h, w = images.shape
    reach = max(1, min(h, w) // 16)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    dy, dx = torch.randint(0, 2 * reach + 1, (2, n, 1), generator=generator).to(images.device)
    rows = torch.arange(h, device=images.device) + dy
    columns = torch.arange(w, device=images.device) + dx
    each = torch.arange(n, device=images.device)[:, None, None]
    # advanced indices on axes 0, 2, 3 put the channel last
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _decoys(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images of nothing: the first half noise of each image's mean and spread, the rest images with blocks shuffled."""
    n, c, h, w = images.shape
    half = n // 2
    noise = torch.randn((half, c, h, w), generator=generator).to(images)
    mean, spread = (f(images[:half], (1, 2, 3)) for f in (torch.mean, torch.std))
    noise = (noise * spread.view(-1, 1, 1, 1) + mean.view(-1, 1, 1, 1)).clamp(-1, 1)
    side = int(torch.randint(1, max(2, min(h, w) // 4) + 1, (), generator=generator))
    blocks = images[half:, :, : h // side * side, : w // side * side].unflatten(2, (-1, side)).unflatten(4, (-1, side))
    blocks = blocks.permute(2, 4, 0, 1, 3, 5).flatten(0, 1)
    order = torch.randperm(len(blocks), generator=generator).to(images.device)
    blocks = blocks[order].unflatten(0, (h // side, w // side)).permute(2, 3, 0, 4, 1, 5)
    shuffled = images[half:].clone()
    shuffled[:, :, : h // side * side, : w // side * side] = blocks.flatten(4, 5).flatten(2, 3)
    return torch.cat([noise, shuffled])


def _check(images: Tensor, channels: int | None = None) -> None:
    valid = (1, 3) if channels is None else (channels,)
    if images.ndim != 4 or images.shape[1] not in valid or min(images.shape[2:]) < 8:
        wanted = " or ".join(map(str, valid))
        raise ShapeError(
            f"expected images (N, C, H, W) with {wanted} channels, at least 8x8, got {tuple(images.shape)}"
        )


def _key(settings: str, *tensors: Tensor) -> str:
    digest = hashlib.sha256(settings.encode())
    for x in tensors:
        digest.update(f"{x.dtype} {tuple(x.shape)}".encode())
        digest.update(x.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
