import assert from "node:assert/strict";
import { test } from "node:test";

import { configure } from "millstream-sdk/testing";

import clean, { botFinder, MOST_AGENTS } from "./clean-clicks.js";

const CONFIG = { bots: ["bot", "curl/"], tracking: ["utm_", "gclid"] };
const outcome = (url, user_agent = "Firefox") => configure(clean, CONFIG).process([{ url, user_agent }]);

test("an address is taken apart", () => {
  for (const [url, host, path, query] of [
    ["https://shop.example/tea/p1", "shop.example", "/tea/p1", null],
    ["http://shop.example", "shop.example", "", null],
    ["https://shop.example?page=2", "shop.example", "", "page=2"],
    ["https://shop.example/a?utm_source=mail&color=red&gclid=x&size=xl", "shop.example", "/a", "color=red&size=xl"],
    ["https://shop.example/a?utm_source=mail", "shop.example", "/a", null],
    ["https://shop.example/a?q=b/c://d", "shop.example", "/a", "q=b/c://d"],
    ["https://shop.example/grüße?&&a=é&", "shop.example", "/grüße", "a=é"],
  ]) {
    assert.deepEqual(outcome(url).rows, [{ host, path, query }], url);
  }
});

test("bots are filtered however many agents there were", () => {
  assert.deepEqual(outcome("https://shop.example/", "Googlebot/2.1").filtered, [[0, "bot"]]);
  const agents = new Map();
  const isBot = botFinder(["bot"], agents);
  for (let number = 0; number <= MOST_AGENTS; number++) {
    assert.equal(isBot(`Agent ${number}`), false);
    assert.equal(isBot("robot"), true);
  }
  assert.ok(agents.size <= MOST_AGENTS);
  assert.equal(isBot("another bot"), true);
});

test("an address without a host is rejected", () => {
  const url = "/tea/p1?utm_source=mail";
  assert.deepEqual(outcome(url).rejects, [[0, "bad_url", url]]);
});
