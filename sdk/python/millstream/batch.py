"""A batch as a stage sees it, and the patch that comes of it."""

from . import bits, read, wit, write
from .host import LookupFailed, get_many
from .outcome import Fatal, Retry

#: The reason of rows whose values their columns, or Python's types, cannot hold.
OUT_OF_RANGE = "out_of_range"


class Found:
    """The answer to a lookup: `found` is a bool a row, `["country"]` a column, None where nothing was found."""

    def __init__(self, declared, joined, rows, unreadable=None):
        self.found = bits.unpack(joined.found, rows)
        self._columns = _read_all(declared, joined.columns, rows, self.found, unreadable)

    def __getitem__(self, name):
        return self._columns[name]

    def _take(self, rows):
        self.found = [self.found[row] for row in rows]
        self._columns = {name: [values[row] for row in rows] for name, values in self._columns.items()}


class Batch:
    """Some thousand rows, by columns: `batch["url"]` is a list with a value a row, None where it is null.

    `rows` is how many there are, `lookups["user"]` the answer to a declared lookup.
    """

    def __init__(self, contract, given, batch):
        self.rows = batch.rows
        self._given = given
        self._gone = {}
        self._kept = None
        self._origin = None
        self._before = {}
        self._columns = _read_all(contract.reads, batch.columns, batch.rows, None, self._unreadable)
        self.lookups = {}
        for (name, declared), joined in zip(contract.lookups.items(), batch.lookups):
            self.lookups[name] = Found(declared.columns, joined, batch.rows, self._unreadable)
        if self._gone:
            self._leave_out_unreadable()

    def __len__(self):
        return self.rows

    def __getitem__(self, name):
        try:
            return self._columns[name]
        except KeyError:
            raise KeyError(f"`{name}` is not among the columns that the stage reads: {', '.join(self._columns)}") from None

    def reject(self, row, reason, detail=""):
        """Refuses a row: it is kept aside and can be replayed. `reason` is a short stable word, counted by the host."""
        self._leave(row, (reason, detail))

    def filter(self, row, reason):
        """Leaves a row out on purpose. `reason` is a short stable word, counted by the host."""
        self._leave(row, (reason, None))

    def keep(self, rows):
        """Names the rows that come out, ascending; a repeat makes two of one. Without it all rows do that are neither
        rejected nor filtered."""
        self._kept = list(rows)

    def get_many(self, table, keys, columns):
        """Looks up keys that the stage computed: a list of values or, for a composite key, of tuples. All in one call of
        the host; declare a `lookup` where the key is a column, which costs no call."""
        known = self._given.tables.get(table)
        if known is None:
            raise Fatal(f"there is no table `{table}`, or it is not granted to this stage")
        keys = [key if isinstance(key, tuple) else (key,) for key in keys]
        if any(len(key) != len(known.key) for key in keys):
            raise Fatal(f"table `{table}` has a key of {len(known.key)} columns")
        parts = zip(*keys) if keys else [()] * len(known.key)
        nodes = [write.column(logical, list(part)) for logical, part in zip(known.key.values(), parts)]
        types = {**known.key, **known.columns}
        unknown = [name for name in columns if name not in types]
        if unknown:
            raise Fatal(f"table `{table}` has no column `{unknown[0]}`")
        try:
            answer = get_many(table, nodes, list(columns))
        except LookupFailed as failed:
            if failed.kind == "Unavailable":
                raise Retry(f"table `{table}` cannot be read now: {failed.why}") from None
            raise Fatal(f"table `{table}`: {failed.kind}") from None
        return Found({name: types[name] for name in columns}, answer, len(keys))

    def _leave(self, row, how):
        if not 0 <= row < self.rows:
            raise IndexError(f"there is no row {row} in a batch of {self.rows}")
        if row in self._gone:
            raise ValueError(f"row {row} is rejected or filtered twice")
        self._gone[row] = how

    def _unreadable(self, name, unreadable):
        for row in unreadable.rows:
            self._gone.setdefault(row, (OUT_OF_RANGE, f"column `{name}`: {unreadable}"))

    def _leave_out_unreadable(self):
        """The stage sees a batch without rows that Python cannot hold; `_origin` says which rows its own are."""
        self._before = self._gone
        self._gone = {}
        here = [row for row in range(self.rows) if row not in self._before]
        self.rows, self._origin = len(here), here
        for name, values in self._columns.items():
            self._columns[name] = [values[row] for row in here]
        for found in self.lookups.values():
            found._take(here)

    def patch(self, contract, columns, routes):
        """The patch for what the stage returned: a list of values for each written column, and of outputs."""
        columns = columns if columns is not None else {}
        if not isinstance(columns, dict) or columns.keys() != contract.writes.keys():
            names = ", ".join(columns) if isinstance(columns, dict) else repr(columns)
            raise TypeError(f"the stage returned {names or 'nothing'}; it writes {', '.join(contract.writes) or 'nothing'}")
        rows = self._rows()
        columns = {name: self._aligned(f"column `{name}`", values, rows) for name, values in columns.items()}
        routes = self._aligned("the list of outputs", routes, rows) if contract.outputs else None
        while True:
            nodes, unfit = _write_all(contract.writes, columns)
            if not unfit:
                break
            for at, detail in unfit.items():
                self._gone.setdefault(rows[at], (OUT_OF_RANGE, detail))
            left = [at for at, row in enumerate(rows) if row not in self._gone]
            rows = [rows[at] for at in left]
            columns = {name: [values[at] for at in left] for name, values in columns.items()}
            routes = routes and [routes[at] for at in left]
        outputs = []
        if contract.outputs:
            rows, nodes, outputs = _sent(contract.outputs, rows, nodes, routes, bool(contract.writes))
        return self._finish(rows, [wit.Column(one) for one in nodes], outputs)

    def _rows(self):
        if self._kept is None:
            return [row for row in range(self.rows) if row not in self._gone] if self._gone else range(self.rows)
        for row in self._kept:
            if row in self._gone or not 0 <= row < self.rows:
                raise ValueError(f"row {row} is kept, but also rejected or filtered, or is no row of the batch")
        missing = set(range(self.rows)) - set(self._kept) - self._gone.keys()
        if missing:
            raise ValueError(f"row {min(missing)} is neither kept nor rejected nor filtered")
        if self._kept != sorted(self._kept):
            raise ValueError("rows are to be kept in ascending order")
        return self._kept

    def _aligned(self, what, values, rows):
        """A value for each row that is kept; those of other rows are left out where the list is as long as the batch."""
        if not isinstance(values, (list, tuple)):
            raise TypeError(f"{what} is a {type(values).__name__}, not a list")
        if len(values) == len(rows):
            return values
        if self._kept is None and len(values) == self.rows:
            return [values[row] for row in rows]
        raise ValueError(f"{what} has {len(values)} values; the batch has {self.rows} rows, of which {len(rows)} are kept")

    def _finish(self, rows, columns, outputs):
        gone, origin = self._gone, self._origin
        if origin is not None:
            gone = {**self._before, **{origin[row]: how for row, how in gone.items()}}
            rows = [origin[row] for row in rows]
        everything = not gone and isinstance(rows, range)
        rejects, filtered = [], {}
        for row in sorted(gone):
            reason, detail = gone[row]
            if detail is None:
                filtered.setdefault(reason, []).append(row)
            else:
                rejects.append(wit.Reject(row, reason, detail))
        filtered = [wit.Filtered(reason, rows) for reason, rows in filtered.items()]
        return wit.Patch(None if everything else list(rows), columns, outputs, rejects, filtered)


def _read_all(types, columns, rows, found, unreadable):
    """The columns by name. Rows whose values Python cannot hold are handed to `unreadable`, and are None here."""
    values = {}
    for (name, logical), column in zip(types.items(), columns):
        try:
            values[name] = read.column(logical, column.nodes, rows, found)
        except read.Unreadable as error:
            if unreadable is None:
                raise
            unreadable(name, error)
            bad = set(error.rows)
            readable = [row not in bad and (found is None or found[row]) for row in range(rows)]
            values[name] = read.column(logical, column.nodes, rows, readable)
    return values


def _write_all(writes, columns):
    """The nodes of all columns, or what does not fit them: its place, and a detail."""
    nodes, unfit = [], {}
    for name, logical in writes.items():
        try:
            nodes.append(write.column(logical, columns[name]))
        except write.Unfit as error:
            for at in error.at:
                unfit.setdefault(at, f"column `{name}`: {error}")
        except TypeError as error:
            raise TypeError(f"column `{name}`: {error}") from None
    return nodes, unfit


def _sent(outputs, rows, nodes, routes, writes):
    """Each row's outputs as numbers; a row that goes to several comes out several times."""
    number = {name: index for index, name in enumerate(outputs)}
    try:
        return rows, nodes, [number[name] for name in routes]
    except (KeyError, TypeError):
        if writes:
            raise ValueError("a stage that writes columns sends each row to one output; `keep` repeats rows") from None
    sent, numbers = [], []
    for row, names in zip(rows, routes):
        names = (names,) if isinstance(names, str) else names
        if not names:
            raise ValueError(f"row {row} goes nowhere: name an output, or filter or reject it")
        for name in names:
            if name not in number:
                raise ValueError(f"row {row} goes to `{name}`; the stage declares {', '.join(outputs)}")
            sent.append(row)
            numbers.append(number[name])
    return sent, nodes, numbers
