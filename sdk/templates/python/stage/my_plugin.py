"""The length of a text column, whatever its name: a generic stage."""

from dataclasses import dataclass

from millstream import ConfigError, Contract, stage


@dataclass
class Config:
    """The stage's `config` in the pipeline file; unknown keys are refused."""

    column: str  # the column that is measured
    length: str  # the new column


@stage(config=Config)
class MyPlugin:
    def __init__(self, config):
        self.config = config

    def contract(self, given):
        name = self.config.column
        column = given.columns.get(name)
        if column is None:
            raise ConfigError(f"there is no column `{name}`", key="column")
        if column.text != "utf8":
            raise ConfigError(f"`{name}` is {column}, no utf8", key="column")
        # Read as nullable: a column without nulls does as well.
        return Contract(reads={name: "utf8?"}, writes={self.config.length: "int32?"})

    def __call__(self, batch):
        texts = batch[self.config.column]
        return {self.config.length: [None if text is None else len(text) for text in texts]}
