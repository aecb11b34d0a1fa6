"""Images by name or path, decoded once and memory-mapped from then on. Knows no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliasfree.lazy_exports import lazy_attributes

if TYPE_CHECKING:
    from aliasfree.data.images import ImageData, export_images, open_images, unit_range
    from aliasfree.data.registry import register_source, source_names
    from aliasfree.data.sizes import check_image_size
    from aliasfree.data.sources.mnist_m import make_mnist_m

__all__ = [
    "ImageData",
    "check_image_size",
    "export_images",
    "make_mnist_m",
    "open_images",
    "register_source",
    "source_names",
    "unit_range",
]

_WHERE = {
    "ImageData": "images",
    "check_image_size": "sizes",
    "export_images": "images",
    "make_mnist_m": "sources.mnist_m",
    "open_images": "images",
    "register_source": "registry",
    "source_names": "registry",
    "unit_range": "images",
}
__getattr__ = lazy_attributes(__name__, _WHERE)
