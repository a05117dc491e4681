/** The three ways to make a stage, and a configured one. */

import { Batch } from "./batch.js";
import * as configs from "./config.js";
import { contract, fromWit } from "./contract.js";

const STAGES = new WeakSet();

function made(stage) {
  STAGES.add(stage);
  return stage;
}

/**
 * A stage that computes columns.
 *
 * @param {{ reads: object, writes: object, lookups?: object, config?: object }} declared columns by name, with their types
 * @param {(config: any) => (batch: Batch) => Record<string, ArrayLike<unknown>>} create is called once an instance; what it
 *   returns is called with each batch, and returns for each written column an array with a value a row of the batch, or a
 *   value a row that is kept
 */
export function transform({ config, ...declared }, create) {
  const fixed = contract(declared);
  if (fixed.outputs.length) throw new TypeError("a transform has no outputs: use route, or stage");
  return made({ config, create: (config) => ({ contract: fixed, process: create(config) }) });
}

/**
 * A stage that sends rows to outputs.
 *
 * @param {{ reads: object, outputs: string[], lookups?: object, config?: object }} declared
 * @param {(config: any) => (batch: Batch) => (string | string[] | null)[]} create as for `transform`; an output's name, or an
 *   array of them, a row
 */
export function route({ config, ...declared }, create) {
  const fixed = contract(declared);
  if (!fixed.outputs.length) throw new TypeError("a route has outputs");
  if (Object.keys(fixed.writes).length) throw new TypeError("a route writes no columns: use transform, or stage");
  return made({ config, create: (config) => ({ contract: fixed, process: create(config) }) });
}

/**
 * A stage that declares its columns when it is configured. One with both columns and outputs returns `[columns, outputs]`.
 *
 * @param {{ config?: object }} declared
 * @param {(config: any, given: object) => { contract: object, process: (batch: Batch) => any }} create
 */
export function stage({ config }, create) {
  return made({
    config,
    create(config, given) {
      const { contract: declared, process } = create(config, given);
      return { contract: contract(declared), process };
    },
  });
}

/** The config's JSON schema as text. */
export const configSchema = (stage) => configs.schema(stage.config);

/** A stage with its config, for one instance: its contract, and what becomes of a batch. */
export function configure(stage, config, given) {
  if (!STAGES.has(stage)) {
    throw new TypeError("the module's default export is no stage: write `export default transform(..)`, route(..) or stage(..)");
  }
  const known = fromWit(given);
  const { contract, process } = stage.create(configs.read(stage.config, config), known);
  if (typeof process !== "function") throw new TypeError("the stage's second argument is to return a function over a batch");
  return {
    contract,
    process(wit) {
      const batch = new Batch(contract, known, wit);
      const returned = process(batch);
      if (!contract.outputs.length) return batch.patch(contract, returned);
      const [columns, routes] = Object.keys(contract.writes).length ? returned : [{}, returned];
      return batch.patch(contract, columns, routes);
    },
  };
}
