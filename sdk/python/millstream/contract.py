"""What a stage declares, and what it is given."""

from dataclasses import dataclass, field

from . import logical, wit


@dataclass(frozen=True)
class Lookup:
    """A lookup that the host answers with each batch."""

    table: str
    key: tuple
    columns: dict


def lookup(table, key, columns):
    """Looks columns up in a dimension, by a column of the batch or, for a composite key, a list of them. The host does it,
    once a batch, before the call: `lookup("users", key="user_id", columns={"country": "utf8?"})`."""
    key = (key,) if isinstance(key, str) else tuple(key)
    return Lookup(table, key, types(columns))


def types(columns):
    """Columns with their types parsed."""
    parsed = {}
    for name, text in (columns or {}).items():
        try:
            parsed[name] = logical.parse(text)
        except (TypeError, ValueError) as error:
            raise type(error)(f"column `{name}`: {error}") from None
    return parsed


@dataclass(frozen=True)
class Contract:
    """What a configured stage reads, looks up, writes and routes to. Columns go by name, with their types."""

    reads: dict = field(default_factory=dict)
    writes: dict = field(default_factory=dict)
    lookups: dict = field(default_factory=dict)
    outputs: tuple = ()

    def __post_init__(self):
        object.__setattr__(self, "reads", types(self.reads))
        object.__setattr__(self, "writes", types(self.writes))
        object.__setattr__(self, "lookups", dict(self.lookups or {}))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        for name, declared in self.lookups.items():
            if not isinstance(declared, Lookup):
                raise TypeError(f"lookup `{name}`: write lookup(\"TABLE\", key=.., columns={{..}})")

    def wit(self):
        """As the host reads it."""
        lookups = [wit.Lookup(one.table, list(one.key), fields(one.columns)) for one in self.lookups.values()]
        return wit.Contract(fields(self.reads), lookups, fields(self.writes), list(self.outputs))


def fields(columns):
    """Columns as the interface has them."""
    return [wit.Field(name, declared.text, declared.nullable) for name, declared in columns.items()]


@dataclass(frozen=True)
class Table:
    """A dimension that the stage may read: the types of its key, in order, and of its other columns."""

    name: str
    key: dict
    columns: dict


@dataclass(frozen=True)
class Given:
    """What is upstream of the stage, from which a `stage` types itself."""

    columns: dict
    tables: dict
    outputs: tuple

    @classmethod
    def of(cls, given):
        """From what the host hands over."""
        tables = {one.name: Table(one.name, _typed(one.key), _typed(one.columns)) for one in given.tables}
        return cls(_typed(given.columns), tables, tuple(given.outputs))


def _typed(given):
    return {one.name: logical.parse(one.data_type + ("?" if one.nullable else "")) for one in given}
