/** Bitmaps, least significant bit first. */

/** Whether a row's bit is set. */
export const isSet = (bitmap, row) => ((bitmap[row >> 3] >> (row & 7)) & 1) === 1;

/** A boolean a row. */
export function unpack(bitmap, rows) {
  if (bitmap.length * 8 < rows) throw new RangeError(`a bitmap of ${bitmap.length} bytes for ${rows} rows`);
  const bits = new Array(rows);
  for (let row = 0; row < rows; row++) bits[row] = isSet(bitmap, row);
  return bits;
}

/** The bitmap of an array of truth values. */
export function pack(flags) {
  const bitmap = new Uint8Array((flags.length + 7) >> 3);
  for (let row = 0; row < flags.length; row++) if (flags[row]) bitmap[row >> 3] |= 1 << (row & 7);
  return bitmap;
}
