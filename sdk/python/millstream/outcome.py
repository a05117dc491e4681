"""Failures: what is wrong is the batch or the stage, not a row."""


class Retry(Exception):
    """The same batch may work later: the host tries again."""


class Fatal(Exception):
    """This configuration never will work: the stage stops."""
