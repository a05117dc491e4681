/** A click's address becomes host, path and query, without what only tracks people; bots leave the stream. */

import { dictionary, list, text, transform } from "millstream-sdk";

export const MOST_AGENTS = 10_000;

export default transform(
  {
    reads: { url: "utf8", user_agent: "utf8" },
    writes: { host: dictionary("utf8"), path: "utf8", query: "utf8?" },
    // An agent that has one of `bots` in its name is a bot; a parameter that begins with one of `tracking` is left out.
    config: { bots: list(text), tracking: list(text) },
  },
  ({ bots, tracking }) => {
    const isBot = botFinder(bots);
    return (batch) => {
      const { url: urls, user_agent: agents } = batch.columns;
      const host = [], path = [], query = [];
      for (let row = 0; row < batch.rows; row++) {
        const url = urls[row];
        const scheme = url.indexOf("://");
        if (isBot(agents[row])) {
          batch.filter(row, "bot");
        } else if (scheme < 0) {
          batch.reject(row, "bad_url", url);
        } else {
          const mark = url.indexOf("?", scheme + 3);
          const page = url.slice(scheme + 3, mark < 0 ? undefined : mark);
          const slash = page.indexOf("/");
          host.push(slash < 0 ? page : page.slice(0, slash));
          path.push(slash < 0 ? "" : page.slice(slash));
          query.push(mark < 0 ? null : withoutTracking(url.slice(mark + 1), tracking));
        }
      }
      return { host, path, query };
    };
  },
);

function withoutTracking(query, tracking) {
  const tracks = (parameter) => tracking.some((prefix) => parameter.startsWith(prefix));
  const kept = query.split("&").filter((parameter) => parameter && !tracks(parameter));
  return kept.length ? kept.join("&") : null;
}

/** Remembers what was found out about agents: there are few, and each comes often. */
export function botFinder(bots, agents = new Map()) {
  return (agent) => {
    let bot = agents.get(agent);
    if (bot === undefined) {
      bot = bots.some((name) => agent.includes(name));
      if (agents.size < MOST_AGENTS) agents.set(agent, bot);
    }
    return bot;
  };
}
