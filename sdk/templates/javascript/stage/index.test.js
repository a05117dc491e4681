import assert from "node:assert/strict";
import { test } from "node:test";

import { configure } from "millstream-sdk/testing";

import plugin from "./index.js";

test("a text is measured in characters", () => {
  const config = { column: "title", length: "title_length" };
  const stage = configure(plugin, config, { columns: { id: "int64", title: "utf8?" } });
  const outcome = stage.process([{ title: "grüße" }, {}, { title: "" }]);
  assert.deepEqual(outcome.rows.map((row) => row.title_length), [5, null, 0]);
});

test("a column that is not there is refused", () => {
  const config = { column: "name", length: "n" };
  const message = "config key `column`: there is no column `name`";
  assert.throws(() => configure(plugin, config, { columns: { title: "utf8" } }), { message });
});
