/** A stage as the component exports it. `millstream plugin build` writes the few lines that call this. */

import { ConfigError } from "./config.js";
import { toWit } from "./contract.js";
import { host } from "./host.js";
import { Fatal, Retry } from "./outcome.js";
import { configSchema, configure } from "./plugin.js";

/**
 * `millstream:stage/transform` for a stage. What is thrown as a plain value is the error of a result; anything else traps.
 *
 * @param {object} stage
 * @param {{ name: string, version: string }} about
 * @param {{ log: Function, getMany: Function }} imports
 */
export function component(stage, { name, version }, imports) {
  Object.assign(host, imports);
  let configured;
  return {
    describe: () => ({ name, version, configSchema: configSchema(stage) }),

    configure(config, given) {
      try {
        configured = configure(stage, config, given);
      } catch (error) {
        throw error instanceof ConfigError ? error.message : error;
      }
      return toWit(configured.contract);
    },

    process(batch) {
      try {
        return configured.process(batch);
      } catch (error) {
        if (error instanceof Retry) throw { tag: "retry", val: error.message };
        if (error instanceof Fatal) throw { tag: "fatal", val: error.message };
        // What traps is said where the plugin's own lines still are.
        console.error(`${error}\n${error?.stack ?? ""}`);
        throw error;
      }
    },
  };
}
