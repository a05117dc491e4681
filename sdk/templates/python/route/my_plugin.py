"""Orders to two outputs: large ones and all others."""

from dataclasses import dataclass

from millstream import ConfigError, route


@dataclass
class Config:
    """The stage's `config` in the pipeline file; unknown keys are refused."""

    large_from: int  # from this amount on an order is large


@route(
    # The columns that the way of a row depends on. They are checked against the pipeline before anything starts.
    reads={"amount": "decimal(12,2)"},
    # The pipeline file reads them as `from = "my-plugin.large"`.
    outputs=["large", "small"],
    config=Config,
)
class MyPlugin:
    def __init__(self, config):
        if config.large_from <= 0:
            raise ConfigError("from 0 on every order would be large", key="large_from")
        self.large_from = config.large_from

    def __call__(self, batch):
        for row, amount in enumerate(batch["amount"]):
            if amount < 0:
                batch.reject(row, "negative_amount", str(amount))
        return ["large" if amount >= self.large_from else "small" for amount in batch["amount"]]
