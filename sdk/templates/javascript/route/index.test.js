import assert from "node:assert/strict";
import { test } from "node:test";

import { configure } from "millstream-sdk/testing";

import plugin from "./index.js";

test("an order goes by its amount", () => {
  const rows = [{ amount: 9999n }, { amount: -100n }, { amount: 10000n }];
  const outcome = configure(plugin, { large_from: 100 }).process(rows);
  assert.deepEqual(outcome.routed, [[0, "small"], [2, "large"]]);
  assert.deepEqual(outcome.rejects, [[1, "negative_amount", "-1.00"]]);
});

test("a limit of nothing is refused", () => {
  const message = "config key `large_from`: from 0 on every order would be large";
  assert.throws(() => configure(plugin, { large_from: 0 }), { message });
});
