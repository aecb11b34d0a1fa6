"""Pieces of the page: sentences, the state of a job, tiles of pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence

from PIL import Image

from aliasfree.app.jobs import Job
from aliasfree.pictures import data_uri
from aliasfree.reporting.html import Html, escape

__all__ = ["blank", "download", "error", "job_state", "note", "sentence", "skipped", "tile", "tiles"]

NATURAL = 128
"""Pixels from which on a picture is shown pixel by pixel: enlarged by a fraction it would alias itself."""


def sentence(message: str) -> Html:
    """A message of ours as markup: what stands in backticks is code."""
    parts = re.split(r"`([^`]*)`", message)
    return Html("".join(f"<code>{escape(p)}</code>" if k % 2 else escape(p) for k, p in enumerate(parts)))


def error(message: str) -> Html:
    """Why something was not done."""
    return Html(f'<p class="af-error" role="alert"><b aria-hidden="true">⚠</b> {sentence(message)}</p>')


def note(message: str) -> Html:
    """A sentence in passing."""
    return Html(f'<p class="af-note">{sentence(message)}</p>')


def skipped(reasons: Sequence[str]) -> Html:
    """The folders that are not offered, each with its reason."""
    if not reasons:
        return Html("")
    several = "1 folder is" if len(reasons) == 1 else f"{len(reasons)} folders are"
    lines = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return Html(f'<details class="af-note"><summary>{several} left out</summary><ul>{lines}</ul></details>')


def job_state(job: Job, ahead: int = 0) -> Html:
    """What a job is doing, how far it is and how long it will take."""
    if job.state == "failed":
        return error(job.error)
    if job.state == "cancelled":
        return note(f"{job.title}: cancelled.")
    if job.over:
        return Html("")
    if job.state == "waiting":
        words = f"{job.title}: waiting, {ahead} job{'' if ahead == 1 else 's'} ahead"
        return Html(f'<div class="af-job" role="status"><span>{escape(words)}</span><progress></progress></div>')
    left = job.seconds_left
    words = f"{job.title}{'' if left is None else f': {_duration(left)} left'}"
    bar = f'<progress value="{job.done}" max="{job.total}"></progress>' if job.total else "<progress></progress>"
    return Html(f'<div class="af-job" role="status"><span>{escape(words)}</span>{bar}</div>')


def tile(
    image: Image.Image | bytes, alt: str, caption: str = "", *, mime: str = "image/png", wide: bool = False
) -> Html:
    """A picture with a caption, its pixels shown as squares; `wide` for charts, as they are."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    natural = isinstance(image, Image.Image) and image.width >= NATURAL
    kind = "af-chart" if wide else "af-tile af-natural" if natural else "af-tile"
    return Html(f'<figure class="{kind}"><img src="{data_uri(image, mime)}" alt="{escape(alt)}">{below}</figure>')


def blank(caption: str) -> Html:
    """The place of a tile that is yet to come."""
    return Html(
        f'<figure class="af-tile"><div class="af-blank"></div><figcaption>{escape(caption)}</figcaption></figure>'
    )


def tiles(title: str, content: Sequence[Html], detail: str = "") -> Html:
    """Pictures in a row under a title."""
    head = f"<h3>{escape(title)}{f' <small>{escape(detail)}</small>' if detail else ''}</h3>"
    return Html(f'<section class="af-row">{head}<div>{"".join(content)}</div></section>')


def download(content: bytes, mime: str, name: str, words: str) -> Html:
    """A link that saves a file; the file is in the link."""
    return Html(
        f'<a class="af-download" download="{escape(name)}" href="{data_uri(content, mime)}">{escape(words)}</a>'
    )


def _duration(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 90 else f"{whole / 60:.0f} min"
