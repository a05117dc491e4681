/**
 * Logical types: their text form, and what a plugin wants of a column beside its type.
 *
 * @typedef {object} Logical a logical type of docs/types.md, and how its values stand in JavaScript
 * @property {string} kind
 * @property {boolean} nullable
 * @property {number} [precision] a decimal's digits
 * @property {number} [scale] those behind the point
 * @property {string} [unit] a timestamp's
 * @property {[string, Logical][]} [fields] a struct's; a list has one, `item`
 * @property {boolean} [raw]
 * @property {boolean} [dictionary]
 */

const FLAT = new Set([
  "bool", "int8", "int16", "int32", "int64", "float32", "float64", "utf8", "binary", "uuid", "date",
]);
const UNITS = ["s", "ms", "us", "ns"];

/**
 * The column as whole numbers or bytes: a decimal's units and a timestamp's as `bigint`, a date's days as a number, the 16
 * bytes of a uuid.
 *
 * @param {string | Logical} type
 * @returns {Logical}
 */
export function raw(type) {
  const logical = parse(type);
  if (!["decimal", "timestamp", "date", "uuid"].includes(logical.kind)) {
    throw new TypeError(`${toText(logical)} has no raw form: decimal, timestamp, date and uuid have`);
  }
  return { ...logical, raw: true };
}

/**
 * A written text column whose values repeat: distinct values cross, and stay a dictionary up to the Parquet page.
 *
 * @param {string | Logical} type
 * @returns {Logical}
 */
export function dictionary(type) {
  const logical = parse(type);
  if (logical.kind !== "utf8") throw new TypeError(`${toText(logical)} cannot be a dictionary: utf8 can`);
  return { ...logical, dictionary: true };
}

/** The type's text, without its own `?`. */
export function plainText(logical) {
  switch (logical.kind) {
    case "decimal":
      return `decimal(${logical.precision},${logical.scale})`;
    case "timestamp":
      return `timestamp(${logical.unit})`;
    case "list":
      return `list<${toText(logical.fields[0][1])}>`;
    case "struct":
      return `struct<${logical.fields.map(([name, field]) => `${name}: ${toText(field)}`).join(", ")}>`;
    default:
      return logical.kind;
  }
}

/** The type's text. */
export const toText = (logical) => plainText(logical) + (logical.nullable ? "?" : "");

/**
 * `"decimal(12,2)?"` as a type; a type stays what it is.
 *
 * @param {string | Logical} text
 * @returns {Logical}
 */
export function parse(text) {
  if (typeof text === "object" && text?.kind) return text;
  if (typeof text !== "string") throw new TypeError(`a type is text such as "utf8?", not ${String(text)}`);
  const tokens = [];
  const token = /\s*([A-Za-z_][\w-]*|\d+|[(),<>:?])/y;
  const trimmed = text.trimEnd();
  while (token.lastIndex < trimmed.length) {
    const at = token.lastIndex;
    const found = token.exec(trimmed);
    if (!found) throw new TypeError(`\`${text}\` is no type: "${trimmed.slice(at).trim()}" was not expected`);
    tokens.push(found[1]);
  }
  const reader = new Reader(text, tokens);
  const logical = reader.nested();
  if (tokens.length) throw new TypeError(`\`${text}\` is no type: "${tokens[0]}" was not expected`);
  return logical;
}

class Reader {
  constructor(text, tokens) {
    this.text = text;
    this.tokens = tokens;
  }

  next(...expected) {
    const found = this.tokens.shift();
    if (found === undefined || (expected.length && !expected.includes(found))) {
      const wanted = expected.map((one) => `"${one}"`).join(" or ");
      const instead = found === undefined ? "its end" : `"${found}"`;
      const what = expected.length ? `${wanted} was expected, not ${instead}` : "it ends too early";
      throw new TypeError(`\`${this.text}\` is no type: ${what}`);
    }
    return found;
  }

  number() {
    const found = this.next();
    if (!/^\d+$/.test(found)) throw new TypeError(`\`${this.text}\` is no type: a number was expected, not "${found}"`);
    return Number(found);
  }

  nested() {
    const logical = this.plain();
    if (this.tokens[0] === "?") {
      this.next();
      return { ...logical, nullable: true };
    }
    return logical;
  }

  plain() {
    const kind = this.next();
    if (FLAT.has(kind)) return { kind, nullable: false };
    if (kind === "decimal") return this.decimal();
    if (kind === "timestamp") {
      this.next("(");
      const unit = this.next(...UNITS);
      this.next(")");
      return { kind, unit, nullable: false };
    }
    if (kind === "list") {
      this.next("<");
      const item = this.nested();
      this.next(">");
      return { kind, fields: [["item", item]], nullable: false };
    }
    if (kind === "struct") {
      this.next("<");
      const fields = [this.field()];
      while (this.next(",", ">") === ",") fields.push(this.field());
      return { kind, fields, nullable: false };
    }
    throw new TypeError(`\`${this.text}\`: there is no type \`${kind}\``);
  }

  decimal() {
    this.next("(");
    const precision = this.number();
    this.next(",");
    const scale = this.number();
    this.next(")");
    if (precision < 1 || precision > 38 || scale > precision) {
      throw new TypeError(`\`${this.text}\`: a decimal has 1 to 38 digits, and no more of them behind the point`);
    }
    return { kind: "decimal", precision, scale, nullable: false };
  }

  field() {
    const name = this.next();
    this.next(":");
    return [name, this.nested()];
  }
}
