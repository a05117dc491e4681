"""A click's address becomes host, path and query, without what only tracks people; bots leave the stream."""

from dataclasses import dataclass

from millstream import dictionary, transform

MOST_AGENTS = 10_000


@dataclass
class Config:
    """The stage's table of the pipeline file."""

    bots: list[str]  # an agent that has one of these in its name is a bot
    tracking: list[str]  # a parameter that begins with one of these is left out


@transform(
    reads={"url": "utf8", "user_agent": "utf8"},
    writes={"host": dictionary("utf8"), "path": "utf8", "query": "utf8?"},
    config=Config,
)
class CleanClicks:
    def __init__(self, config):
        self.bots = config.bots
        self.tracking = tuple(config.tracking)
        self.agents = {}  # what was found out about agents: there are few, and each comes often

    def __call__(self, batch):
        hosts, paths, queries = [], [], []
        for row, (url, agent) in enumerate(zip(batch["url"], batch["user_agent"])):
            if self.is_bot(agent):
                batch.filter(row, "bot")
                continue
            _, found, address = url.partition("://")
            if not found:
                batch.reject(row, "bad_url", url)
                continue
            page, _, query = address.partition("?")
            host, slash, path = page.partition("/")
            hosts.append(host)
            paths.append(slash + path)
            queries.append(self.without_tracking(query) if query else None)
        return {"host": hosts, "path": paths, "query": queries}

    def is_bot(self, agent):
        bot = self.agents.get(agent)
        if bot is None:
            bot = any(name in agent for name in self.bots)
            if len(self.agents) < MOST_AGENTS:
                self.agents[agent] = bot
        return bot

    def without_tracking(self, query):
        kept = [part for part in query.split("&") if part and not part.startswith(self.tracking)]
        return "&".join(kept) or None
