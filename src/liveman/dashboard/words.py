"""Numbers as people read them. All are filters of the templates."""

__all__ = ["age", "bitrate", "bytesize", "count", "duration", "milliseconds"]

_THOUSANDS = "\N{NARROW NO-BREAK SPACE}"


def count(number: float) -> str:
    """``20 000``."""
    return f"{number:,.0f}".replace(",", _THOUSANDS)


def bitrate(bits: float) -> str:
    """Of bits per second: ``4.2 Mbit/s``."""
    return f"{_short(bits, 1000)}bit/s"


def bytesize(size: float) -> str:
    """``3.1 MB``."""
    return f"{_short(size, 1000)}B"


def duration(seconds: float) -> str:
    """The two largest parts: ``3 d 4 h``, ``12 min 5 s``, ``0 s``."""
    left = max(0, round(seconds))
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        parts.append((number, unit))
    first = next((at for at, (number, _) in enumerate(parts) if number), len(parts) - 1)
    shown = [each for each in parts[first : first + 2] if each[0] or len(parts) - 1 == first]
    return " ".join(f"{number} {unit}" for number, unit in shown)


def age(seconds: float) -> str:
    """As `duration`, but it changes only once a minute, so that a page does not for its sake alone."""
    return "under 1 min" if seconds < 60 else duration(seconds - seconds % 60)


def milliseconds(seconds: float) -> str:
    """``12 ms``."""
    return f"{count(seconds * 1000)} ms"


def _short(number: float, step: int) -> str:
    """A number of at most three digits before the point, and its prefix."""
    prefixes = ("", "k", "M", "G", "T", "P")
    at = 0
    while abs(number) >= step and at < len(prefixes) - 1:
        number /= step
        at += 1
    digits = 0 if at == 0 or abs(number) >= 99.95 else 1
    return f"{number:.{digits}f} {prefixes[at]}"
