/** A column's nodes as an array, or a typed array, of values. */

import { unpack } from "./bits.js";
import { toText } from "./logical.js";

const DAY_MS = 86_400_000;
const MAX_DATE_MS = 8_640_000_000_000_000;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Rows whose values JavaScript's own type cannot hold. */
export class Unreadable extends Error {
  constructor(rows, detail) {
    super(detail);
    this.rows = rows;
  }
}

/**
 * The values of a column of `rows` rows; null where it is null, or where `found` says that its row was not.
 *
 * @param {import("./logical.js").Logical} logical
 * @param {object[]} nodes
 * @param {number} rows
 * @param {boolean[]} [found]
 */
export function column(logical, nodes, rows, found) {
  const left = [...nodes].reverse();
  const values = nested(logical, left, rows, found);
  if (left.length) throw new RangeError(`${left.length} nodes too many for ${toText(logical)}`);
  return values;
}

function nested(logical, left, rows, found) {
  const node = left.pop();
  if (!node) throw new RangeError(`nodes are missing for ${toText(logical)}`);
  let present = node.validity.length ? unpack(node.validity, rows) : undefined;
  if (found) present = present ? present.map((here, row) => here && found[row]) : found;
  if (logical.kind === "list") return lists(logical, node, left, present, found !== undefined);
  if (logical.kind === "struct") return structs(logical, left, rows, present);
  const values = FLAT[logical.kind](logical, node.values, rows, present);
  if (values.length !== rows) throw new RangeError(`${values.length} values of ${toText(logical)} for ${rows} rows`);
  return present ? withNulls(values, present) : values;
}

// Plain loops: a component's engine compiles nothing, and a call costs it more than the turn of a loop.
function withNulls(values, present) {
  const all = new Array(values.length);
  for (let row = 0; row < all.length; row++) all[row] = present[row] ? values[row] : null;
  return all;
}

function lists(logical, node, left, present, onlyPresent) {
  const offsets = node.values.val;
  const rows = offsets.length - 1;
  let below;
  if (onlyPresent) {
    below = new Array(offsets[rows]);
    for (let row = 0; row < rows; row++) below.fill(present[row], offsets[row], offsets[row + 1]);
  }
  let items;
  try {
    items = nested(logical.fields[0][1], left, offsets[rows], below);
  } catch (error) {
    throw error instanceof Unreadable ? new Unreadable(rowsOfItems(offsets, error.rows), error.message) : error;
  }
  const values = new Array(rows);
  for (let row = 0; row < rows; row++) {
    values[row] = present && !present[row] ? null : Array.from(items.slice(offsets[row], offsets[row + 1]));
  }
  return values;
}

/** The rows whose lists hold these items. */
export function rowsOfItems(offsets, items) {
  const rows = [];
  let row = 0;
  for (const item of items) {
    while (offsets[row + 1] <= item) row++;
    if (rows.at(-1) !== row) rows.push(row);
  }
  return rows;
}

function structs(logical, left, rows, present) {
  // Below a null struct a field that is not nullable may hold anything.
  const fields = logical.fields.map(([name, field]) => [name, nested(field, left, rows, present)]);
  const values = new Array(rows);
  for (let row = 0; row < rows; row++) {
    values[row] = present && !present[row] ? null : Object.fromEntries(fields.map(([name, field]) => [name, field[row]]));
  }
  return values;
}

const numbers = (_, values) => values.val;

/** The parts of a text buffer. ASCII, the usual case, is decoded once: there characters are bytes. */
function texts({ offsets, data }) {
  const rows = offsets.length - 1;
  const parts = new Array(rows);
  const text = decoder.decode(data);
  if (text.length === data.length) {
    for (let row = 0, start = offsets[0]; row < rows; row++) parts[row] = text.slice(start, (start = offsets[row + 1]));
  } else {
    for (let row = 0; row < rows; row++) parts[row] = decoder.decode(data.subarray(offsets[row], offsets[row + 1]));
  }
  return parts;
}

function utf8(_, values) {
  if (values.tag !== "dictionary") return texts(values.val);
  const distinct = texts(values.val.values);
  // The code of a null row means nothing, and is replaced by the caller.
  const { codes } = values.val;
  const all = new Array(codes.length);
  for (let row = 0; row < all.length; row++) all[row] = distinct[codes[row]];
  return all;
}

function binary(_, values) {
  const { offsets, data } = values.val;
  return Array.from({ length: offsets.length - 1 }, (_, row) => data.slice(offsets[row], offsets[row + 1]));
}

function decimal(logical, values) {
  const words = new BigInt64Array(values.val.slice().buffer);
  const units = Array.from({ length: words.length / 2 }, (_, row) => (words[2 * row + 1] << 64n) | BigInt.asUintN(64, words[2 * row]));
  return logical.raw ? units : units.map((unit) => decimalText(unit, logical.scale));
}

/** A decimal's text: all of its digits behind the point. */
export function decimalText(units, scale) {
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, "0");
  const sign = units < 0n ? "-" : "";
  return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

function uuid(logical, values) {
  const parts = Array.from({ length: values.val.length / 16 }, (_, row) => values.val.slice(16 * row, 16 * row + 16));
  return logical.raw ? parts : parts.map(uuidText);
}

function uuidText(bytes) {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

function date(logical, values, _, present) {
  return logical.raw ? values.val : instants(logical, values.val, (days) => days * DAY_MS, present);
}

/** Microseconds and nanoseconds stay `bigint`: a Date has milliseconds. */
function timestamp(logical, values, _, present) {
  if (logical.raw || logical.unit === "us" || logical.unit === "ns") return values.val;
  const factor = logical.unit === "s" ? 1000 : 1;
  return instants(logical, values.val, (units) => Number(units) * factor, present);
}

function instants(logical, units, toMs, present) {
  const bad = [];
  const dates = Array.from(units, (unit, row) => {
    const ms = toMs(unit);
    if (Math.abs(ms) > MAX_DATE_MS && (!present || present[row])) bad.push(row);
    return new Date(ms);
  });
  if (bad.length) throw new Unreadable(bad, `${units[bad[0]]} as ${toText(logical)} is no Date`);
  return dates;
}

const FLAT = {
  bool: (_, values, rows) => unpack(values.val, rows),
  int8: numbers, int16: numbers, int32: numbers, int64: numbers, float32: numbers, float64: numbers,
  decimal, utf8, binary, uuid, date, timestamp,
};

