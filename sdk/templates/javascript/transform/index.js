/** An e-mail address in lower case, and its domain; addresses of our own people leave the stream. */

import { ConfigError, dictionary, text, transform } from "millstream-sdk";

export default transform(
  {
    // The columns that are read. They are checked against the pipeline before anything starts.
    reads: { email: "utf8" },
    // The columns that are written: new ones, or in the place of those of the same name.
    writes: { email: "utf8", domain: dictionary("utf8") },
    // The stage's `config` in the pipeline file; unknown keys are refused. Events of `own_domain` are left out.
    config: { own_domain: text },
  },
  ({ own_domain }) => {
    if (own_domain.includes("@")) throw new ConfigError("a domain has no `@`", "own_domain");
    return (batch) => {
      const email = [], domain = [];
      batch.columns.email.forEach((given, row) => {
        const address = given.trim().toLowerCase();
        const at = address.indexOf("@");
        const behind = address.slice(at + 1);
        if (at < 0) {
          batch.reject(row, "bad_email", given);
        } else if (behind === own_domain) {
          batch.filter(row, "own");
        } else {
          email.push(address);
          domain.push(behind);
        }
      });
      return { email, domain };
    };
  },
);
