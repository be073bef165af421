"""Sizes as they are written on the command line."""

import re

from gsocc.errors import UserError


def parse_size(text: str, flag: str = "--image-size") -> tuple[int, int]:
    """Return (H, W) of a text like 225x400.

    Raises:
        UserError: Where it is not of that form.
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise UserError(f"{flag}: expected HxW like 225x400, got {text!r}")
    return int(match[1]), int(match[2])
