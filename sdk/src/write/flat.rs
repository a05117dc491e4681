//! Values of a fixed width: numbers, booleans, decimals, uuids.

use rust_decimal::Decimal;
use uuid::Uuid;

use super::WriteValue;
use crate::bits::Bits;
use crate::column_type::{Days, Digits, Micros, Millis, Nanos, Natural, Seconds};
use crate::columns::{Node, Values};
use crate::read::OutOfRange;

macro_rules! write_numbers {
    ($($rust:ty, $layout:ident, [$($marker:ty),*];)*) => {$($(
        impl WriteValue<$marker> for $rust {
            type Builder = Vec<$rust>;

            fn builder(rows: usize) -> Self::Builder {
                Vec::with_capacity(rows)
            }

            #[inline(always)]
            fn write(self, builder: &mut Self::Builder) {
                builder.push(self);
            }

            fn write_null(builder: &mut Self::Builder) {
                builder.push(Self::default());
            }

            fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
                nodes.push(Values::$layout(builder).into());
            }
        }
    )*)*};
}

write_numbers! {
    i8, Int8, [Natural];
    i16, Int16, [Natural];
    i32, Int32, [Natural, Days];
    i64, Int64, [Natural, Seconds, Millis, Micros, Nanos];
    f32, Float32, [Natural];
    f64, Float64, [Natural];
}

impl WriteValue for bool {
    type Builder = Bits;

    fn builder(rows: usize) -> Self::Builder {
        Bits::with_capacity(rows)
    }

    #[inline(always)]
    fn write(self, builder: &mut Self::Builder) {
        builder.push(self);
    }

    fn write_null(builder: &mut Self::Builder) {
        builder.push(false);
    }

    fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
        nodes.push(Values::Bits(builder.finish()).into());
    }
}

impl WriteValue for [u8; 16] {
    type Builder = Vec<u8>;

    fn builder(rows: usize) -> Self::Builder {
        Vec::with_capacity(16 * rows)
    }

    #[inline(always)]
    fn write(self, builder: &mut Self::Builder) {
        builder.extend_from_slice(&self);
    }

    fn write_null(builder: &mut Self::Builder) {
        builder.extend_from_slice(&[0; 16]);
    }

    fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
        nodes.push(Values::Fixed(builder).into());
    }
}

macro_rules! write_as_sixteen_bytes {
    ([$($parameters:tt)*] $rust:ty, $marker:ty, $bytes:expr, $check:expr) => {
        impl<$($parameters)*> WriteValue<$marker> for $rust {
            type Builder = Vec<u8>;

            fn builder(rows: usize) -> Self::Builder {
                <[u8; 16]>::builder(rows)
            }

            #[inline]
            fn check(&self) -> Result<(), OutOfRange> {
                $check(self)
            }

            #[inline(always)]
            fn write(self, builder: &mut Self::Builder) {
                $bytes(self).write(builder);
            }

            fn write_null(builder: &mut Self::Builder) {
                <[u8; 16]>::write_null(builder);
            }

            fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
                <[u8; 16]>::finish(builder, nodes);
            }
        }
    };
}

write_as_sixteen_bytes!([] Uuid, Natural, Uuid::into_bytes, |_: &Uuid| Ok(()));
write_as_sixteen_bytes!([const P: u8, const S: u8] i128, Digits<P, S>, i128::to_le_bytes, |value: &i128| fits(*value, P, value));
write_as_sixteen_bytes!(
    [const P: u8, const S: u8] Decimal,
    Digits<P, S>,
    |value: Decimal| unscaled(&value, S).unwrap_or_default().to_le_bytes(),
    |value: &Decimal| match unscaled(value, S) {
        Some(unscaled) => fits(unscaled, P, value),
        None => Err(OutOfRange(format!("{value} does not fit {S} digits behind the point: round it first"))),
    }
);

/// The number of units of `10^-scale` in the value; `None` when digits would be lost.
#[inline]
fn unscaled(value: &Decimal, scale: u8) -> Option<i128> {
    let scale = u32::from(scale);
    if value.scale() <= scale {
        return value.mantissa().checked_mul(10_i128.checked_pow(scale - value.scale())?);
    }
    let value = value.normalize();
    (value.scale() <= scale).then(|| unscaled(&value, scale as u8)).flatten()
}

/// Whether an unscaled decimal has at most `precision` digits.
#[inline]
fn fits(unscaled: i128, precision: u8, value: &dyn std::fmt::Display) -> Result<(), OutOfRange> {
    match 10_u128.checked_pow(u32::from(precision)) {
        Some(limit) if unscaled.unsigned_abs() >= limit => {
            Err(OutOfRange(format!("{value} has more than {precision} digits")))
        }
        _ => Ok(()),
    }
}
