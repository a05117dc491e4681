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
    const tracks = (parameter) => tracking.some((prefix) => parameter.startsWith(prefix));
    return (batch) => {
      const { url: urls, user_agent: agents } = batch.columns;
      const host = [], path = [], query = [];
      for (let row = 0; row < batch.rows; row++) {
        if (isBot(agents[row])) {
          batch.filter(row, "bot");
          continue;
        }
        const [page, parameters, found] = takeApart(urls[row]);
        if (!found) {
          batch.reject(row, "bad_url", urls[row]);
          continue;
        }
        const slash = page.indexOf("/");
        host.push(slash < 0 ? page : page.slice(0, slash));
        path.push(slash < 0 ? "" : page.slice(slash));
        const kept = parameters.split("&").filter((parameter) => parameter && !tracks(parameter));
        query.push(kept.length ? kept.join("&") : null);
      }
      return { host, path, query };
    };
  },
);

/** What stands between `://` and `?`, what behind, and whether there is a `://`. */
function takeApart(url) {
  const scheme = url.indexOf("://");
  const address = url.slice(scheme + 3);
  const mark = address.indexOf("?");
  return mark < 0 ? [address, "", scheme >= 0] : [address.slice(0, mark), address.slice(mark + 1), scheme >= 0];
}

/** Remembers what was found out about agents: there are few, and each comes often. */
export function botFinder(bots, agents = new Map()) {
  return (agent) => {
    const bot = agents.get(agent) ?? bots.some((name) => agent.includes(name));
    if (agents.size < MOST_AGENTS) agents.set(agent, bot);
    return bot;
  };
}
