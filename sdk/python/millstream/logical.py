"""Logical types: their text form, and what a plugin wants of a column beside its type."""

import re
from dataclasses import dataclass, replace

_TOKEN = re.compile(r"\s*([A-Za-z_][\w-]*|\d+|[(),<>:?])")
_FLAT = {"bool", "int8", "int16", "int32", "int64", "float32", "float64", "utf8", "binary", "uuid", "date"}
_UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True)
class Logical:
    """A logical type of docs/types.md, and how its values stand in Python."""

    kind: str
    nullable: bool = False
    precision: int = 0
    scale: int = 0
    unit: str = ""
    fields: tuple = ()
    raw: bool = False
    dictionary: bool = False

    @property
    def item(self):
        """The type of a list's values."""
        return self.fields[0][1]

    @property
    def text(self):
        """The type without its `?`, as contracts write it."""
        if self.kind == "decimal":
            return f"decimal({self.precision},{self.scale})"
        if self.kind == "timestamp":
            return f"timestamp({self.unit})"
        if self.kind == "list":
            return f"list<{self.item}>"
        if self.kind == "struct":
            return f"struct<{', '.join(f'{name}: {logical}' for name, logical in self.fields)}>"
        return self.kind

    def __str__(self):
        return self.text + ("?" if self.nullable else "")


def raw(logical):
    """The column as whole numbers or bytes: a decimal's units, a timestamp's and a date's number, the 16 bytes of a uuid."""
    logical = parse(logical)
    if logical.kind not in ("decimal", "timestamp", "date", "uuid"):
        raise TypeError(f"{logical} has no raw form: decimal, timestamp, date and uuid have")
    return replace(logical, raw=True)


def dictionary(logical):
    """A written text column whose values repeat: distinct values cross, and stay a dictionary up to the Parquet page."""
    logical = parse(logical)
    if logical.kind != "utf8":
        raise TypeError(f"{logical} cannot be a dictionary: utf8 can")
    return replace(logical, dictionary=True)


def parse(text):
    """`"decimal(12,2)?"` as a type; a type stays what it is."""
    if isinstance(text, Logical):
        return text
    if not isinstance(text, str):
        raise TypeError(f"a type is text such as \"utf8?\", not {text!r}")
    tokens, at = [], 0
    while at < len(text.rstrip()):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"`{text}` is no type: {text[at:].strip()!r} was not expected")
        tokens.append(token.group(1))
        at = token.end()
    reader = _Reader(text, tokens)
    logical = reader.nested()
    if reader.tokens:
        raise ValueError(f"`{text}` is no type: {reader.tokens[0]!r} was not expected")
    return logical


class _Reader:
    def __init__(self, text, tokens):
        self.text, self.tokens = text, tokens

    def next(self, *expected):
        if not self.tokens or (expected and self.tokens[0] not in expected):
            found = repr(self.tokens[0]) if self.tokens else "its end"
            wanted = f"{' or '.join(map(repr, expected))} was expected, not {found}" if expected else "it ends too early"
            raise ValueError(f"`{self.text}` is no type: {wanted}")
        return self.tokens.pop(0)

    def number(self):
        token = self.next()
        if not token.isdigit():
            raise ValueError(f"`{self.text}` is no type: a number was expected, not {token!r}")
        return int(token)

    def nested(self):
        logical = self.plain()
        if self.tokens[:1] == ["?"]:
            self.next()
            return replace(logical, nullable=True)
        return logical

    def plain(self):
        kind = self.next()
        if kind in _FLAT:
            return Logical(kind)
        if kind == "decimal":
            self.next("(")
            precision = self.number()
            self.next(",")
            scale = self.number()
            self.next(")")
            if not 1 <= precision <= 38 or scale > precision:
                raise ValueError(f"`{self.text}`: a decimal has 1 to 38 digits, and no more of them behind the point")
            return Logical(kind, precision=precision, scale=scale)
        if kind == "timestamp":
            self.next("(")
            unit = self.next(*_UNITS)
            self.next(")")
            return Logical(kind, unit=unit)
        if kind == "list":
            self.next("<")
            item = self.nested()
            self.next(">")
            return Logical(kind, fields=(("item", item),))
        if kind == "struct":
            self.next("<")
            fields = [self.field()]
            while self.next(",", ">") == ",":
                fields.append(self.field())
            return Logical(kind, fields=tuple(fields))
        raise ValueError(f"`{self.text}`: there is no type `{kind}`")

    def field(self):
        name = self.next()
        self.next(":")
        return name, self.nested()
