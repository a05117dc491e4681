"""The decorators, and a configured plugin."""

import inspect
from dataclasses import dataclass

from . import config as configs
from .batch import Batch
from .contract import Contract, Given

_DECLARATION = "__millstream__"


@dataclass(frozen=True)
class Declaration:
    """What a decorator notes on a function or class."""

    contract: object
    config: object


def transform(*, reads, writes, lookups=None, config=None):
    """Makes a function or class a stage that computes columns.

    The function gets a Batch (and the config, where there is one) and returns a dict: for each written column a list with
    a value a row of the batch, or a value a row that is kept. A class gets the config when it is made and is called with
    each batch.
    """
    return _declared(Contract(reads, writes, lookups or {}), config)


def route(*, reads, outputs, lookups=None, config=None):
    """Makes a function or class a stage that sends rows to outputs: it returns a list with an output's name, or a tuple of
    them, a row."""
    if not outputs:
        raise TypeError("a route has outputs")
    return _declared(Contract(reads, {}, lookups or {}, outputs), config)


def stage(*, config=None):
    """Makes a class a stage that declares its columns when it is configured: `contract(self, given)` returns a Contract. A
    stage with both columns and outputs returns `(columns, outputs)`."""
    return _declared(None, config)


def _declared(contract, config):
    def mark(stage):
        if contract is None and not hasattr(stage, "contract"):
            raise TypeError(f"{stage.__name__} has no `contract(self, given)`, which a stage declares its columns with")
        if contract is None and not inspect.isclass(stage):
            raise TypeError(f"{stage.__name__} is no class")
        setattr(stage, _DECLARATION, Declaration(contract, config))
        return stage

    return mark


def declaration(stage):
    """What is declared; fails for what is no stage."""
    found = vars(stage).get(_DECLARATION)
    if found is None:
        raise TypeError(f"{stage!r} is no stage: decorate it with @transform, @route or @stage")
    return found


def only_stage(module):
    """The stage of a module."""
    members = [member for member in vars(module).values() if hasattr(member, "__dict__")]
    own = [member for member in members if getattr(member, "__module__", None) == module.__name__]
    stages = {id(member): member for member in own if _DECLARATION in vars(member)}
    if len(stages) != 1:
        names = ", ".join(sorted(member.__name__ for member in stages.values())) or "none"
        raise TypeError(f"module {module.__name__} holds {len(stages)} stages ({names}); it is to hold one")
    return next(iter(stages.values()))


class Configured:
    """A stage with its config, for one instance."""

    def __init__(self, stage, config, given):
        declared = declaration(stage)
        self._given = Given.of(given)
        configured = configs.read(declared.config, config)
        arguments = () if declared.config is None else (configured,)
        if inspect.isclass(stage):
            made = stage(*arguments)
            self._call = made
        else:
            self._call = lambda batch: stage(batch, *arguments)
        self.contract = declared.contract if declared.contract is not None else made.contract(self._given)

    def process(self, batch):
        """The patch for a batch."""
        batch = Batch(self.contract, self._given, batch)
        returned = self._call(batch)
        if not self.contract.outputs:
            return batch.patch(self.contract, returned, None)
        columns, routes = returned if self.contract.writes else ({}, returned)
        return batch.patch(self.contract, columns, routes)


