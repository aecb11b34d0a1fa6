"""What users write for angles, windows and sizes, turned into numbers or into one sentence."""

from __future__ import annotations

import math

from aliasfree.errors import ArgumentError

MAX_ANGLES = 1000


def parse_angles(text: str) -> list[float]:
    """Degrees from "lo:hi:count" (both ends included, count >= 2) or from a list "0,45,90".

    Raises ArgumentError for anything else, for numbers that are not finite and for more than MAX_ANGLES of them.
    """
    example = "write lo:hi:count as in --angles=-90:90:9, or a list as in --angles=0,45,90"
    if ":" not in text:
        return [parse_number(part, "--angles", example) for part in text.split(",")]
    parts = text.split(":")
    if len(parts) != 3:
        raise ArgumentError(f"--angles {text!r} has {len(parts)} parts; {example}.")
    low, high = (parse_number(part, "--angles", example) for part in parts[:2])
    try:
        count = int(parts[2])
    except ValueError:
        raise ArgumentError(f"The count {parts[2]!r} in --angles is not a whole number; {example}.") from None
    if not 2 <= count <= MAX_ANGLES:
        raise ArgumentError(f"The count in --angles must be 2 to {MAX_ANGLES}, not {count}; {example}.")
    return [low + (high - low) * k / (count - 1) for k in range(count)]


def parse_window(text: str, option: str = "--schedule") -> tuple[float, float]:
    """The share of sampling in which a motion happens, from "0.7:0.95": 0 <= start <= end <= 1."""
    example = f"write start:end with 0 <= start <= end <= 1, as in {option} 0.7:0.95"
    parts = text.split(":")
    if len(parts) != 2:
        raise ArgumentError(f"{option} {text!r} is not a window; {example}.")
    start, end = (parse_number(part, option, example) for part in parts)
    if not 0 <= start <= end <= 1:
        raise ArgumentError(f"{option} {text} is out of range; {example}.")
    return start, end


def parse_size(text: str) -> int | tuple[int, int] | None:
    """ "32" -> 32, "32x48" -> (32, 48) (height, width), "native" -> None (as the data are)."""
    if text == "native":
        return None
    try:
        sides = [int(part) for part in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise ArgumentError(f"--image-size takes a side, HEIGHTxWIDTH or 'native', not {text!r}.")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def parse_number(text: str, option: str, example: str) -> float:
    """A finite number. Raises ArgumentError naming the option, with an example."""
    try:
        value = float(text)
    except ValueError:
        raise ArgumentError(f"{text!r} in {option} is not a number; {example}.") from None
    if not math.isfinite(value):
        raise ArgumentError(f"{text!r} in {option} is not finite; {example}.")
    return value


def parse_class(text: str | None) -> int | str | None:
    """A class number, "each", or None. Raises ArgumentError."""
    if text is None or text == "each":
        return text
    try:
        return int(text)
    except ValueError:
        raise ArgumentError(f"--class takes a class number or 'each', not {text!r}.") from None


def parse_duration(text: str) -> float:
    """Seconds, above 0, from "90s", "9m" or "5h"; a number alone is seconds. Raises ArgumentError."""
    example = "write seconds, minutes or hours, as in --stop-after 90s, 9m or 5h"
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    value = parse_number(text if unit is None else text[:-1], "--stop-after", example) * (unit or 1.0)
    if value <= 0:
        raise ArgumentError(f"--stop-after must be more than 0, not {text}; {example}.")
    return value
