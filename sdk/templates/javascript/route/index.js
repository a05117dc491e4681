/** Orders to two outputs: large ones and all others. */

import { ConfigError, integer, raw, route } from "millstream-sdk";

export default route(
  {
    // The columns that the way of a row depends on, here as whole cents. They are checked against the pipeline.
    reads: { amount: raw("decimal(12,2)") },
    // The pipeline file reads them as `from = "my-plugin.large"`.
    outputs: ["large", "small"],
    // The stage's `config` in the pipeline file; unknown keys are refused. From `large_from` on an order is large.
    config: { large_from: integer },
  },
  ({ large_from }) => {
    if (large_from <= 0) throw new ConfigError("from 0 on every order would be large", "large_from");
    const largeFromCents = BigInt(large_from) * 100n;
    return (batch) => {
      const { amount } = batch.columns;
      amount.forEach((cents, row) => {
        if (cents < 0n) batch.reject(row, "negative_amount", inWhole(cents));
      });
      return amount.map((cents) => (cents >= largeFromCents ? "large" : "small"));
    };
  },
);

/** A negative amount of cents as it stands in the events. */
function inWhole(cents) {
  const digits = String(-cents).padStart(3, "0");
  return `-${digits.slice(0, -2)}.${digits.slice(-2)}`;
}
