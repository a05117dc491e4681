// Values go to nodes and back, for every logical type; what does not fit is named.
import assert from "node:assert/strict";
import { test } from "node:test";

import { dictionary, raw } from "../src/index.js";
import { parse, toText } from "../src/logical.js";
import * as read from "../src/read.js";
import * as write from "../src/write.js";

const NOON = new Date("2025-06-01T12:00:00.123Z");
const ID = "67e55044-10b1-426f-9247-bb680e5fe0c8";
const ID_BYTES = Uint8Array.from(ID.replaceAll("-", "").match(/../g), (pair) => Number.parseInt(pair, 16));
const name = (type) => toText(parse(type));

function roundTrip(type, values) {
  const logical = parse(type);
  return Array.from(read.column(logical, write.column(logical, values), values.length));
}

test("values go to nodes and back", () => {
  for (const [type, values] of [
    ["bool", [true, false, true, false, true, false, true, false, true]], ["bool?", [true, null, false]],
    ["int8", [-128, 127]], ["int16?", [null, -32768]], ["int32", [2 ** 31 - 1, -(2 ** 31)]],
    ["int64?", [-(2n ** 63n), null, 2n ** 63n - 1n]], ["float32", [1.5, -0.25, Infinity]], ["float64?", [1e300, null, NaN]],
    ["decimal(12,2)?", ["12.50", null, "-0.05"]], ["decimal(38,0)", ["9".repeat(38), "-1"]],
    [raw("decimal(12,2)?"), [1250n, null, -5n]], ["utf8?", ["", null, "grüße", "a"]], ["utf8", ["a", "", "bc"]],
    ["utf8", ["\ufeffa", "😀"]], [dictionary("utf8?"), ["b", null, "a", "b"]],
    ["binary", [new Uint8Array(0), Uint8Array.of(0, 255)]], ["uuid?", [ID, null]], [raw("uuid"), [ID_BYTES]],
    ["date?", [new Date("1969-12-31"), null, new Date("9999-12-31")]], [raw("date"), [-1, 2 ** 31 - 1]],
    ["timestamp(s)", [new Date("2025-06-01T12:00:00Z")]], ["timestamp(ms)?", [NOON, null]], ["timestamp(ns)?", [-1n, null, 2n ** 62n]],
    [raw("timestamp(ms)"), [-1n, 2n ** 63n - 1n]], ["list<utf8?>?", [["a", null], null, []]],
    ["list<list<int8>>", [[[1], []], [], [[2, 3]]]],
    ["struct<sku: utf8, tags: list<utf8>?>?", [{ sku: "a", tags: null }, null, { sku: "b", tags: ["x"] }]],
    ["list<struct<a: int8?>?>", [[{ a: 1 }, null, { a: null }]]], ["int64", []], ["list<utf8>", []],
  ]) {
    assert.deepEqual(roundTrip(type, values), values, name(type));
  }
});

test("other forms of a value come back in the usual one", () => {
  assert.deepEqual(roundTrip("decimal(6,2)", ["5", "+5.1", "5.100", 7n, "0"]), ["5.00", "5.10", "5.10", "7.00", "0.00"]);
  assert.deepEqual(roundTrip("timestamp(s)", [new Date(-1)]), [new Date(-1000)]);
  assert.deepEqual(roundTrip("int32", Int32Array.of(1, 2)), [1, 2]);
  assert.deepEqual(roundTrip("uuid", [ID.toUpperCase()]), [ID]);
  assert.deepEqual(roundTrip("struct<a: int8?>", [{}]), [{ a: null }]);
});

test("what a column cannot hold is named", () => {
  for (const [type, values, at] of [
    ["int8", [1, 128, -129], [1, 2]], ["int64?", [null, 2n ** 63n], [1]], ["float32", [1, 1e39], [1]],
    ["decimal(4,2)", ["1.00", "1.005", "100", "x", ""], [1, 2, 3, 4]], ["utf8", ["a", "\ud800", "é"], [1]],
    [dictionary("utf8"), ["\udc00"], [0]], ["list<int8>", [[1], [], [2, 300], [300, 300]], [2, 3]],
    ["struct<a: int8>", [{ a: 1 }, { a: 999 }], [1]], [raw("timestamp(s)"), [0n, 2n ** 63n], [1]],
    ["date", [new Date(0), new Date(NaN)], [1]],
  ]) {
    assert.throws(() => write.column(parse(type), values), (error) => {
      assert.ok(error instanceof write.Unfit, `${name(type)}: ${error}`);
      assert.deepEqual(error.at, at, name(type));
      return true;
    });
  }
});

test("a value of another type is a bug", () => {
  for (const [type, value, said] of [
    ["int32", "1", '"1" is no whole number'], ["int32", 1.5, "1.5 is no whole number"], ["int64", 1, "1 is no bigint"],
    ["utf8", 5, "5 is no string"], ["utf8", null, "value 0 is null, but the type is utf8; `utf8?` may be null"],
    ["bool", 1, "1 is no boolean"], ["decimal(4,2)", 1.5, "1.5 is no text or bigint"], ["float64", "1", '"1" is no number'],
    ["timestamp(ms)", 0, "0 is no Date"], ["timestamp(us)", NOON, "is no bigint"], ["list<utf8>", "abc", '"abc" is no array'],
    ["struct<a: int8>", { b: 1 }, "is no object of a"], ["struct<a: int8>", {}, "value 0 is undefined"],
    ["uuid", "67e5", '"67e5" is no text of a uuid'], [raw("uuid"), Uint8Array.of(1), "16 bytes"], ["binary", "a", "no Uint8Array"],
  ]) {
    assert.throws(() => write.column(parse(type), [value]), (error) => {
      assert.ok(error instanceof TypeError && error.message.includes(said), `${name(type)}: ${error}`);
      return true;
    });
  }
});

test("text is read as a dictionary too, and the code of a null means nothing", () => {
  const values = { offsets: Uint32Array.of(0, 2, 3), data: new TextEncoder().encode("éa") };
  const node = { validity: Uint8Array.of(5), values: { tag: "dictionary", val: { codes: Uint32Array.of(1, 4e9, 0), values } } };
  assert.deepEqual(read.column(parse("utf8?"), [node], 3), ["a", null, "é"]);
});

test("what JavaScript cannot hold is named by row", () => {
  const node = (tag, val) => ({ validity: new Uint8Array(0), values: { tag, val } });
  for (const [type, nodes, rows] of [
    ["date", [node("int32", Int32Array.of(0, 2e9, -2e9))], [1, 2]],
    ["timestamp(s)", [node("int64", BigInt64Array.of(2n ** 62n, 0n, 0n))], [0]],
    ["list<date>", [node("offsets", Uint32Array.of(0, 1, 1, 3)), node("int32", Int32Array.of(0, 0, 2e9))], [2]],
  ]) {
    assert.throws(() => read.column(parse(type), nodes, 3), (error) => {
      assert.deepEqual(error.rows, rows);
      return error instanceof read.Unreadable;
    });
    const readable = [0, 1, 2].map((row) => !rows.includes(row));
    assert.deepEqual(Array.from(read.column(parse(type), nodes, 3, readable), (value) => value !== null), readable);
  }
});

test("a type has one text", () => {
  for (const [text, normal] of [
    ["utf8 ?", "utf8?"], ["decimal( 12 , 2 )", "decimal(12,2)"], ["timestamp(ns)", "timestamp(ns)"],
    ["struct<sku:utf8,quantity:int32?>", "struct<sku: utf8, quantity: int32?>"], ["list<list<uuid>?>", "list<list<uuid>?>"],
  ]) {
    assert.equal(name(text), normal);
  }
});

test("a text that is no type is refused", () => {
  for (const [text, said] of [
    ["string", "there is no type `string`"], ["decimal(12)", '"," was expected, not ")"'], ["decimal(39,0)", "1 to 38 digits"],
    ["decimal(2,3)", "no more of them behind the point"], ["timestamp(m)", '"s" or "ms" or "us" or "ns" was expected'],
    ["utf8??", '"?" was not expected'], ["list<utf8", '">" was expected, not its end'], ["", "it ends too early"],
    ["utf8!", '"!" was not expected'], ["decimal(a,1)", "a number was expected"], [5, "a type is text"],
  ]) {
    assert.throws(() => parse(text), (error) => error instanceof TypeError && error.message.includes(said), String(text));
  }
  assert.throws(() => raw("utf8"), TypeError);
  assert.throws(() => dictionary("int8"), TypeError);
});
