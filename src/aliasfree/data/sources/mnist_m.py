"""MNIST-M from its ingredients: digits over crops of photographs, as an image stream or as class folders.

Ganin et al., "Domain-adversarial training of neural networks", JMLR 17 (2016), section 5.2.4: image = |patch - digit|
for each channel, with patches from the photographs of BSDS500. The published set's own random choices are not known, so
what is made here is like MNIST-M, not the published files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from aliasfree.data import registry
from aliasfree.data.decode import to_channels, without_remarks
from aliasfree.data.source import SPLITS, Bad, Item, Source
from aliasfree.errors import ArgumentError, DataError, check_seed
from aliasfree.files import new_folder

__all__ = ["MnistMSource", "blend", "make_mnist_m"]

_PHOTO_BYTES = 2**30


class MnistMSource(Source):
    """`mnist-m:DIGITS:BACKGROUNDS`, made while it is read; or `mnist-m`, from what lies in the data folder.

    `mnist-m` alone takes a ready folder `mnist-m`, and else makes it from `mnist` and `bsds500` there. Patches come
    from the photographs under `train/`, or from all of them where there is no such folder, for the digits of any split.
    Image i draws its patch from (seed, split, i) alone.
    """

    names: ClassVar[tuple[str, ...]] = ("mnist-m",)
    prefix: ClassVar[str] = "mnist-m:"

    def __init__(self, digits: str | Path, backgrounds: Path, split: str, seed: int = 42) -> None:
        super().__init__(Path(digits), split)
        if not backgrounds.exists():
            raise DataError(f"There are no photographs at {str(backgrounds)!r}; give the folder or zip of BSDS500.")
        self.seed = seed
        self._digits = registry.resolve(digits, split)
        self._photos = registry.open_path(backgrounds, "train")

    @classmethod
    def from_text(cls, text: str, split: str) -> Source:
        if text != "mnist-m":
            digits, colon, backgrounds = text.removeprefix(cls.prefix).rpartition(":")
            if not (digits and colon and backgrounds):
                raise DataError(f"{text!r} is incomplete; write mnist-m:DIGITS:BACKGROUNDS, two paths.")
            return cls(digits, Path(backgrounds).expanduser(), split)
        ready = registry.find_named("mnist-m")
        if ready is not None:
            return registry.open_path(ready, split)
        digits_path, photos = registry.find_named("mnist"), registry.find_named("bsds500")
        if digits_path is None or photos is None:
            absent = [n for n, p in (("mnist", digits_path), ("bsds500", photos)) if p is None]
            where = " or ".join(str(p) for p in registry.places("mnist-m"))
            raise DataError(
                f"The data set 'mnist-m' was not found; put it into {where}, or put what it is made of beside it "
                f"(missing: {', '.join(absent)}), or set ALIASFREE_DATA to the folder above."
            )
        return cls(digits_path, photos, split)

    @classmethod
    def absolute(cls, text: str) -> str:
        if text in cls.names:
            return text
        digits, _, backgrounds = text.removeprefix(cls.prefix).rpartition(":")
        return f"{cls.prefix}{registry.absolute(digits)}:{Path(backgrounds).expanduser().absolute()}"

    def stamp(self) -> list[str]:
        return [*self._digits.stamp(), *self._photos.stamp(), f"mnist-m seed {self.seed} split {self.split}"]

    def count(self) -> int:
        return self._digits.count()

    def items(self, bad: Bad) -> Iterator[Item]:
        photos = _load_photos(self._photos, bad)
        for i, digit in enumerate(self._digits.items(bad)):
            grey = np.asarray(digit.image)
            if grey.ndim != 2:
                raise DataError(f"{digit.name} is in colour; MNIST-M is made from grey digits, so give MNIST's files.")
            patch = _patch(photos, grey.shape, np.random.default_rng([self.seed, [*SPLITS].index(self.split), i]))
            yield Item(blend(grey, patch), digit.label, digit.name)
        self.class_names = self._digits.class_names


def blend(digit: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """|patch - digit| for each channel: uint8 (H, W) and (H, W, 3) to uint8 (H, W, 3)."""
    return np.abs(patch.astype(np.int16) - digit[..., None].astype(np.int16)).astype(np.uint8)


def make_mnist_m(
    digits_source: str | Path,
    backgrounds: Path,
    out_dir: Path,
    *,
    num: int | None = None,
    split: str = "train",
    seed: int = 42,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write images like MNIST-M's as `<out_dir>/<class>/<index>.png`, and return how many; after an error none is left.

    digits_source  any source of grey, labelled digits, as `open_images` takes it; MNIST in IDX, for example
    backgrounds    folder or zip of photographs (BSDS500); those under `train/` if there is such a folder, else all
    out_dir        must be absent or empty. For both splits, call twice with `DIR/train` and `DIR/test`
    num            how many digits, from the first, >= 1; None = all
    split          of the digits: "train", "val" or "test"
    seed           integer >= 0; image i depends on (seed, split, i) only
    progress       called with (done, total)

    Raises DataError for damaged or missing input, photographs smaller than the digits or an `out_dir` that is not
    empty, and ArgumentError for `num` below 1.

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from aliasfree.data import make_mnist_m
    >>> from aliasfree.pictures import save_png
    >>> save_png(Image.effect_noise((64, 64), 50), "photographs/noise.png")
    >>> make_mnist_m("digits", Path("photographs"), Path("mnist-m"), num=3)
    3
    >>> sorted(path.as_posix() for path in Path("mnist-m").rglob("*.png"))
    ['mnist-m/0/00000.png', 'mnist-m/1/00001.png', 'mnist-m/2/00002.png']
    """
    if num is not None and num < 1:
        raise ArgumentError(f"`num` must be at least 1, not {num}; leave it out to use all digits.")
    check_seed(seed)
    out = Path(out_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is not an empty folder; name a new one, or empty it first.")
    source = MnistMSource(digits_source, Path(backgrounds), split, seed)
    source.stamp()
    total = min(source.count(), num or source.count())
    done = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(out) as aside, without_remarks():
            aside.mkdir()
            for done, item in enumerate(source.items(_refuse), 1):
                if item.label is None:
                    raise DataError(f"{digits_source} has no labels, which the class folders need; give them too.")
                folder = aside / str(item.label)
                folder.mkdir(exist_ok=True)
                Image.fromarray(np.asarray(item.image)).save(folder / f"{done - 1:05d}.png")
                if progress is not None and (done % 200 == 0 or done == total):
                    progress(done, total)
                if done == num:
                    break
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror}); choose another folder.") from error
    return done


def _refuse(error: DataError) -> None:
    raise error


def _load_photos(source: Source, bad: Bad) -> list[np.ndarray]:
    photos, size = [], 0
    source.stamp()
    for item in source.items(bad):
        image = item.image if isinstance(item.image, Image.Image) else Image.fromarray(item.image)
        photos.append(np.asarray(to_channels(image, 3)))
        size += photos[-1].nbytes
        if size > _PHOTO_BYTES:
            raise DataError(f"{source.path} decodes to more than 1 GiB; give fewer or smaller photographs.")
    if not photos:
        raise DataError(f"{source.path} holds no readable photographs; give the folder or zip of BSDS500.")
    return photos


def _patch(photos: list[np.ndarray], shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    photo = photos[int(rng.integers(len(photos)))]
    height, width = shape
    if photo.shape[0] < height or photo.shape[1] < width:
        raise DataError(
            f"A background of {photo.shape[0]}x{photo.shape[1]} pixels is smaller than the {height}x{width} digits; "
            "give larger photographs."
        )
    y = int(rng.integers(photo.shape[0] - height + 1))
    x = int(rng.integers(photo.shape[1] - width + 1))
    return photo[y : y + height, x : x + width]
