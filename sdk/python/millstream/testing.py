"""Unit tests of plugins, natively and without WASM: rows in, results out. They take the way that real batches take: config
as JSON, columns as the contract declares them, a patch back, checked as the host checks it.

    outcome = testing.configure(CleanClicks, {"bots": ["bot"]}).process([{"url": "https://a.example/"}])
    assert outcome.rows == [{"host": "a.example"}]

A row is a dict with the values that the stage sees; a key that is missing is None.
"""

import json

from . import bits, host, logical, native_wit, read, write
from .contract import fields, types
from .plugin import Configured


class Table:
    """A dimension of a test: its key and its other columns with their types, and its rows."""

    def __init__(self, name, key, columns, rows):
        self.name, self.key, self.columns = name, types(key), types(columns)
        self.rows = {tuple(row[part] for part in key): row for row in rows}

    def wit(self):
        """As the host describes it."""
        return native_wit.Table(self.name, fields(self.key), fields(self.columns))

    def answer(self, keys, columns):
        """The rows with these keys, or None, as the host answers a lookup."""
        rows = [self.rows.get(tuple(key)) for key in keys]
        answers = []
        for name, declared in columns.items():
            values = [row.get(name) if row else None for row in rows]
            if not declared.nullable and any(row and row.get(name) is None for row in rows):
                raise AssertionError(f"table `{self.name}`: column `{name}` is {declared}, but a row has none")
            nullable = logical.parse(declared.text + "?")
            answers.append(_column(f"{self.name}.{name}", _with_form(nullable, declared), values))
        return native_wit.Answer(bits.pack([row is not None for row in rows]), answers)


def configure(stage, config=None, *, columns=None, tables=(), outputs=()):
    """Configures a stage; fails with the ConfigError that the pipeline's author would see.

    `tables` are those that it looks up in; `columns` and `outputs` are what is upstream and downstream, for a `stage`."""
    given = native_wit.Given(fields(types(columns)), [table.wit() for table in tables], list(outputs))
    configured = Configured(stage, json.dumps({} if config is None else config), given)
    by_name = {table.name: table for table in tables}
    for declared in configured.contract.lookups.values():
        _check_lookup(declared, by_name)
    return Stage(configured, by_name)


def _check_lookup(declared, tables):
    table = tables.get(declared.table)
    if table is None:
        raise AssertionError(f"the stage looks up in table `{declared.table}`, which the test does not set up")
    if len(declared.key) != len(table.key):
        raise AssertionError(f"table `{table.name}` has a key of {len(table.key)} columns, not {len(declared.key)}")
    known = {**table.key, **table.columns}
    for name, asked in declared.columns.items():
        there = known.get(name)
        if there is None:
            raise AssertionError(f"table `{table.name}` has no column `{name}`")
        if there.text != asked.text or (there.nullable and not asked.nullable):
            raise AssertionError(f"column `{name}` of table `{table.name}` is {there}, read as {asked}")


class Stage:
    """A configured stage."""

    def __init__(self, configured, tables):
        self._configured, self._tables = configured, tables
        self.contract = configured.contract
        self._lines = []

    def process(self, rows):
        """Runs a batch of rows; fails when they do not fit, when the stage fails, or when its patch is broken."""
        contract = self.contract
        keys = {part for declared in contract.lookups.values() for part in declared.key}
        for index, row in enumerate(rows):
            for name in row.keys() - contract.reads.keys() - keys:
                raise AssertionError(f"row {index} has `{name}`, which the stage does not read")
        columns = [_column(name, kind, [row.get(name) for row in rows]) for name, kind in contract.reads.items()]
        lookups = []
        for declared in contract.lookups.values():
            asked = [[row.get(part) for part in declared.key] for row in rows]
            lookups.append(self._tables[declared.table].answer(asked, declared.columns))
        self._lines = []
        host.test = self
        try:
            patch = self._configured.process(native_wit.Batch(len(rows), columns, lookups))
        finally:
            host.test = None
        return Outcome(len(rows), contract, patch, self._lines)

    def log(self, level, message):
        """The host's log."""
        self._lines.append((level, message))

    def get_many(self, table, key, columns):
        """The host's get-many."""
        if table not in self._tables:
            raise host.LookupFailed("UnknownTable", "")
        table = self._tables[table]
        rows = _rows(key[0][0])
        parts = [read.column(kind, nodes, rows) for kind, nodes in zip(table.key.values(), key)]
        known = {**table.key, **table.columns}
        return table.answer(zip(*parts), {name: known[name] for name in columns})


class Outcome:
    """What became of a batch: `rows` that came out, `kept` (input row, row), `routed` (input row, output), `rejects`
    (row, reason, detail), `filtered` (row, reason), `log` (level, message)."""

    def __init__(self, rows, contract, patch, lines):
        kept = list(range(rows)) if patch.rows is None else patch.rows
        _check(rows, contract, patch, kept)
        values = [
            read.column(kind, column.nodes, len(kept)) for kind, column in zip(contract.writes.values(), patch.columns)
        ]
        self.rows = [dict(zip(contract.writes, row)) for row in zip(*values)] if values else [{} for _ in kept]
        self.kept = list(zip(kept, self.rows))
        self.routed = list(zip(kept, (contract.outputs[number] for number in patch.outputs)))
        self.rejects = [(one.row, one.reason, one.detail) for one in patch.rejects]
        self.filtered = sorted((row, one.reason) for one in patch.filtered for row in one.rows)
        self.log = lines


def _check(rows, contract, patch, kept):
    places = [set(kept), {one.row for one in patch.rejects}, {row for one in patch.filtered for row in one.rows}]
    if sum(map(len, places)) != rows or set().union(*places) != set(range(rows)):
        raise AssertionError(f"the patch is broken: not every row is in one of kept, rejected, filtered: {places}")
    if kept != sorted(kept) or len(patch.columns) != len(contract.writes):
        raise AssertionError("the patch is broken: rows out of order, or columns missing")
    if len(patch.outputs) != (len(kept) if contract.outputs else 0):
        raise AssertionError(f"the patch is broken: {len(patch.outputs)} outputs for {len(kept)} rows")


def _column(name, kind, values):
    try:
        return native_wit.Column(write.column(kind, values))
    except (TypeError, write.Unfit) as error:
        raise AssertionError(f"column `{name}` of the test's rows: {error}") from None


def _with_form(kind, declared):
    """The type with the form, raw or not, in which the stage wants it: a test's values are those that the stage sees."""
    return logical.raw(kind) if declared.raw else kind


def _rows(node):
    values = node.values.value
    if isinstance(values, native_wit.Varlen):
        return len(values.offsets) - 1
    if isinstance(node.values, native_wit.Values_Fixed):
        return len(values) // 16
    return len(values)
