"""What a stage may call: the log, and tables by keys that it computes. In a component the host's functions, natively the
test's."""

try:
    from componentize_py_types import Err
    from wit_world.imports import dimensions as _dimensions
    from wit_world.imports import log as _log
    from wit_world.imports.columns import Column as _Column

    _LEVELS = {level.name.lower(): level for level in _log.Level}

    def _write(level, message):
        _log.log(_LEVELS[level], message)

    def get_many(table, key, columns):
        """`dimensions.get-many`; fails with a LookupFailed."""
        try:
            return _dimensions.get_many(table, [_Column(nodes) for nodes in key], columns)
        except Err as error:
            kind = type(error.value).__name__.removeprefix("LookupError_")
            raise LookupFailed(kind, getattr(error.value, "value", "")) from None

except ModuleNotFoundError as error:
    if error.name not in ("wit_world", "componentize_py_types"):
        raise
    #: The test that runs now: an object with `log(level, message)` and `get_many(table, key, columns)`.
    test = None

    def _write(level, message):
        if test is not None:
            test.log(level, message)

    def get_many(table, key, columns):
        """As in a component, answered by the test."""
        if test is None:
            raise LookupFailed("UnknownTable", "")
        return test.get_many(table, key, columns)


class LookupFailed(Exception):
    """Why a lookup was not answered: `UnknownTable`, `NotGranted`, `WrongKey`, `Unavailable`."""

    def __init__(self, kind, why):
        super().__init__(kind, why)
        self.kind, self.why = kind, why


def debug(message):
    """A line in the host's log, with the stage's name; rate-limited."""
    _write("debug", message)


def info(message):
    """A line in the host's log, with the stage's name; rate-limited."""
    _write("info", message)


def warn(message):
    """A line in the host's log, with the stage's name; rate-limited."""
    _write("warn", message)


def error(message):
    """A line in the host's log, with the stage's name; rate-limited."""
    _write("error", message)
