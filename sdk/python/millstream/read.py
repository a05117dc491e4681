"""A column's nodes as a list of Python values, a whole buffer at a time."""

from datetime import date, datetime, timedelta, timezone
from decimal import Context, Decimal
from itertools import pairwise
from struct import unpack
from uuid import UUID

from . import bits, wit

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
#: One of a timestamp's units; nanoseconds stay numbers, for which Python has no type.
UNITS = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "us": timedelta(microseconds=1)}
_DIGITS = Context(prec=60)


class Unreadable(Exception):
    """Rows whose values Python's own type cannot hold: `rows` of them, by number."""

    def __init__(self, rows, detail):
        super().__init__(detail)
        self.rows = rows


def column(logical, nodes, rows, found=None):
    """The values of a column of `rows` rows; None where it is null, or where `found` says that its row was not."""
    left = list(reversed(nodes))
    values = _nested(logical, left, rows, found)
    if left:
        raise ValueError(f"{len(left)} nodes too many for {logical}")
    return values


def _nested(logical, left, rows, found):
    if not left:
        raise ValueError(f"nodes are missing for {logical}")
    node = left.pop()
    present = bits.unpack(node.validity, rows) if node.validity else None
    if found is not None:
        present = found if present is None else [one and other for one, other in zip(present, found)]
    if logical.kind == "list":
        return _lists(logical, node, left, present, found is not None)
    if logical.kind == "struct":
        return _structs(logical, left, rows, present)
    values = _FLAT[logical.kind](logical, node.values, rows, present)
    if len(values) != rows:
        raise ValueError(f"{len(values)} values of {logical} for {rows} rows")
    if present is not None:
        values = [value if here else None for value, here in zip(values, present)]
    return values


def _lists(logical, node, left, present, only_present):
    ranges = list(pairwise(node.values.value))
    items_rows = ranges[-1][1] if ranges else 0
    below = None
    if only_present:
        below = [here for (start, end), here in zip(ranges, present) for _ in range(start, end)]
    try:
        items = _nested(logical.item, left, items_rows, below)
    except Unreadable as unreadable:
        bad = set(unreadable.rows)
        rows = [row for row, (start, end) in enumerate(ranges) if not bad.isdisjoint(range(start, end))]
        raise Unreadable(rows, str(unreadable)) from None
    lists = [items[start:end] for start, end in ranges]
    if present is not None:
        lists = [value if here else None for value, here in zip(lists, present)]
    return lists


def _structs(logical, left, rows, present):
    names = [name for name, _ in logical.fields]
    # Below a null struct a field that is not nullable may hold anything.
    fields = [_nested(field, left, rows, present) for _, field in logical.fields]
    structs = [dict(zip(names, values)) for values in zip(*fields)]
    if present is not None:
        structs = [value if here else None for value, here in zip(structs, present)]
    return structs


def _numbers(logical, values, rows, present):
    return values.value


def _int8(logical, values, rows, present):
    return list(unpack(f"{len(values.value)}b", values.value))


def _bool(logical, values, rows, present):
    return bits.unpack(values.value, rows)


def _varlen(values):
    """The parts of a text buffer. ASCII, the usual case, is decoded once: there characters are bytes."""
    data = values.data
    if data.isascii():
        text = data.decode("ascii")
        return [text[start:end] for start, end in pairwise(values.offsets)]
    return [data[start:end].decode() for start, end in pairwise(values.offsets)]


def _utf8(logical, values, rows, present):
    if type(values) is wit.Values_Dictionary:
        distinct, codes = _varlen(values.value.values), values.value.codes
        if present is None:
            return [distinct[code] for code in codes]
        # The code of a null row means nothing.
        return [distinct[code] if here else None for code, here in zip(codes, present)]
    return _varlen(values.value)


def _binary(logical, values, rows, present):
    data = values.value.data
    return [data[start:end] for start, end in pairwise(values.value.offsets)]


def _decimal(logical, values, rows, present):
    words = unpack(f"<{len(values.value) // 8}q", values.value)
    # Two words a value, the low one first; nearly all values fit it.
    units = [
        low if high == low >> 63 else high << 64 | low & 0xFFFF_FFFF_FFFF_FFFF
        for low, high in zip(words[0::2], words[1::2])
    ]
    if logical.raw:
        return units
    scale = -logical.scale
    return [Decimal(unit).scaleb(scale, _DIGITS) for unit in units]


def _uuid(logical, values, rows, present):
    parts = [values.value[at:at + 16] for at in range(0, len(values.value), 16)]
    return parts if logical.raw else [UUID(bytes=part) for part in parts]


def _date(logical, values, rows, present):
    if logical.raw:
        return values.value
    return _each(lambda days: date.fromordinal(EPOCH_ORDINAL + days), logical, values.value, present)


def _timestamp(logical, values, rows, present):
    if logical.raw or logical.unit == "ns":
        return values.value
    unit = UNITS[logical.unit]
    return _each(lambda number: EPOCH + number * unit, logical, values.value, present)


def _each(convert, logical, numbers, present):
    """What Python's calendar, years 1 to 9999, cannot hold is named row by row."""
    if present is not None:
        numbers = [number if here else 0 for number, here in zip(numbers, present)]
    try:
        return [convert(number) for number in numbers]
    except (OverflowError, ValueError):
        rows = [row for row, number in enumerate(numbers) if not _converts(convert, number)]
        raise Unreadable(rows, f"{numbers[rows[0]]} as {logical} is outside of the years 1 to 9999") from None


def _converts(convert, number):
    try:
        convert(number)
        return True
    except (OverflowError, ValueError):
        return False


_FLAT = {
    "bool": _bool, "int8": _int8, "int16": _numbers, "int32": _numbers, "int64": _numbers, "float32": _numbers,
    "float64": _numbers, "decimal": _decimal, "utf8": _utf8, "binary": _binary, "uuid": _uuid, "date": _date,
    "timestamp": _timestamp,
}
