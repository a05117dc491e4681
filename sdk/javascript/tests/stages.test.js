// Stages of all kinds, through config, contract and patch.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  ConfigError, Fatal, Retry, boolean, dictionary, integer, list, log, lookup, number, oneOf, optional, raw, route, stage, table,
  text, transform,
} from "../src/index.js";
import { component } from "../src/component.js";
import { host } from "../src/host.js";
import { configSchema } from "../src/plugin.js";
import { configure, Outcome, Table } from "../src/testing.js";

const measure = transform(
  {
    reads: { name: "utf8?" },
    writes: { length: "int8?" },
    config: {
      bots: list(text), rules: optional(table({ word: text, weight: optional(number, 1) }), {}),
      mode: optional(oneOf("fast", "slow"), "fast"), limit: optional(integer), strict: optional(boolean, false),
    },
  },
  ({ bots }) => (batch) => {
    const { name } = batch.columns;
    name.forEach((name, row) => {
      if (bots.includes(name)) batch.filter(row, "bot");
      else if (name === "") batch.reject(row, "no_name", `row ${row}`);
    });
    return { length: name.map((name) => name?.length) };
  },
);

test("rows are kept, filtered and rejected", () => {
  const rows = [{ name: "abc" }, { name: "x" }, { name: "" }, {}, { name: "long".repeat(100) }];
  const outcome = configure(measure, { bots: ["x"] }).process(rows);
  assert.deepEqual(outcome.kept, [[0, { length: 3 }], [3, { length: null }]]);
  assert.deepEqual(outcome.filtered, [[1, "bot"]]);
  assert.deepEqual(outcome.rejects, [[2, "no_name", "row 2"], [4, "out_of_range", "column `length`: 400 as int8?"]]);
});

test("values of kept rows alone will do", () => {
  const even = transform({ reads: { a: "int64" }, writes: { b: "int64" } }, () => (batch) => {
    const halves = [];
    batch.columns.a.forEach((a, row) => {
      if (a % 2n) batch.reject(row, "odd", a);
      else halves.push(a / 2n);
    });
    return { b: halves };
  });
  const outcome = configure(even).process([{ a: 2n }, { a: 3n }, { a: 6n }]);
  assert.deepEqual(outcome.kept, [[0, { b: 1n }], [2, { b: 3n }]]);
  assert.deepEqual(outcome.rejects, [[1, "odd", "3"]]);
});

test("one row becomes several", () => {
  const explode = transform({ reads: { words: "list<utf8>?" }, writes: { word: dictionary("utf8") } }, () => (batch) => {
    const rows = [];
    const word = [];
    batch.columns.words.forEach((words, row) => {
      if (!words?.length) batch.filter(row, "empty");
      for (const one of words ?? []) rows.push(row), word.push(one);
    });
    batch.keep(rows);
    return { word };
  });
  const outcome = configure(explode).process([{ words: ["a", "b"] }, { words: [] }, {}, { words: ["c"] }]);
  assert.deepEqual(outcome.kept, [[0, { word: "a" }], [0, { word: "b" }], [3, { word: "c" }]]);
  assert.deepEqual(outcome.filtered, [[1, "empty"], [2, "empty"]]);
});

test("a row that JavaScript cannot hold is rejected, and the stage sees the others", () => {
  const seen = [];
  const year = transform(
    { reads: { day: "date", n: "int32" }, writes: { year: "int16" }, lookups: { t: lookup("t", "n", { x: "utf8" }) } },
    () => (batch) => {
      const { t } = batch.lookups;
      seen.push([batch.rows, Array.from(batch.columns.n), t.columns.x, t.found]);
      batch.filter(1, "second");
      return { year: batch.columns.day.map((day) => day.getUTCFullYear()) };
    },
  );
  const exported = component(year, { name: "year", version: "1" }, {});
  exported.configure("{}", { columns: [], tables: [], outputs: [] });
  const node = (val) => ({ nodes: [{ validity: new Uint8Array(0), values: { tag: "int32", val } }] });
  const answer = new Table("t", { n: "int32" }, { x: "utf8" }, [{ n: 3, x: "c" }]).answer([[1], [2], [3], [4]], { x: { kind: "utf8" } });
  const patch = exported.process({ rows: 4, columns: [node(Int32Array.of(2e9, 0, 365, 366)), node(Int32Array.of(1, 2, 3, 4))], lookups: [answer] });
  const outcome = new Outcome(4, { writes: { year: { kind: "int16" } }, outputs: [] }, patch, []);
  assert.deepEqual(seen, [[3, [2, 3, 4], [null, "c", null], [false, true, false]]]);
  assert.deepEqual(outcome.kept, [[1, { year: 1970 }], [3, { year: 1971 }]]);
  assert.deepEqual(outcome.rejects, [[0, "out_of_range", "column `day`: 2000000000 as date is no Date"]]);
  assert.deepEqual(outcome.filtered, [[2, "second"]]);
});

test("mistakes are named", () => {
  for (const [returned, use, said] of [
    [{ c: [] }, () => {}, "the stage returned c; it writes b"],
    [undefined, () => {}, "the stage returned nothing; it writes b"],
    [{ b: [1] }, () => {}, "column `b` has 1 values; the batch has 3 rows, of which 3 are kept"],
    [{ b: ["x", "x", "x"] }, () => {}, 'column `b`: "x" is no whole number'],
    [{ b: 1 }, () => {}, "column `b` is no array"],
    [{}, (batch) => (batch.reject(1, "x"), batch.filter(1, "x")), "row 1 is rejected or filtered twice"],
    [{}, (batch) => batch.reject(3, "x"), "there is no row 3 in a batch of 3"],
    [{ b: [1, 1] }, (batch) => batch.keep([0, 1]), "row 2 is neither kept"],
    [{ b: [1, 1, 1] }, (batch) => batch.keep([0, 2, 1]), "ascending"],
    [{ b: [] }, (batch) => (batch.filter(1, "x"), batch.keep([0, 1, 2])), "row 1 is kept, but also"],
  ]) {
    const wrong = transform({ reads: { a: "int32" }, writes: { b: "int32" } }, () => (batch) => (use(batch), returned));
    const run = () => configure(wrong).process([{ a: 1 }, { a: 2 }, { a: 3 }]);
    assert.throws(run, (error) => error.message.includes(said), said);
  }
});

test("rows go to outputs", () => {
  const to = { purchase: "purchases", view: "views", both: ["purchases", "views"] };
  const sort = route({ reads: { kind: "utf8" }, outputs: ["purchases", "views"] }, () => (batch) => {
    batch.columns.kind.forEach((kind, row) => to[kind] ?? batch.reject(row, "unknown_kind", kind));
    return batch.columns.kind.map((kind) => to[kind]);
  });
  let outcome = configure(sort).process([{ kind: "view" }, { kind: "tea" }, { kind: "purchase" }]);
  assert.deepEqual(outcome.routed, [[0, "views"], [2, "purchases"]]);
  assert.deepEqual(outcome.rejects, [[1, "unknown_kind", "tea"]]);
  outcome = configure(sort).process([{ kind: "both" }, { kind: "view" }]);
  assert.deepEqual(outcome.routed, [[0, "purchases"], [0, "views"], [1, "views"]]);
  for (const [name, said] of [["tea", /row 0 goes to `tea`; the stage declares a/], [null, /row 0 goes nowhere/], [[], /nowhere/]]) {
    const wrong = route({ reads: {}, outputs: ["a"] }, () => (batch) => new Array(batch.rows).fill(name));
    assert.throws(() => configure(wrong).process([{}]), said);
  }
  assert.throws(() => route({ reads: {}, outputs: [] }), TypeError);
});

const users = new Table("users", { user_id: "int64" }, { country: "utf8?", since: raw("date") }, [
  { user_id: 7n, country: "DE", since: 18262 },
  { user_id: 8n, since: 18628 },
]);

test("a declared lookup is answered before the call", () => {
  const enrich = transform(
    {
      reads: {}, writes: { country: "utf8?", since: raw("date?"), known: "bool" },
      lookups: { user: lookup("users", "user_id", { country: "utf8?", since: raw("date") }) },
    },
    () => ({ lookups: { user } }) => ({ ...user.columns, known: user.found }),
  );
  const outcome = configure(enrich, {}, { tables: [users] }).process([{ user_id: 7n }, { user_id: 9n }, { user_id: 8n }]);
  assert.deepEqual(outcome.rows, [
    { country: "DE", since: 18262, known: true }, { country: null, since: null, known: false },
    { country: null, since: 18628, known: true },
  ]);
});

test("computed keys are looked up in one call", () => {
  const find = transform({ reads: { text: "utf8" }, writes: { country: "utf8?" } }, () => (batch) => {
    log.info(`${batch.rows} rows`);
    const keys = batch.columns.text.map((text) => BigInt(text));
    return { country: batch.getMany("users", keys, ["country", "user_id"]).columns.country };
  });
  const outcome = configure(find, {}, { tables: [users] }).process([{ text: "7" }, { text: "1" }]);
  assert.deepEqual(outcome.rows, [{ country: "DE" }, { country: null }]);
  assert.deepEqual(outcome.log, [["info", "2 rows"]]);
  assert.throws(() => configure(find).process([{ text: "7" }]), (error) => error instanceof Fatal && /no table `users`/.test(error.message));
});

test("a table that does not fit is named", () => {
  for (const [declared, said] of [
    [lookup("pages", "user_id", {}), "table `pages`, which the test does not set up"],
    [lookup("users", ["a", "b"], {}), "has a key of 1 columns, not 2"],
    [lookup("users", "user_id", { x: "utf8" }), "has no column `x`"],
    [lookup("users", "user_id", { country: "utf8" }), "is utf8?, read as utf8"],
  ]) {
    const looks = transform({ reads: {}, writes: {}, lookups: { user: declared } }, () => () => ({}));
    assert.throws(() => configure(looks, {}, { tables: [users] }), (error) => error.message.includes(said), said);
  }
});

test("a stage types itself from what is upstream, and may write and route", () => {
  const copy = stage({ config: { from: text } }, ({ from }, given) => {
    if (!given.columns[from]) throw new ConfigError(`there is no column \`${from}\``, "from");
    const type = given.columns[from];
    return { contract: { reads: { [from]: type }, writes: { copy: type } }, process: (batch) => ({ copy: batch.columns[from] }) };
  });
  const outcome = configure(copy, { from: "name" }, { columns: { name: "utf8?" } }).process([{ name: "a" }, {}]);
  assert.deepEqual(outcome.rows, [{ copy: "a" }, { copy: null }]);
  assert.throws(() => configure(copy, { from: "x" }), { message: "config key `from`: there is no column `x`" });

  const both = stage({}, (_, { outputs }) => ({
    contract: { reads: { n: "int8" }, writes: { m: "int8" }, outputs },
    process: ({ columns: { n } }) => [{ m: Array.from(n, (n) => n + 1) }, Array.from(n, (n) => (n % 2 ? "odd" : "even"))],
  }));
  const sorted = configure(both, {}, { outputs: ["odd", "even"] }).process([{ n: 1 }, { n: 127 }, { n: 2 }]);
  assert.deepEqual([sorted.kept, sorted.routed], [[[0, { m: 2 }], [2, { m: 3 }]], [[0, "odd"], [2, "even"]]]);
  assert.deepEqual(sorted.rejects[0].slice(0, 2), [1, "out_of_range"]);
});

test("what is no stage is named", () => {
  assert.throws(() => configure({}), /no stage: write `export default transform/);
  assert.throws(() => transform({ reads: { a: "string" } }, () => {}), /column `a`: `string`: there is no type `string`/);
  assert.throws(() => transform({ read: {} }, () => {}), /declares reads, writes, lookups, outputs, not `read`/);
  assert.throws(() => configure(transform({ reads: {} }, () => ({}))), /is to return a function over a batch/);
});

test("failures are the batch's, refusals the config's, and all else is a bug, which is said", (t) => {
  const said = t.mock.method(console, "error", () => {});
  const exported = (process, config) =>
    component(transform({ reads: {}, writes: {}, config }, () => process), { name: "a", version: "1" }, { log: host.log, getMany: host.getMany });
  const given = { columns: [], tables: [], outputs: [] };
  const thrown = (run) => {
    try {
      run();
    } catch (error) {
      return error;
    }
  };
  for (const [error, expected] of [
    [new Retry("away"), { tag: "retry", val: "away" }], [new Fatal("never"), { tag: "fatal", val: "never" }], [new RangeError("bug"), undefined],
  ]) {
    const plugin = exported(() => { throw error; });
    plugin.configure("{}", given);
    assert.deepEqual(thrown(() => plugin.process({ rows: 0, columns: [], lookups: [] })), expected ?? error);
  }
  assert.match(said.mock.calls[0].arguments[0], /^RangeError: bug\n/);
  assert.equal(said.mock.callCount(), 1);
  assert.equal(thrown(() => exported(() => ({})).configure('{"a": 1}', given)), "config key `a`: unknown key: this stage takes no config");
  assert.deepEqual(exported(() => ({}), { a: text }).describe().version, "1");
});

test("a config is typed and complete", () => {
  for (const [config, said] of [
    [{}, "config key `bots`: is missing"],
    [{ bots: [], bot: 1 }, "config key `bot`: unknown key: known are bots, rules, mode, limit, strict"],
    [{ bots: ["a", 1] }, "config key `bots[1]`: text was expected, not 1"],
    [{ bots: "a" }, 'config key `bots`: a list was expected, not "a"'],
    [{ bots: [], rules: { a: { wort: "" } } }, "config key `rules.a.wort`: unknown key: known are word, weight"],
    [{ bots: [], rules: { a: { word: "", weight: true } } }, "config key `rules.a.weight`: a number was expected, not true"],
    [{ bots: [], mode: "medium" }, 'config key `mode`: "medium" is none of "fast", "slow"'],
    [{ bots: [], limit: 1.5 }, "config key `limit`: a whole number was expected, not 1.5"],
    [{ bots: [], toString: 1 }, "config key `toString`: unknown key: known are bots, rules, mode, limit, strict"],
    [[], "config: a table was expected, not []"],
  ]) {
    assert.throws(() => configure(measure, config), (error) => error instanceof ConfigError && error.message === said, said);
  }
  let read;
  configure(transform({ reads: {}, writes: {}, config: { a: optional(number, 2), b: table(integer) } }, (config) => ((read = config), () => ({}))), { b: { x: 1 } });
  assert.deepEqual(read, { a: 2, b: { x: 1 } });
  const schema = JSON.parse(configSchema(measure));
  assert.deepEqual([schema.required, schema.additionalProperties], [["bots"], false]);
  assert.deepEqual(schema.properties.bots, { type: "array", items: { type: "string" } });
});
