/**
 * A stage's config: its table of the pipeline file. What it may hold is declared by name, and a key that is not declared
 * is refused: `{ bots: list(text), rate: optional(number, 1) }`.
 *
 * @typedef {object} Kind
 * @property {(value: unknown, path: string) => unknown} read
 * @property {object} schema as JSON Schema
 * @property {boolean} [optional]
 * @property {unknown} [fallback]
 */

/** What is wrong with a config, for the author of the pipeline file: `new ConfigError("is empty", "bots")`. */
export class ConfigError extends Error {
  /**
   * @param {string} message
   * @param {string} [key]
   */
  constructor(message, key) {
    super(key ? `config key \`${key}\`: ${message}` : `config: ${message}`);
  }
}

const simple = (type, what, is) => ({
  read(value, path) {
    if (!is(value)) throw new ConfigError(`${what} was expected, not ${JSON.stringify(value)}`, path);
    return value;
  },
  schema: { type },
});

/** Text. */
export const text = simple("string", "text", (value) => typeof value === "string");
/** A number. */
export const number = simple("number", "a number", (value) => typeof value === "number");
/** A whole number. */
export const integer = simple("integer", "a whole number", Number.isInteger);
/** True or false. */
export const boolean = simple("boolean", "true or false", (value) => typeof value === "boolean");

/** A list of values of one kind. */
export const list = (item) => {
  const kind = kindOf(item);
  return {
    read(value, path) {
      if (!Array.isArray(value)) throw new ConfigError(`a list was expected, not ${JSON.stringify(value)}`, path);
      return value.map((part, index) => kind.read(part, `${path}[${index}]`));
    },
    schema: { type: "array", items: kind.schema },
  };
};

/** A table of any keys, with values of one kind. */
export const table = (item) => {
  const kind = kindOf(item);
  return {
    read(value, path) {
      isTable(value, path);
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, kind.read(part, `${path}.${key}`)]));
    },
    schema: { type: "object", additionalProperties: kind.schema },
  };
};

/** One of these values. */
export const oneOf = (...values) => ({
  read(value, path) {
    if (values.includes(value)) return value;
    throw new ConfigError(`${JSON.stringify(value)} is none of ${values.map((one) => JSON.stringify(one)).join(", ")}`, path);
  },
  schema: { enum: values },
});

/** A key that may be missing, and what stands for it then. */
export const optional = (item, fallback) => ({ ...kindOf(item), optional: true, fallback });

/** An object of kinds is a kind: a table with exactly these keys. */
function kindOf(item) {
  if (typeof item?.read === "function") return item;
  if (typeof item !== "object" || item === null) throw new TypeError(`${String(item)} is no kind of config value`);
  const kinds = Object.entries(item).map(([key, part]) => [key, kindOf(part)]);
  return {
    read(value, path) {
      isTable(value, path);
      const at = (key) => (path ? `${path}.${key}` : key);
      const unknown = Object.keys(value).find((key) => !Object.hasOwn(item, key));
      if (unknown !== undefined) {
        const known = kinds.length ? `known are ${Object.keys(item).join(", ")}` : "this stage takes no config";
        throw new ConfigError(`unknown key: ${known}`, at(unknown));
      }
      return Object.fromEntries(kinds.map(([key, kind]) => {
        if (Object.hasOwn(value, key)) return [key, kind.read(value[key], at(key))];
        if (!kind.optional) throw new ConfigError("is missing", at(key));
        return [key, kind.fallback];
      }));
    },
    schema: {
      type: "object",
      properties: Object.fromEntries(kinds.map(([key, kind]) => [key, kind.schema])),
      required: kinds.filter(([, kind]) => !kind.optional).map(([key]) => key),
      additionalProperties: false,
    },
  };
}

function isTable(value, path) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ConfigError(`a table was expected, not ${JSON.stringify(value)}`, path);
  }
}

/** The config's JSON text, read as declared; `declared` may be missing: no config is taken. */
export function read(declared, json) {
  return kindOf(declared ?? {}).read(JSON.parse(json) ?? {}, "");
}

/** The config's JSON schema as text; undefined when no config is taken. */
export function schema(declared) {
  if (!declared) return undefined;
  return JSON.stringify({ $schema: "https://json-schema.org/draft/2020-12/schema", ...kindOf(declared).schema });
}
