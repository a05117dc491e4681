//! Values of a fixed width: numbers, booleans, decimals, uuids.

use rust_decimal::Decimal;
use uuid::Uuid;

use super::{Nodes, OutOfRange, ReadValue, WrongShape, check_rows, wrong_layout};
use crate::bits;
use crate::column_type::{Days, Digits, Micros, Millis, Nanos, Natural, Seconds};
use crate::columns::Values;

macro_rules! read_numbers {
    ($($rust:ty, $layout:ident, $name:literal, [$($marker:ty),*];)*) => {$($(
        impl<'a> ReadValue<'a, $marker> for $rust {
            type Reader = &'a [$rust];

            fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
                let rows = nodes.rows();
                match nodes.take()? {
                    crate::columns::Node { values: Values::$layout(values), .. } => {
                        check_rows(values.len(), rows)?;
                        Ok(values)
                    }
                    node => wrong_layout(node, $name),
                }
            }

            #[inline(always)]
            fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
                Ok(reader[row])
            }
        }
    )*)*};
}

read_numbers! {
    i8, Int8, "int8", [Natural];
    i16, Int16, "int16", [Natural];
    i32, Int32, "int32", [Natural, Days];
    i64, Int64, "int64", [Natural, Seconds, Millis, Micros, Nanos];
    f32, Float32, "float32", [Natural];
    f64, Float64, "float64", [Natural];
}

impl<'a> ReadValue<'a> for bool {
    type Reader = &'a [u8];

    fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
        let rows = nodes.rows();
        let node = nodes.take()?;
        let Values::Bits(bitmap) = &node.values else { return wrong_layout(node, "bits") };
        if bitmap.len() < rows.div_ceil(8) {
            return Err(WrongShape(format!("its bitmap has {} bytes for {rows} rows", bitmap.len())));
        }
        Ok(bitmap)
    }

    #[inline(always)]
    fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
        Ok(bits::is_set(reader, row))
    }
}

/// The values of a `fixed` node, 16 bytes each.
fn sixteen<'a>(nodes: &mut Nodes<'a>) -> Result<&'a [[u8; 16]], WrongShape> {
    let rows = nodes.rows();
    let node = nodes.take()?;
    let Values::Fixed(bytes) = &node.values else { return wrong_layout(node, "fixed") };
    let (values, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(WrongShape(format!("its {} bytes are no multiple of 16", bytes.len())));
    }
    check_rows(values.len(), rows)?;
    Ok(values)
}

impl<'a> ReadValue<'a> for [u8; 16] {
    type Reader = &'a [[u8; 16]];

    fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
        sixteen(nodes)
    }

    #[inline(always)]
    fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
        Ok(reader[row])
    }
}

impl<'a> ReadValue<'a> for Uuid {
    type Reader = &'a [[u8; 16]];

    fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
        sixteen(nodes)
    }

    #[inline(always)]
    fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
        Ok(Self::from_bytes(reader[row]))
    }
}

impl<'a, const P: u8, const S: u8> ReadValue<'a, Digits<P, S>> for i128 {
    type Reader = &'a [[u8; 16]];

    fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
        sixteen(nodes)
    }

    #[inline(always)]
    fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
        Ok(Self::from_le_bytes(reader[row]))
    }
}

impl<'a, const P: u8, const S: u8> ReadValue<'a, Digits<P, S>> for Decimal {
    type Reader = &'a [[u8; 16]];

    fn reader(nodes: &mut Nodes<'a>) -> Result<Self::Reader, WrongShape> {
        const {
            assert!(S <= 28, "a Decimal has at most 28 digits behind the point: read the column as i128");
        }
        sixteen(nodes)
    }

    #[inline]
    fn read(reader: &Self::Reader, row: usize) -> Result<Self, OutOfRange> {
        let unscaled = i128::from_le_bytes(reader[row]);
        Self::try_from_i128_with_scale(unscaled, u32::from(S))
            .map_err(|_| OutOfRange(format!("{unscaled} is more than the 96 bits of a Decimal hold")))
    }
}
