/** What a stage declares, and what it is given. */

import { parse, plainText } from "./logical.js";

/**
 * Looks columns up in a dimension, by a column of the batch or, for a composite key, an array of them. The host does it, once
 * a batch, before the call: `lookup("users", "user_id", { country: "utf8?" })`.
 *
 * @param {string} table
 * @param {string | string[]} key
 * @param {Record<string, string | import("./logical.js").Logical>} columns
 */
export const lookup = (table, key, columns) => ({ table, key: [key].flat(), columns: types(columns) });

/** Columns with their types parsed. */
export function types(columns = {}) {
  return Object.fromEntries(Object.entries(columns).map(([name, text]) => {
    try {
      return [name, parse(text)];
    } catch (error) {
      throw new TypeError(`column \`${name}\`: ${error.message}`);
    }
  }));
}

/**
 * A contract with all of its parts, its types parsed.
 *
 * @param {{ reads?: object, writes?: object, lookups?: object, outputs?: string[] }} declared
 */
export function contract({ reads, writes, lookups = {}, outputs = [], ...rest }) {
  const unknown = Object.keys(rest)[0];
  if (unknown) throw new TypeError(`a stage declares reads, writes, lookups, outputs, not \`${unknown}\``);
  for (const [name, declared] of Object.entries(lookups)) {
    if (!declared?.table) throw new TypeError(`lookup \`${name}\`: write lookup("TABLE", "KEY", { .. })`);
  }
  return { reads: types(reads), writes: types(writes), lookups, outputs: [...outputs] };
}

/** The contract as the host reads it. */
export const toWit = ({ reads, writes, lookups, outputs }) => ({
  reads: fields(reads),
  lookups: Object.values(lookups).map(({ table, key, columns }) => ({ table, key, columns: fields(columns) })),
  writes: fields(writes),
  outputs,
});

/** Columns as the interface has them. */
export const fields = (columns) =>
  Object.entries(columns).map(([name, type]) => ({ name, dataType: plainText(type), nullable: type.nullable }));

const typed = (given) => types(Object.fromEntries(given.map((one) => [one.name, one.dataType + (one.nullable ? "?" : "")])));

/**
 * What is upstream of the stage, from which a `stage` types itself: `columns` by name, `tables` by name with their `key` and
 * `columns`, and the `outputs` that others read.
 */
export const fromWit = ({ columns, tables, outputs }) => ({
  columns: typed(columns),
  tables: Object.fromEntries(tables.map(({ name, key, columns }) => [name, { key: typed(key), columns: typed(columns) }])),
  outputs: [...outputs],
});
