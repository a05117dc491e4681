/** The length of a text column, whatever its name: a generic stage. */

import { ConfigError, stage, text } from "millstream-sdk";

export default stage(
  // The stage's `config` in the pipeline file: the column that is measured, and the new one. Unknown keys are refused.
  { config: { column: text, length: text } },
  ({ column, length }, given) => {
    const type = given.columns[column];
    if (!type) throw new ConfigError(`there is no column \`${column}\``, "column");
    if (type.kind !== "utf8") throw new ConfigError(`\`${column}\` is ${type.kind}, no utf8`, "column");
    return {
      // Read as nullable: a column without nulls does as well.
      contract: { reads: { [column]: "utf8?" }, writes: { [length]: "int32?" } },
      process: (batch) => ({
        [length]: batch.columns[column].map((value) => (value === null ? null : [...value].length)),
      }),
    };
  },
);
