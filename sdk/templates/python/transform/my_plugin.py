"""An e-mail address in lower case, and its domain; addresses of our own people leave the stream."""

from dataclasses import dataclass

from millstream import ConfigError, dictionary, transform


@dataclass
class Config:
    """The stage's `config` in the pipeline file; unknown keys are refused."""

    own_domain: str  # events with an address of this domain are left out


@transform(
    # The columns that are read. They are checked against the pipeline before anything starts.
    reads={"email": "utf8"},
    # The columns that are written: new ones, or in the place of those of the same name.
    writes={"email": "utf8", "domain": dictionary("utf8")},
    config=Config,
)
class MyPlugin:
    def __init__(self, config):
        if "@" in config.own_domain:
            raise ConfigError("a domain has no `@`", key="own_domain")
        self.own_domain = config.own_domain

    def __call__(self, batch):
        emails, domains = [], []
        for row, given in enumerate(batch["email"]):
            email = given.strip().lower()
            _, at, domain = email.partition("@")
            if not at:
                batch.reject(row, "bad_email", given)
            elif domain == self.own_domain:
                batch.filter(row, "own")
            else:
                emails.append(email)
                domains.append(domain)
        return {"email": emails, "domain": domains}
