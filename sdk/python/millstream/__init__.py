"""Stages of Millstream pipelines: a decorated function, or class, over a batch of columns.

    from millstream import transform

    @transform(reads={"price": "decimal(12,2)", "rate": "float64?"}, writes={"gross": "decimal(12,2)?"})
    def gross(batch):
        for row, price in enumerate(batch["price"]):
            if price < 0:
                batch.reject(row, "negative_price", str(price))
        ...

`transform` computes columns, `route` names outputs, `stage` does both and declares its columns when it is configured.
docs/plugins-python.md is the reference. A module holds one plugin; `millstream plugin build FOLDER` makes it a component,
`millstream.testing` runs it natively.
"""

from .batch import Batch, Found
from .config import ConfigError
from .contract import Contract, Given, Table, lookup
from .host import debug, error, info, warn
from .logical import dictionary, raw
from .outcome import Fatal, Retry
from .plugin import route, stage, transform

__all__ = [
    "Batch", "ConfigError", "Contract", "Fatal", "Found", "Given", "Retry", "Table",
    "debug", "dictionary", "error", "info", "lookup", "raw", "route", "stage", "transform", "warn",
]
