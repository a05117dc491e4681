/**
 * What a stage may call. In a component these are the host's functions, natively the test's; whoever runs the stage sets
 * them.
 *
 * @type {{ log(level: string, message: string): void, getMany(table: string, key: object[], columns: string[]): object }}
 */
export const host = {
  log() {},
  getMany() {
    throw { tag: "unknown-table" };
  },
};

/** Lines in the host's log, with the stage's name; rate-limited: `log.info("..")`. */
export const log = {
  debug: (message) => host.log("debug", String(message)),
  info: (message) => host.log("info", String(message)),
  warn: (message) => host.log("warn", String(message)),
  error: (message) => host.log("error", String(message)),
};
