import assert from "node:assert/strict";
import { test } from "node:test";

import { configure } from "millstream-sdk/testing";

import plugin from "./index.js";

const outcome = (email) => configure(plugin, { own_domain: "example.com" }).process([{ email }]);

test("an address becomes lower case and gives its domain", () => {
  assert.deepEqual(outcome(" Ada@Lovelace.org ").rows, [{ email: "ada@lovelace.org", domain: "lovelace.org" }]);
});

test("our own people are left out", () => {
  assert.deepEqual(outcome("bob@example.com").filtered, [[0, "own"]]);
});

test("what is no address is rejected", () => {
  assert.deepEqual(outcome("nobody").rejects, [[0, "bad_email", "nobody"]]);
});

test("a domain with an at sign is refused", () => {
  assert.throws(() => configure(plugin, { own_domain: "@example.com" }), { message: "config key `own_domain`: a domain has no `@`" });
});
