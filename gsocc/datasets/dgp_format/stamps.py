"""Time stamps of DGP files, as integers: a float of seconds since 1970 is too coarse for their last digits."""

import calendar
import re
from datetime import datetime

from gsocc.errors import DataError

MICROSECOND = 1e-6
"""Seconds of a tick where a data set keeps to the format."""

TICK_100_NS = 1e-7
"""Seconds of a tick in DDAD, which counted hundreds of nanoseconds and wrote them as microseconds."""

_STAMP = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})")
_IMPOSSIBLE_YEAR = 2200


def parse_stamp(text: str, place: str) -> int:
    """Return the microseconds since 1970 that an RFC 3339 stamp says; these are the ticks of `tick_seconds`.

    Args:
        text: As ``2463-05-15T00:38:58.203752Z``; more than six digits of a second are cut off.
        place: For the message.

    Raises:
        DataError: Where it is no such stamp.
    """
    match = _STAMP.fullmatch(text)
    if match is None:
        raise DataError(f"{place}: expected a time stamp like 2019-05-03T21:39:53.8203752Z, got {text!r}")
    seconds, fraction, zone = match.groups()
    try:
        parsed = datetime.fromisoformat(seconds + zone.replace("Z", "+00:00"))
    except ValueError as error:
        raise DataError(f"{place}: no such date: {text!r}") from error
    return calendar.timegm(parsed.utctimetuple()) * 1_000_000 + int((fraction or "0").ljust(6, "0")[:6])


def tick_seconds(ticks: int) -> float:
    """Return how long a tick is, judged by the year that the stamp would be in.

    DDAD's stamps of 2019 say 2463 when they are read as microseconds.
    """
    year = 1970 + ticks * MICROSECOND / (365.2425 * 86400)
    return TICK_100_NS if year > _IMPOSSIBLE_YEAR else MICROSECOND
