/**
 * Stages of Millstream pipelines: a function over a batch of columns, as a module's default export.
 *
 *     import { transform } from "millstream-sdk";
 *
 *     export default transform(
 *       { reads: { name: "utf8" }, writes: { length: "int32" } },
 *       () => (batch) => ({ length: batch.columns.name.map((name) => name.length) }),
 *     );
 *
 * `transform` computes columns, `route` names outputs, `stage` does both and declares its columns when it is configured.
 * docs/plugins-javascript.md is the reference. `millstream plugin build FOLDER` makes the module a component,
 * `millstream-sdk/testing` runs it natively.
 */

export { boolean, ConfigError, integer, list, number, oneOf, optional, table, text } from "./config.js";
export { lookup } from "./contract.js";
export { log } from "./host.js";
export { dictionary, raw } from "./logical.js";
export { Fatal, Retry } from "./outcome.js";
export { route, stage, transform } from "./plugin.js";
