/**
 * Arrays of values as a column's nodes.
 *
 * Two kinds of mistakes are told apart: a value of another type (`TypeError`) is a bug of the plugin; a value that the
 * column cannot hold (`Unfit`), such as a decimal with too many digits, is about its row, which is then rejected.
 */

import { pack } from "./bits.js";
import { toText } from "./logical.js";
import { rowsOfItems } from "./read.js";

const DAY_MS = 86_400_000;
const encoder = new TextEncoder();
const INTS = {
  int8: [Int8Array, 2 ** 7], int16: [Int16Array, 2 ** 15], int32: [Int32Array, 2 ** 31],
};
const INT64_LIMIT = 1n << 63n;

/** Values that the column cannot hold, by their numbers in the array that was written. */
export class Unfit extends Error {
  constructor(at, detail) {
    super(detail);
    this.at = at;
  }
}

/** The nodes of a column with these values. */
export function column(logical, values) {
  const nodes = [];
  nested(logical, values, nodes);
  return nodes;
}

const EMPTY = new Uint8Array(0);

function nested(logical, values, nodes) {
  let validity = EMPTY;
  let present;
  if (!ArrayBuffer.isView(values) && (values.includes(null) || values.includes(undefined))) {
    present = presence(values);
    if (!logical.nullable) {
      const at = present.indexOf(false);
      throw new TypeError(`value ${at} is ${values[at]}, but the type is ${toText(logical)}; \`${toText(logical)}?\` may be null`);
    }
    validity = pack(present);
  }
  if (logical.kind === "list") return lists(logical, values, present, validity, nodes);
  if (logical.kind === "struct") return structs(logical, values, present, validity, nodes);
  if (present) values = filled(values, present, filler(logical));
  nodes.push({ validity, values: FLAT[logical.kind](logical, values) });
}

// Plain loops: a component's engine compiles nothing, and a call costs it more than the turn of a loop.

function presence(values) {
  const present = new Array(values.length);
  for (let row = 0; row < values.length; row++) present[row] = values[row] !== null && values[row] !== undefined;
  return present;
}

function filled(values, present, place) {
  const all = new Array(values.length);
  for (let row = 0; row < all.length; row++) all[row] = present[row] ? values[row] : place;
  return all;
}

function lists(logical, values, present, validity, nodes) {
  const offsets = new Uint32Array(values.length + 1);
  const items = [];
  values.forEach((value, row) => {
    if (!present || present[row]) {
      if (!Array.isArray(value) && !ArrayBuffer.isView(value)) throw wrong(value, "array", logical);
      for (const item of value) items.push(item);
    }
    offsets[row + 1] = items.length;
  });
  nodes.push({ validity, values: { tag: "offsets", val: offsets } });
  try {
    nested(logical.fields[0][1], items, nodes);
  } catch (error) {
    throw error instanceof Unfit ? new Unfit(rowsOfItems(offsets, error.at), error.message) : error;
  }
}

function structs(logical, values, present, validity, nodes) {
  const names = logical.fields.map(([name]) => name);
  values.forEach((value, row) => {
    const isOne = typeof value === "object" && value !== null && Object.keys(value).every((name) => names.includes(name));
    if ((!present || present[row]) && !isOne) throw wrong(value, `object of ${names.join(", ")}`, logical);
  });
  nodes.push({ validity, values: { tag: "none" } });
  for (const [name, field] of logical.fields) {
    nested(field, values.map((value, row) => (present && !present[row] ? filler(field) : value[name])), nodes);
  }
}

/** What stands at, or below, a null means nothing, but has its place. */
function filler(logical) {
  if (logical.kind === "struct") return Object.fromEntries(logical.fields.map(([name, field]) => [name, filler(field)]));
  return logical.raw ? RAW_FILLERS[logical.kind] : logical.unit === "us" || logical.unit === "ns" ? 0n : FILLERS[logical.kind];
}

const shown = (value) => (typeof value === "string" ? JSON.stringify(value) : typeof value === "bigint" ? `${value}n` : String(value));

const wrong = (value, what, logical) => new TypeError(`${shown(value)} is no ${what}, but the type is ${toText(logical)}`);

/** Fails with the numbers of the values that do not fit, if there are any. */
function allFit(logical, values, fits) {
  const at = [];
  for (let index = 0; index < values.length; index++) if (!fits(values[index])) at.push(index);
  if (at.length) throw new Unfit(at, `${shown(values[at[0]])} as ${toText(logical)}`);
}

function bool(logical, values) {
  for (const value of values) if (typeof value !== "boolean") throw wrong(value, "boolean", logical);
  return { tag: "bits", val: pack(values) };
}

function int(logical, values) {
  const [Kind, limit] = INTS[logical.kind];
  if (values instanceof Kind) return { tag: logical.kind, val: values };
  let fits = true;
  for (const value of values) {
    if (!Number.isInteger(value)) throw wrong(value, "whole number", logical);
    if (value < -limit || value >= limit) fits = false;
  }
  if (!fits) allFit(logical, values, (value) => value >= -limit && value < limit);
  return { tag: logical.kind, val: Kind.from(values) };
}

function bigints(logical, values) {
  if (values instanceof BigInt64Array) return { tag: "int64", val: values };
  for (const value of values) if (typeof value !== "bigint") throw wrong(value, "bigint", logical);
  allFit(logical, values, (value) => value >= -INT64_LIMIT && value < INT64_LIMIT);
  return { tag: "int64", val: BigInt64Array.from(values) };
}

function float(logical, values) {
  const Kind = logical.kind === "float32" ? Float32Array : Float64Array;
  if (values instanceof Kind) return { tag: logical.kind, val: values };
  for (const value of values) if (typeof value !== "number") throw wrong(value, "number", logical);
  const val = Kind.from(values);
  if (Kind === Float32Array) allFit(logical, values, (value) => !Number.isFinite(value) || Number.isFinite(Math.fround(value)));
  return { tag: logical.kind, val };
}

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

/** The text buffer of these values; where all are ASCII, the usual case, characters are bytes. */
function varlen(logical, texts, rows) {
  const offsets = new Uint32Array(texts.length + 1);
  let end = 0;
  for (let row = 0; row < texts.length; row++) {
    const text = texts[row];
    if (typeof text !== "string") throw wrong(text, "string", logical);
    offsets[row + 1] = end += text.length;
  }
  const data = encoder.encode(texts.join(""));
  if (data.length === end) return { offsets, data };
  // Half of a character, which JavaScript's text may hold, has no UTF-8.
  allFit(logical, rows, (value) => !LONE_SURROGATE.test(value));
  end = 0;
  for (let row = 0; row < texts.length; row++) offsets[row + 1] = end += encoder.encode(texts[row]).length;
  return { offsets, data };
}

function utf8(logical, values) {
  if (!logical.dictionary) return { tag: "varlen", val: varlen(logical, values, values) };
  const codeOf = new Map();
  const codes = new Uint32Array(values.length);
  for (let row = 0; row < values.length; row++) {
    let code = codeOf.get(values[row]);
    if (code === undefined) codeOf.set(values[row], (code = codeOf.size));
    codes[row] = code;
  }
  return { tag: "dictionary", val: { codes, values: varlen(logical, Array.from(codeOf.keys()), values) } };
}

function binary(logical, values) {
  const offsets = new Uint32Array(values.length + 1);
  values.forEach((value, row) => {
    if (!(value instanceof Uint8Array)) throw wrong(value, "Uint8Array", logical);
    offsets[row + 1] = offsets[row] + value.length;
  });
  const data = new Uint8Array(offsets[values.length]);
  values.forEach((value, row) => data.set(value, offsets[row]));
  return { tag: "varlen", val: { offsets, data } };
}

function decimal(logical, values) {
  const limit = 10n ** BigInt(logical.precision);
  const units = Array.from(values, (value) => toUnits(logical, value));
  const fits = (unit) => unit !== null && unit > -limit && unit < limit;
  if (!units.every(fits)) {
    const at = units.flatMap((unit, index) => (fits(unit) ? [] : [index]));
    throw new Unfit(at, `${shown(values[at[0]])} as ${toText(logical)}`);
  }
  const words = new BigInt64Array(units.length * 2);
  units.forEach((unit, row) => {
    words[2 * row] = BigInt.asIntN(64, unit);
    words[2 * row + 1] = unit >> 64n;
  });
  return { tag: "fixed", val: new Uint8Array(words.buffer) };
}

/** The number of units of 10^-s; null for what has digits behind the column's last, or is no number. */
function toUnits(logical, value) {
  if (typeof value === "bigint") return logical.raw ? value : value * 10n ** BigInt(logical.scale);
  if (logical.raw || typeof value !== "string") throw wrong(value, logical.raw ? "bigint" : "text or bigint", logical);
  const [, sign, whole, fraction = ""] = /^([+-]?)(\d+)(?:\.(\d*))?$/.exec(value) ?? [];
  if (whole === undefined) return null;
  const kept = fraction.replace(/0+$/, "");
  if (kept.length > logical.scale) return null;
  const units = BigInt(whole + kept.padEnd(logical.scale, "0"));
  return sign === "-" ? -units : units;
}

function uuid(logical, values) {
  const bytes = new Uint8Array(values.length * 16);
  values.forEach((value, row) => {
    if (logical.raw) {
      if (!(value instanceof Uint8Array && value.length === 16)) throw wrong(value, "Uint8Array of 16 bytes", logical);
      bytes.set(value, 16 * row);
      return;
    }
    const hex = typeof value === "string" ? value.replaceAll("-", "") : "";
    if (!/^[0-9a-f]{32}$/i.test(hex)) throw wrong(value, "text of a uuid", logical);
    for (let at = 0; at < 16; at++) bytes[16 * row + at] = Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16);
  });
  return { tag: "fixed", val: bytes };
}

function date(logical, values) {
  if (logical.raw) return int({ ...logical, kind: "int32" }, values);
  return { tag: "int32", val: Int32Array.from(milliseconds(logical, values), (ms) => Math.floor(ms / DAY_MS)) };
}

function timestamp(logical, values) {
  if (logical.raw || logical.unit === "us" || logical.unit === "ns") return bigints(logical, values);
  const divisor = logical.unit === "s" ? 1000 : 1;
  const units = Array.from(milliseconds(logical, values), (ms) => BigInt(Math.floor(ms / divisor)));
  return { tag: "int64", val: BigInt64Array.from(units) };
}

function milliseconds(logical, values) {
  for (const value of values) if (!(value instanceof Date)) throw wrong(value, "Date", logical);
  allFit(logical, values, (value) => !Number.isNaN(value.getTime()));
  return values.map((value) => value.getTime());
}

const FLAT = {
  bool, int8: int, int16: int, int32: int, int64: bigints, float32: float, float64: float,
  decimal, utf8, binary, uuid, date, timestamp,
};
const FILLERS = {
  bool: false, int8: 0, int16: 0, int32: 0, int64: 0n, float32: 0, float64: 0, decimal: 0n, utf8: "", binary: EMPTY,
  uuid: "00000000-0000-0000-0000-000000000000", date: new Date(0), timestamp: new Date(0), list: [],
};
const RAW_FILLERS = { decimal: 0n, uuid: new Uint8Array(16), date: 0, timestamp: 0n };
