"""Whether an extractor of features orders what is known to be worse: real images, damaged more and more.

    ALIASFREE_DATA=data python -m benchmarks.ladder [--data cifar10] [--num 2000] [--features efficientnet,classifier]

Test images against as many training images: as they are, as JPEG, blurred, with noise, and of fewer classes. A row a
step, Frechet distance and KID x 1000 with 95 % intervals for each extractor; a last line tells which ladders fall.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from aliasfree.estimate import Estimate
from aliasfree.evaluation.features import extract
from aliasfree.evaluation.fidelity import frechet_estimate, kernel_estimate
from aliasfree.measuring.extractors import make_extractor
from aliasfree.measuring.real_images import RealImages, open_real

QUALITIES, RADII, SIGMAS, CLASSES = (75, 50, 25, 10), (0.5, 1.0, 2.0), (8.0, 24.0, 72.0), (8, 5, 2, 1)


def ladders(real: RealImages, num: int) -> Iterator[tuple[str, list[tuple[str, Tensor]]]]:
    """(what is done, [(how much, images)]), each from better to worse; images uint8 (num, C, H, W)."""
    images = real.test[:num]
    yield "JPEG", [(f"quality {quality}", _each(images, partial(_jpeg, quality))) for quality in QUALITIES]
    yield "Gaussian blur", [(f"{radius:g} pixels", _each(images, partial(_blur, radius))) for radius in RADII]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    yield "noise", [(f"{s:g} of 255", (images + s * noise).round().clamp(0, 255).to(torch.uint8)) for s in SIGMAS]
    if real.test_labels is not None and real.train_labels is not None:
        # a class has too few test images; those of the training images that are not compared with make up for it
        every, labels = torch.cat([real.test, real.train[num:]]), torch.cat([real.test_labels, real.train_labels[num:]])
        yield "fewer classes", [(f"{k} of them", every[labels < k][:num]) for k in CLASSES]


def _cell(figure: Estimate, times: float = 1) -> str:
    assert figure.half_width is not None
    return f"{times * figure.value:.3g} ± {times * figure.half_width:.2g}"


def _each(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    pictures = (Image.fromarray(image.permute(1, 2, 0).numpy().squeeze()) for image in images)
    changed = np.stack([np.atleast_3d(np.asarray(change(picture))) for picture in pictures])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous()


def _blur(radius: float, picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(radius))


def _jpeg(quality: int, picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Distances of real images that were damaged more and more.")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--features", default="efficientnet,classifier")
    args = parser.parse_args()
    real = open_real(args.data, (args.image_size, args.image_size))
    steps = [("as they are", [("", real.test[: args.num])]), *ladders(real, args.num)]
    names = args.features.split(",")
    print("| test images | | " + " | ".join(f"{name}: FD | KID x 1000" for name in names) + " |")
    print("| --- | --- |" + " --- | --- |" * len(names))
    extractors = [make_extractor(name, real) for name in names]
    references = [extract(extractor, real.train[: args.num]).values for extractor in extractors]
    falls: list[str] = []
    best = [float("-inf")] * len(names)
    for what, ladder in steps:
        last = list(best)
        rises = [True] * len(names)
        for amount, images in ladder:
            cells = []
            for i, (extractor, reference) in enumerate(zip(extractors, references, strict=True)):
                values = extract(extractor, images).values
                distance, kernel = frechet_estimate(values, reference), kernel_estimate(values, reference)
                rises[i] &= distance.value > last[i]
                last[i] = distance.value
                cells += [_cell(distance), _cell(kernel, 1000)]
            print(f"| {what} | {amount} | " + " | ".join(cells) + " |", flush=True)
        if what == "as they are":
            best = last
        falls += [f"{name}: {what}" for name, good in zip(names, rises, strict=True) if not good]
    print(f"\nLadders that do not rise step by step: {', '.join(falls) or 'none'}.")


if __name__ == "__main__":
    main()
