//! Arrow to the interface. Buffers are shared; only what does not begin where the interface wants it to begin is copied.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, GenericByteArray};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    ArrowPrimitiveType, ByteArrayType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use millstream_sdk::{LogicalType, TimeUnit};

use crate::error::{Error, ErrorKind, Result};
use crate::plugin::bindings::columns as wit;
use crate::schema::{Column, arrow_type, logical_type};

/// A column that is ready to cross: the nodes of its tree in preorder.
#[derive(Debug)]
pub struct Lowered {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    validity: Option<Buffer>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    None,
    Bits(Buffer),
    Int8(ScalarBuffer<i8>),
    Int16(ScalarBuffer<i16>),
    Int32(ScalarBuffer<i32>),
    Int64(ScalarBuffer<i64>),
    Float32(ScalarBuffer<f32>),
    Float64(ScalarBuffer<f64>),
    Fixed(Buffer),
    Varlen(Varlen),
    Dictionary { codes: ScalarBuffer<u32>, values: Varlen },
    Offsets(ScalarBuffer<u32>),
}

#[derive(Debug)]
struct Varlen {
    offsets: ScalarBuffer<u32>,
    data: Buffer,
}

/// Makes an array ready to cross as the column's type.
///
/// # Errors
/// `Internal` when the array is not of that type and cannot be cast to it: the plan has checked types, so this is a fault
/// of the host.
pub fn lower(array: &ArrayRef, column: &Column) -> Result<Lowered> {
    let mut lowered = Lowered { nodes: Vec::with_capacity(1) };
    lowered.push(array, &column.logical).map_err(|actual| {
        let message = format!("column \"{}\" is {actual} in memory, but {} was planned", column.name, column.logical);
        Error::new(ErrorKind::Internal, message)
    })?;
    Ok(lowered)
}

/// A bitmap that begins at its first bit; shared when it lies so already.
pub fn bitmap(bits: &BooleanBuffer) -> Buffer {
    bits.inner().bit_slice(bits.offset(), bits.len())
}

impl Lowered {
    /// The nodes as they are handed to a plugin.
    pub fn nodes(&self) -> Vec<wit::NodeParam<'_>> {
        self.nodes.iter().map(Node::param).collect()
    }

    /// The column as it is returned to a plugin from a call of its own.
    pub fn into_column(self) -> wit::ColumnResult {
        wit::ColumnResult { nodes: self.nodes.into_iter().map(Node::result).collect() }
    }

    /// Appends the nodes of an array; the error is the array's type.
    fn push(&mut self, array: &ArrayRef, logical: &LogicalType) -> Result<(), DataType> {
        match logical {
            LogicalType::List(item) => {
                let Some(list) = array.as_list_opt::<i32>() else { return self.push_cast(array, logical) };
                let (offsets, first, length) = from_zero(list.offsets());
                self.nodes.push(Node { validity: validity(array), values: Values::Offsets(offsets) });
                self.push(&list.values().slice(first, length), &item.logical)
            }
            LogicalType::Struct(fields) => {
                let children = array.as_struct_opt().filter(|children| children.num_columns() == fields.len());
                let Some(children) = children else { return self.push_cast(array, logical) };
                self.nodes.push(Node { validity: validity(array), values: Values::None });
                children
                    .columns()
                    .iter()
                    .zip(fields)
                    .try_for_each(|(child, (_, nested))| self.push(child, &nested.logical))
            }
            LogicalType::Utf8 => match text(array) {
                Some((values, validity)) => {
                    self.nodes.push(Node { validity, values });
                    Ok(())
                }
                None => self.push_cast(array, logical),
            },
            flat => match flat_values(array, flat) {
                Some(values) => {
                    self.nodes.push(Node { validity: validity(array), values });
                    Ok(())
                }
                None => self.push_cast(array, logical),
            },
        }
    }

    /// Appends an array that is of the type by meaning, but lies in memory in another way than the host's own.
    fn push_cast(&mut self, array: &ArrayRef, logical: &LogicalType) -> Result<(), DataType> {
        let (actual, wanted) = (array.data_type(), arrow_type(logical));
        if *actual == wanted || logical_type(actual).as_ref() != Some(logical) {
            return Err(actual.clone());
        }
        let array = cast(array, &wanted).map_err(|_| actual.clone())?;
        self.push(&array, logical)
    }
}

fn validity(array: &ArrayRef) -> Option<Buffer> {
    array.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| bitmap(nulls.inner()))
}

fn flat_values(array: &ArrayRef, logical: &LogicalType) -> Option<Values> {
    fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<ScalarBuffer<T::Native>> {
        array.as_primitive_opt::<T>().map(|array| array.values().clone())
    }
    Some(match logical {
        LogicalType::Bool => Values::Bits(bitmap(array.as_any().downcast_ref::<BooleanArray>()?.values())),
        LogicalType::Int8 => Values::Int8(primitive::<Int8Type>(array)?),
        LogicalType::Int16 => Values::Int16(primitive::<Int16Type>(array)?),
        LogicalType::Int32 => Values::Int32(primitive::<Int32Type>(array)?),
        LogicalType::Int64 => Values::Int64(primitive::<Int64Type>(array)?),
        LogicalType::Float32 => Values::Float32(primitive::<Float32Type>(array)?),
        LogicalType::Float64 => Values::Float64(primitive::<Float64Type>(array)?),
        LogicalType::Date => Values::Int32(primitive::<Date32Type>(array)?),
        LogicalType::Timestamp(TimeUnit::Second) => Values::Int64(primitive::<TimestampSecondType>(array)?),
        LogicalType::Timestamp(TimeUnit::Millisecond) => Values::Int64(primitive::<TimestampMillisecondType>(array)?),
        LogicalType::Timestamp(TimeUnit::Microsecond) => Values::Int64(primitive::<TimestampMicrosecondType>(array)?),
        LogicalType::Timestamp(TimeUnit::Nanosecond) => Values::Int64(primitive::<TimestampNanosecondType>(array)?),
        LogicalType::Decimal { precision, scale } => match array.data_type() {
            DataType::Decimal128(p, s) if p == precision && i16::from(*s) == i16::from(*scale) => {
                Values::Fixed(little_endian(primitive::<Decimal128Type>(array)?))
            }
            _ => return None,
        },
        LogicalType::Uuid => match array.data_type() {
            DataType::FixedSizeBinary(16) => Values::Fixed(array.as_fixed_size_binary().values().clone()),
            _ => return None,
        },
        LogicalType::Binary => Values::Varlen(varlen(array.as_binary_opt::<i32>()?)),
        LogicalType::Utf8 | LogicalType::List(_) | LogicalType::Struct(_) => return None,
    })
}

/// The interface's decimals are little endian; Arrow's are as the machine has them.
fn little_endian(values: ScalarBuffer<i128>) -> Buffer {
    if cfg!(target_endian = "little") {
        values.into_inner()
    } else {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

/// Text, as a dictionary where it is one and crossing as one is worth it: a dictionary with more values than there are
/// rows would copy text that no row has. Nothing of the pair is returned for what is no text.
fn text(array: &ArrayRef) -> Option<(Values, Option<Buffer>)> {
    if let Some(plain) = array.as_string_opt::<i32>() {
        return Some((Values::Varlen(varlen(plain)), validity(array)));
    }
    let dictionary = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>()?;
    let values = dictionary.values().as_string_opt::<i32>()?;
    let codes = ScalarBuffer::<u32>::from(dictionary.keys().values().inner().clone());
    let in_range = codes.iter().max().is_none_or(|most| (*most as usize) < values.len());
    if values.len() <= array.len() && values.null_count() == 0 && in_range {
        return Some((Values::Dictionary { codes, values: varlen(values) }, validity(array)));
    }
    let plain = take(dictionary.values(), dictionary.keys(), None).ok()?;
    Some((Values::Varlen(varlen(plain.as_string_opt::<i32>()?)), validity(&plain)))
}

fn varlen<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> Varlen {
    let (offsets, first, length) = from_zero(array.offsets());
    Varlen { offsets, data: array.values().slice_with_length(first, length) }
}

/// Offsets that begin at 0 (shared when they do already), with the range of the values that they span.
fn from_zero(offsets: &OffsetBuffer<i32>) -> (ScalarBuffer<u32>, usize, usize) {
    let first = offsets.first();
    let last = offsets.last();
    let rebased = if first == 0 {
        ScalarBuffer::from(offsets.inner().inner().clone())
    } else {
        offsets.iter().map(|offset| (offset - first) as u32).collect()
    };
    (rebased, first as usize, (last - first) as usize)
}

impl Node {
    fn param(&self) -> wit::NodeParam<'_> {
        wit::NodeParam { validity: self.validity.as_deref().unwrap_or(&[]), values: self.values.param() }
    }

    fn result(self) -> wit::NodeResult {
        let validity = self.validity.map(|bits| bits.to_vec()).unwrap_or_default();
        wit::NodeResult { validity, values: self.values.result() }
    }
}

impl Values {
    fn param(&self) -> wit::ValuesParam<'_> {
        match self {
            Self::None => wit::ValuesParam::None,
            Self::Bits(bits) => wit::ValuesParam::Bits(bits),
            Self::Int8(values) => wit::ValuesParam::Int8(values),
            Self::Int16(values) => wit::ValuesParam::Int16(values),
            Self::Int32(values) => wit::ValuesParam::Int32(values),
            Self::Int64(values) => wit::ValuesParam::Int64(values),
            Self::Float32(values) => wit::ValuesParam::Float32(values),
            Self::Float64(values) => wit::ValuesParam::Float64(values),
            Self::Fixed(bytes) => wit::ValuesParam::Fixed(bytes),
            Self::Varlen(values) => wit::ValuesParam::Varlen(values.param()),
            Self::Dictionary { codes, values } => {
                wit::ValuesParam::Dictionary(wit::DictionaryParam { codes, values: values.param() })
            }
            Self::Offsets(offsets) => wit::ValuesParam::Offsets(offsets),
        }
    }

    fn result(self) -> wit::ValuesResult {
        match self {
            Self::None => wit::ValuesResult::None,
            Self::Bits(bits) => wit::ValuesResult::Bits(bits.to_vec()),
            Self::Int8(values) => wit::ValuesResult::Int8(values.to_vec()),
            Self::Int16(values) => wit::ValuesResult::Int16(values.to_vec()),
            Self::Int32(values) => wit::ValuesResult::Int32(values.to_vec()),
            Self::Int64(values) => wit::ValuesResult::Int64(values.to_vec()),
            Self::Float32(values) => wit::ValuesResult::Float32(values.to_vec()),
            Self::Float64(values) => wit::ValuesResult::Float64(values.to_vec()),
            Self::Fixed(bytes) => wit::ValuesResult::Fixed(bytes.to_vec()),
            Self::Varlen(values) => wit::ValuesResult::Varlen(values.result()),
            Self::Dictionary { codes, values } => {
                wit::ValuesResult::Dictionary(wit::DictionaryResult { codes: codes.to_vec(), values: values.result() })
            }
            Self::Offsets(offsets) => wit::ValuesResult::Offsets(offsets.to_vec()),
        }
    }
}

impl Varlen {
    fn param(&self) -> wit::VarlenParam<'_> {
        wit::VarlenParam { offsets: &self.offsets, data: &self.data }
    }

    fn result(self) -> wit::VarlenResult {
        wit::VarlenResult { offsets: self.offsets.to_vec(), data: self.data.to_vec() }
    }
}
