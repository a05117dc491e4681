"""Lists of Python values as a column's nodes, a whole buffer at a time.

Two kinds of mistakes are told apart: a value of another type (`TypeError`) is a bug of the plugin; a value that the column
cannot hold (`Unfit`), such as a decimal with too many digits, is about its row, which is then rejected.
"""

import struct
from array import array
from datetime import date, datetime
from decimal import Context, Decimal, InvalidOperation
from itertools import accumulate, chain
from uuid import UUID

from . import bits, wit
from .read import EPOCH, EPOCH_ORDINAL, UNITS

_DIGITS = Context(prec=80)
_INTS = {
    "int8": (8, wit.Values_Int8), "int16": (16, wit.Values_Int16), "int32": (32, wit.Values_Int32),
    "int64": (64, wit.Values_Int64),
}


class Unfit(Exception):
    """Values that the column cannot hold, by their numbers in the list that was written."""

    def __init__(self, at, detail):
        super().__init__(detail)
        self.at = at


def column(logical, values):
    """The nodes of a column with these values."""
    nodes = []
    _nested(logical, values, nodes)
    return nodes


def _nested(logical, values, nodes):
    """Flat values below lists do not stand at the rows of the column; `Unfit` names the latter."""
    validity = b""
    present = None
    if None in values:
        if not logical.nullable:
            raise TypeError(f"value {values.index(None)} is None, but the type is {logical}; `{logical}?` may be null")
        present = [value is not None for value in values]
        validity = bits.pack(present)
    if logical.kind == "list":
        return _lists(logical, values, validity, nodes)
    if logical.kind == "struct":
        return _structs(logical, values, validity, present, nodes)
    if present is not None:
        filler = _place(logical)
        values = [filler if value is None else value for value in values]
    nodes.append(wit.Node(validity, _FLAT[logical.kind](logical, values)))
    return None


def _lists(logical, values, validity, nodes):
    for value in values:
        if value is not None and not isinstance(value, (list, tuple)):
            raise TypeError(f"{value!r} is no list, but the type is {logical}")
    lists = [value or () for value in values]
    offsets = list(accumulate(map(len, lists), initial=0))
    nodes.append(wit.Node(validity, wit.Values_Offsets(offsets)))
    try:
        _nested(logical.item, list(chain.from_iterable(lists)), nodes)
    except Unfit as unfit:
        items = set(unfit.at)
        rows = [row for row in range(len(lists)) if not items.isdisjoint(range(offsets[row], offsets[row + 1]))]
        raise Unfit(rows, str(unfit)) from None


def _structs(logical, values, validity, present, nodes):
    names = {name for name, _ in logical.fields}
    for value in values:
        if value is not None and not (isinstance(value, dict) and names >= value.keys()):
            raise TypeError(f"{value!r} is no dict of {', '.join(sorted(names))}, but the type is {logical}")
    nodes.append(wit.Node(validity, wit.Values_None_()))
    for name, field in logical.fields:
        below = [_filler(field) if value is None else value.get(name) for value in values]
        _nested(field, below, nodes)


def _filler(logical):
    """What stands below a null struct means nothing, but has its place."""
    if logical.nullable:
        return None
    if logical.kind == "list":
        return ()
    if logical.kind == "struct":
        return {name: _filler(field) for name, field in logical.fields}
    return _place(logical)


def _place(logical):
    if logical.raw or logical.unit == "ns":
        return _RAW_PLACES[logical.kind]
    return _PLACES[logical.kind]


def _unfit(values, fits, detail):
    at = [index for index, value in enumerate(values) if not fits(value)]
    return Unfit(at, detail(values[at[0]]))


def _of(kinds, logical, values):
    """Fails unless all values are of these classes; `bool` is no number here."""
    for kind in set(map(type, values)):
        if kind not in kinds and not (issubclass(kind, kinds) and kind is not bool):
            value = next(value for value in values if type(value) is kind)
            names = " or ".join(known.__name__ for known in kinds)
            raise TypeError(f"{value!r} is no {names}, but the type is {logical}")


def _bool(logical, values):
    for value in values:
        if value is not True and value is not False:
            raise TypeError(f"{value!r} is no bool, but the type is {logical}")
    return wit.Values_Bits(bits.pack(values))


def _int(logical, values):
    _of((int,), logical, values)
    return _whole(logical, values, *_INTS[logical.kind])


def _whole(logical, values, width, layout):
    limit = 1 << width - 1
    if values and (min(values) < -limit or max(values) >= limit):
        raise _unfit(values, lambda value: -limit <= value < limit, lambda value: f"{value} as {logical}")
    if width == 8:
        return layout(array("b", values).tobytes())
    return layout(list(values))


def _float(logical, values):
    _of((float, int), logical, values)
    try:
        if logical.kind == "float64":
            return wit.Values_Float64(list(map(float, values)))
        # Rounded here, so that a number beyond the type's largest is found.
        return wit.Values_Float32(list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))))
    except OverflowError:
        raise _unfit(values, lambda value: _packs(logical, value), lambda value: f"{value} as {logical}") from None


def _packs(logical, value):
    try:
        struct.pack("<d" if logical.kind == "float64" else "<f", value)
        return True
    except OverflowError:
        return False


def varlen(texts):
    """The text buffer of these values; where all are ASCII, the usual case, characters are bytes."""
    joined = "".join(texts)
    data = joined.encode()
    if len(data) != len(joined):
        texts = [text.encode() for text in texts]
    return wit.Varlen(list(accumulate(map(len, texts), initial=0)), data)


def _utf8(logical, values):
    _of((str,), logical, values)
    try:
        if not logical.dictionary:
            return wit.Values_Varlen(varlen(values))
        code_of = {text: code for code, text in enumerate(dict.fromkeys(values))}
        return wit.Values_Dictionary(wit.Dictionary([code_of[text] for text in values], varlen(list(code_of))))
    except UnicodeEncodeError:
        raise _unfit(values, _encodes, lambda value: f"{value!r} is no Unicode text") from None


def _encodes(text):
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False


def _binary(logical, values):
    _of((bytes, bytearray, memoryview), logical, values)
    return wit.Values_Varlen(wit.Varlen(list(accumulate(map(len, values), initial=0)), b"".join(values)))


def _decimal(logical, values):
    _of((int,) if logical.raw else (Decimal, int), logical, values)
    units = list(values) if logical.raw else [_units(logical, value) for value in values]
    limit = 10**logical.precision
    if None in units or (units and (min(units) <= -limit or max(units) >= limit)):
        raise Unfit(
            [at for at, unit in enumerate(units) if unit is None or not -limit < unit < limit],
            f"{next(value for value, unit in zip(values, units) if unit is None or not -limit < unit < limit)} as {logical}",
        )
    return wit.Values_Fixed(b"".join([unit.to_bytes(16, "little", signed=True) for unit in units]))


def _units(logical, value):
    """The number of units of 10^-s; None for a value that has digits behind the column's last, or is no number."""
    try:
        scaled = Decimal(value).scaleb(logical.scale, _DIGITS)
        units = int(scaled)
        return units if units == scaled else None
    except (InvalidOperation, OverflowError, ValueError):
        return None


def _uuid(logical, values):
    if logical.raw:
        _of((bytes,), logical, values)
        if any(len(value) != 16 for value in values):
            raise TypeError("a raw uuid has 16 bytes")
        return wit.Values_Fixed(b"".join(values))
    _of((UUID,), logical, values)
    return wit.Values_Fixed(b"".join([value.bytes for value in values]))


def _date(logical, values):
    if logical.raw:
        _of((int,), logical, values)
        return _whole(logical, values, 32, wit.Values_Int32)
    if datetime in set(map(type, values)):
        raise TypeError(f"a datetime is no date, but the type is {logical}: `.date()` makes one")
    _of((date,), logical, values)
    return wit.Values_Int32([value.toordinal() - EPOCH_ORDINAL for value in values])


def _timestamp(logical, values):
    if logical.raw or logical.unit == "ns":
        _of((int,), logical, values)
        return _whole(logical, values, 64, wit.Values_Int64)
    _of((datetime,), logical, values)
    if any(value.tzinfo is None for value in values):
        raise TypeError(f"a datetime without a time zone is no instant, but the type is {logical}")
    # Towards the past, so that the order of instants is kept.
    unit = UNITS[logical.unit]
    return wit.Values_Int64([(value - EPOCH) // unit for value in values])


_FLAT = {
    "bool": _bool, "int8": _int, "int16": _int, "int32": _int, "int64": _int, "float32": _float, "float64": _float,
    "decimal": _decimal, "utf8": _utf8, "binary": _binary, "uuid": _uuid, "date": _date, "timestamp": _timestamp,
}
_PLACES = {
    "bool": False, "int8": 0, "int16": 0, "int32": 0, "int64": 0, "float32": 0.0, "float64": 0.0, "decimal": 0, "utf8": "",
    "binary": b"", "uuid": UUID(int=0), "date": date(1970, 1, 1), "timestamp": EPOCH,
}
_RAW_PLACES = {"decimal": 0, "uuid": bytes(16), "date": 0, "timestamp": 0}
