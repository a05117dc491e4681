/**
 * Unit tests of plugins, natively and without WASM: rows in, results out. They take the way that real batches take: config as
 * JSON, columns as the contract declares them, a patch back, checked as the host checks it.
 *
 *     const outcome = configure(clean, { bots: ["bot"] }).process([{ url: "https://a.example/" }]);
 *     assert.deepEqual(outcome.rows, [{ host: "a.example" }]);
 *
 * A row is an object with the values that the stage sees; a key that is missing is null.
 */

import { pack } from "./bits.js";
import { fields, types } from "./contract.js";
import { host } from "./host.js";
import { plainText, toText } from "./logical.js";
import { configure as configureStage } from "./plugin.js";
import * as read from "./read.js";
import * as write from "./write.js";

/** A dimension of a test: its key and its other columns with their types, and its rows. */
export class Table {
  #rows;

  constructor(name, key, columns, rows) {
    this.name = name;
    this.key = types(key);
    this.columns = types(columns);
    this.#rows = new Map(rows.map((row) => [keyText(Object.keys(key).map((part) => row[part])), row]));
  }

  /** As the host describes it. */
  toWit() {
    return { name: this.name, key: fields(this.key), columns: fields(this.columns) };
  }

  /** The rows with these keys, as the host answers a lookup. */
  answer(keys, columns) {
    const rows = keys.map((key) => this.#rows.get(keyText(key)));
    return {
      found: pack(rows.map((row) => row !== undefined)),
      columns: Object.entries(columns).map(([name, type]) => {
        const missing = !type.nullable && rows.some((row) => row && (row[name] ?? null) === null);
        if (missing) throw new Error(`table \`${this.name}\`: column \`${name}\` is ${toText(type)}, but a row has none`);
        return column(`${this.name}.${name}`, { ...type, nullable: true }, rows.map((row) => row?.[name]));
      }),
    };
  }
}

const keyText = (parts) => parts.map((part) => `${typeof part}:${part instanceof Date ? part.getTime() : String(part)}`).join("|");

/**
 * Configures a stage; fails with the ConfigError that the pipeline's author would see.
 *
 * @param {object} stage a plugin's default export
 * @param {object} [config]
 * @param {{ columns?: object, tables?: Table[], outputs?: string[] }} [given] the tables that it looks up in; columns and
 *   outputs are what is upstream and downstream, for a `stage`
 */
export function configure(stage, config = {}, { columns = {}, tables = [], outputs = [] } = {}) {
  const given = { columns: fields(types(columns)), tables: tables.map((table) => table.toWit()), outputs };
  const configured = configureStage(stage, JSON.stringify(config), given);
  const byName = new Map(tables.map((table) => [table.name, table]));
  for (const lookup of Object.values(configured.contract.lookups)) checkLookup(lookup, byName);
  return new Stage(configured, byName);
}

function checkLookup({ table: name, key, columns }, tables) {
  const table = tables.get(name);
  if (!table) throw new Error(`the stage looks up in table \`${name}\`, which the test does not set up`);
  const parts = Object.keys(table.key).length;
  if (key.length !== parts) throw new Error(`table \`${name}\` has a key of ${parts} columns, not ${key.length}`);
  for (const [column, asked] of Object.entries(columns)) {
    const there = { ...table.key, ...table.columns }[column];
    if (!there) throw new Error(`table \`${name}\` has no column \`${column}\``);
    if (plainText(there) !== plainText(asked) || (there.nullable && !asked.nullable)) {
      throw new Error(`column \`${column}\` of table \`${name}\` is ${toText(there)}, read as ${toText(asked)}`);
    }
  }
}

class Stage {
  #configured;
  #tables;

  constructor(configured, tables) {
    this.#configured = configured;
    this.#tables = tables;
    this.contract = configured.contract;
  }

  /** Runs a batch of rows; fails when they do not fit, when the stage fails, or when its patch is broken. */
  process(rows) {
    const { reads, lookups } = this.contract;
    const known = new Set([...Object.keys(reads), ...Object.values(lookups).flatMap(({ key }) => key)]);
    for (const [index, row] of rows.entries()) {
      const unknown = Object.keys(row).find((name) => !known.has(name));
      if (unknown !== undefined) throw new Error(`row ${index} has \`${unknown}\`, which the stage does not read`);
    }
    const batch = {
      rows: rows.length,
      columns: Object.entries(reads).map(([name, type]) => column(name, type, rows.map((row) => row[name]))),
      lookups: Object.values(lookups).map(({ table, key, columns }) =>
        this.#tables.get(table).answer(rows.map((row) => key.map((part) => row[part])), columns)),
    };
    const lines = [];
    const before = { ...host };
    Object.assign(host, { log: (level, message) => lines.push([level, message]), getMany: (...asked) => this.#getMany(...asked) });
    try {
      return new Outcome(rows.length, this.contract, this.#configured.process(batch), lines);
    } finally {
      Object.assign(host, before);
    }
  }

  #getMany(name, key, columns) {
    const table = this.#tables.get(name);
    if (!table) throw { tag: "unknown-table" };
    const rows = rowsOf(key[0].nodes[0]);
    const parts = Object.values(table.key).map((type, part) => read.column(type, key[part].nodes, rows));
    const known = { ...table.key, ...table.columns };
    const keys = Array.from({ length: rows }, (_, row) => parts.map((part) => part[row]));
    return table.answer(keys, Object.fromEntries(columns.map((column) => [column, known[column]])));
  }
}

/**
 * What became of a batch: `rows` that came out, `kept` [input row, row], `routed` [input row, output], `rejects`
 * [row, reason, detail], `filtered` [row, reason], `log` [level, message].
 */
export class Outcome {
  constructor(rows, { writes, outputs }, patch, lines) {
    const kept = patch.rows ? Array.from(patch.rows) : Array.from({ length: rows }, (_, row) => row);
    check(rows, { writes, outputs }, patch, kept);
    const values = Object.entries(writes).map(([name, type], index) => [name, read.column(type, patch.columns[index].nodes, kept.length)]);
    this.rows = kept.map((_, at) => Object.fromEntries(values.map(([name, column]) => [name, column[at]])));
    this.kept = kept.map((row, at) => [row, this.rows[at]]);
    this.routed = Array.from(patch.outputs, (number, at) => [kept[at], outputs[number]]);
    this.rejects = patch.rejects.map(({ row, reason, detail }) => [row, reason, detail]);
    this.filtered = patch.filtered.flatMap(({ reason, rows }) => Array.from(rows, (row) => [row, reason])).sort(([one], [other]) => one - other);
    this.log = lines;
  }
}

function check(rows, { writes, outputs }, patch, kept) {
  const places = [kept, patch.rejects.map(({ row }) => row), patch.filtered.flatMap(({ rows }) => Array.from(rows))];
  const distinct = places.map((place) => new Set(place));
  const all = new Set(distinct.flatMap((place) => [...place]));
  const inside = [...all].every((row) => row < rows);
  if (!inside || all.size !== rows || distinct.reduce((sum, place) => sum + place.size, 0) !== rows) {
    throw new Error(`the patch is broken: not every row is in one of kept, rejected, filtered: ${JSON.stringify(places)}`);
  }
  if (kept.some((row, at) => at && row < kept[at - 1]) || patch.columns.length !== Object.keys(writes).length) {
    throw new Error("the patch is broken: rows out of order, or columns missing");
  }
  if (patch.outputs.length !== (outputs.length ? kept.length : 0)) {
    throw new Error(`the patch is broken: ${patch.outputs.length} outputs for ${kept.length} rows`);
  }
}

function column(name, type, values) {
  try {
    return { nodes: write.column(type, values) };
  } catch (error) {
    throw new Error(`column \`${name}\` of the test's rows: ${error.message}`);
  }
}

function rowsOf({ values: { tag, val } }) {
  if (tag === "varlen") return val.offsets.length - 1;
  if (tag === "dictionary") return val.codes.length;
  return tag === "fixed" ? val.length / 16 : val.length;
}
