/** A batch as a stage sees it, and the patch that comes of it. */

import { unpack } from "./bits.js";
import { host } from "./host.js";
import { Fatal, Retry } from "./outcome.js";
import * as read from "./read.js";
import * as write from "./write.js";

/** The reason of rows whose values their columns, or JavaScript's types, cannot hold. */
const OUT_OF_RANGE = "out_of_range";

/**
 * Some thousand rows, by columns: `batch.columns.url` is an array (or a typed array) with a value a row, null where it is
 * null. `rows` is how many there are, `lookups.user` the answer to a declared lookup: `found`, a boolean a row, and `columns`,
 * null where nothing was found.
 */
export class Batch {
  #given;
  /** Row to [reason, detail]; without a detail it is filtered. */
  #gone = new Map();
  #kept;
  /** The host's numbers of the rows here, when some are left out because JavaScript cannot hold them. */
  #origin;
  #before = new Map();

  constructor(contract, given, { rows, columns, lookups }) {
    this.#given = given;
    this.rows = rows;
    this.columns = this.#read(contract.reads, columns, rows);
    this.lookups = {};
    for (const [index, [name, declared]] of Object.entries(contract.lookups).entries()) {
      const found = unpack(lookups[index].found, rows);
      this.lookups[name] = { found, columns: this.#read(declared.columns, lookups[index].columns, rows, found) };
    }
    if (this.#gone.size) this.#leaveOutUnreadable();
  }

  /** Refuses a row: it is kept aside and can be replayed. `reason` is a short stable word, counted by the host. */
  reject(row, reason, detail = "") {
    this.#leave(row, [reason, String(detail)]);
  }

  /** Leaves a row out on purpose. `reason` is a short stable word, counted by the host. */
  filter(row, reason) {
    this.#leave(row, [reason]);
  }

  /**
   * Names the rows that come out, ascending; a repeat makes two of one. Without it all rows do that are neither rejected nor
   * filtered.
   */
  keep(rows) {
    this.#kept = Array.from(rows);
  }

  /**
   * Looks up keys that the stage computed: an array of values or, for a composite key, of arrays. All in one call of the
   * host; declare a `lookup` where the key is a column, which costs no call.
   */
  getMany(table, keys, columns) {
    const known = this.#given.tables[table];
    if (!known) throw new Fatal(`there is no table \`${table}\`, or it is not granted to this stage`);
    const parts = Object.values(known.key);
    const rows = keys.map((key) => (Array.isArray(key) ? key : [key]));
    if (rows.some((key) => key.length !== parts.length)) throw new Fatal(`table \`${table}\` has a key of ${parts.length} columns`);
    const types = { ...known.key, ...known.columns };
    const unknown = columns.find((name) => !Object.hasOwn(types, name));
    if (unknown !== undefined) throw new Fatal(`table \`${table}\` has no column \`${unknown}\``);
    const key = parts.map((logical, part) => ({ nodes: write.column(logical, rows.map((key) => key[part])) }));
    const answer = ask(table, key, columns);
    const found = unpack(answer.found, keys.length);
    const values = columns.map((name, index) => [name, read.column(types[name], answer.columns[index].nodes, keys.length, found)]);
    return { found, columns: Object.fromEntries(values) };
  }

  #leave(row, how) {
    if (!(Number.isInteger(row) && row >= 0 && row < this.rows)) throw new RangeError(`there is no row ${row} in a batch of ${this.rows}`);
    if (this.#gone.has(row)) throw new Error(`row ${row} is rejected or filtered twice`);
    this.#gone.set(row, how);
  }

  /** The columns by name. Rows whose values JavaScript cannot hold are rejected, and null here. */
  #read(types, columns, rows, found) {
    const values = {};
    for (const [index, [name, logical]] of Object.entries(types).entries()) {
      const { nodes } = columns[index];
      try {
        values[name] = read.column(logical, nodes, rows, found);
      } catch (error) {
        if (!(error instanceof read.Unreadable)) throw error;
        for (const row of error.rows) {
          if (!this.#gone.has(row)) this.#gone.set(row, [OUT_OF_RANGE, `column \`${name}\`: ${error.message}`]);
        }
        const bad = new Set(error.rows);
        const readable = Array.from({ length: rows }, (_, row) => !bad.has(row) && (!found || found[row]));
        values[name] = read.column(logical, nodes, rows, readable);
      }
    }
    return values;
  }

  #leaveOutUnreadable() {
    this.#before = this.#gone;
    this.#gone = new Map();
    this.#origin = Array.from({ length: this.rows }, (_, row) => row).filter((row) => !this.#before.has(row));
    this.rows = this.#origin.length;
    this.columns = take(this.columns, this.#origin);
    for (const found of Object.values(this.lookups)) {
      found.found = this.#origin.map((row) => found.found[row]);
      found.columns = take(found.columns, this.#origin);
    }
  }

  /** The patch for what the stage returned: an array of values for each written column, and of outputs. */
  patch(contract, returned, routed) {
    const written = Object.keys(contract.writes);
    const names = Object.keys(returned ?? {});
    if (names.length !== written.length || !written.every((name) => names.includes(name))) {
      throw new TypeError(`the stage returned ${names.join(", ") || "nothing"}; it writes ${written.join(", ") || "nothing"}`);
    }
    let rows = this.#rows();
    let columns = Object.fromEntries(written.map((name) => [name, this.#aligned(`column \`${name}\``, returned[name], rows)]));
    let routes = contract.outputs.length ? this.#aligned("the array of outputs", routed, rows) : [];
    let { nodes, unfit } = writeAll(contract.writes, columns);
    while (unfit.size) {
      for (const [at, detail] of unfit) if (!this.#gone.has(rows[at])) this.#gone.set(rows[at], [OUT_OF_RANGE, detail]);
      const left = [...rows.keys()].filter((at) => !this.#gone.has(rows[at]));
      columns = take(columns, left);
      if (contract.outputs.length) routes = left.map((at) => routes[at]);
      rows = left.map((at) => rows[at]);
      ({ nodes, unfit } = writeAll(contract.writes, columns));
    }
    let outputs = new Uint16Array(0);
    if (contract.outputs.length) [rows, outputs] = sent(contract, rows, routes);
    return this.#finish(rows, nodes.map((nodes) => ({ nodes })), outputs);
  }

  #rows() {
    if (!this.#kept) {
      const gone = this.#gone;
      const rows = [];
      for (let row = 0; row < this.rows; row++) if (!gone.has(row)) rows.push(row);
      return rows;
    }
    const kept = new Set(this.#kept);
    for (const [index, row] of this.#kept.entries()) {
      if (this.#gone.has(row) || !(row >= 0 && row < this.rows)) {
        throw new Error(`row ${row} is kept, but also rejected or filtered, or is no row of the batch`);
      }
      if (index && row < this.#kept[index - 1]) throw new Error("rows are to be kept in ascending order");
    }
    for (let row = 0; row < this.rows; row++) {
      if (!kept.has(row) && !this.#gone.has(row)) throw new Error(`row ${row} is neither kept nor rejected nor filtered`);
    }
    return this.#kept;
  }

  /** A value for each row that is kept; those of other rows are left out where the array is as long as the batch. */
  #aligned(what, values, rows) {
    if (!Array.isArray(values) && !ArrayBuffer.isView(values)) throw new TypeError(`${what} is no array`);
    if (values.length === rows.length) return values;
    if (!this.#kept && values.length === this.rows) return rows.map((row) => values[row]);
    throw new RangeError(`${what} has ${values.length} values; the batch has ${this.rows} rows, of which ${rows.length} are kept`);
  }

  #finish(rows, columns, outputs) {
    const origin = this.#origin;
    const gone = [...this.#before, ...Array.from(this.#gone, ([row, how]) => [origin ? origin[row] : row, how])];
    const everything = gone.length === 0 && !this.#kept && rows.length === this.rows;
    const rejects = [];
    const filtered = new Map();
    for (const [row, [reason, detail]] of gone.sort(([one], [other]) => one - other)) {
      if (detail !== undefined) rejects.push({ row, reason, detail });
      else if (filtered.has(reason)) filtered.get(reason).push(row);
      else filtered.set(reason, [row]);
    }
    return {
      rows: everything ? undefined : new Uint32Array(origin ? rows.map((row) => origin[row]) : rows),
      columns,
      outputs,
      rejects,
      filtered: Array.from(filtered, ([reason, rows]) => ({ reason, rows: new Uint32Array(rows) })),
    };
  }
}

const take = (columns, rows) =>
  Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, rows.map((row) => values[row])]));

/** `dimensions.get-many`; an error says whether the same call may work later. */
function ask(table, key, columns) {
  try {
    return host.getMany(table, key, columns);
  } catch (error) {
    const { tag, val } = error?.payload ?? error ?? {};
    if (tag === "unavailable") throw new Retry(`table \`${table}\` cannot be read now: ${val}`);
    if (!tag) throw error;
    throw new Fatal(`table \`${table}\`: ${tag}`);
  }
}

/** The nodes of all columns, or what does not fit them: its place, and a detail. */
function writeAll(writes, columns) {
  const nodes = [];
  const unfit = new Map();
  for (const [name, logical] of Object.entries(writes)) {
    try {
      nodes.push(write.column(logical, columns[name]));
    } catch (error) {
      const detail = `column \`${name}\`: ${error.message}`;
      if (!(error instanceof write.Unfit)) throw new TypeError(detail);
      for (const at of error.at) if (!unfit.has(at)) unfit.set(at, detail);
    }
  }
  return { nodes, unfit };
}

/** Each row's outputs as numbers; a row that goes to several comes out several times. */
function sent({ outputs, writes }, rows, routes) {
  const numbers = new Map(outputs.map((name, index) => [name, index]));
  const single = routes.map((name) => numbers.get(name));
  if (single.every((number) => number !== undefined)) return [rows, Uint16Array.from(single)];
  if (Object.keys(writes).length) throw new Error("a stage that writes columns sends each row to one output; `keep` repeats rows");
  const out = [];
  const to = [];
  rows.forEach((row, index) => {
    const names = [routes[index] ?? []].flat();
    if (!names.length) throw new Error(`row ${row} goes nowhere: name an output, or filter or reject it`);
    for (const name of names) {
      if (!numbers.has(name)) throw new Error(`row ${row} goes to \`${name}\`; the stage declares ${outputs.join(", ")}`);
      out.push(row);
      to.push(numbers.get(name));
    }
  });
  return [out, Uint16Array.from(to)];
}
