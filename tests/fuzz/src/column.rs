//! Columns as a plugin might return them: right but for the faults that the bytes ask for.

use arbitrary::{Result, Unstructured};
use millstream::plugin::fuzzed::columns::{ColumnResult, DictionaryResult, NodeResult, ValuesResult, VarlenResult};
use millstream::schema::Column;
use millstream_sdk::{LogicalType, Nested, TimeUnit};

/// Lists and structs are not nested deeper.
const MAX_DEPTH: u32 = 3;
/// One choice in so many is a fault.
const FAULTS_1_IN: u16 = 96;

/// Chooses, and remembers whether a fault was among the choices.
pub struct Chooser<'a, 'b> {
    /// The bytes that choose.
    pub from: &'a mut Unstructured<'b>,
    /// How many faults were made.
    pub faults: u32,
}

impl Chooser<'_, '_> {
    /// Whether something is to be wrong here.
    pub fn fault(&mut self) -> Result<bool> {
        let fault = self.from.arbitrary::<u16>()? % FAULTS_1_IN == 1;
        self.faults += u32::from(fault);
        Ok(fault)
    }

    /// A length: the right one, or a fault.
    pub fn length(&mut self, right: usize) -> Result<usize> {
        if self.fault()? { Ok(usize::from(self.from.arbitrary::<u8>()?)) } else { Ok(right) }
    }

    fn bytes(&mut self, right: usize) -> Result<Vec<u8>> {
        let length = self.length(right)?;
        self.many(length)
    }

    fn many<T: for<'c> arbitrary::Arbitrary<'c>>(&mut self, length: usize) -> Result<Vec<T>> {
        (0..length).map(|_| self.from.arbitrary()).collect()
    }

    fn values<T: for<'c> arbitrary::Arbitrary<'c>>(&mut self, rows: usize) -> Result<Vec<T>> {
        let length = self.length(rows)?;
        self.many(length)
    }
}

/// A column's type.
pub fn declared(from: &mut Unstructured<'_>, name: String) -> Result<Column> {
    let Nested { logical, nullable } = nested(from, 0)?;
    Ok(Column { name, logical, nullable })
}

fn nested(from: &mut Unstructured<'_>, depth: u32) -> Result<Nested> {
    Ok(Nested { logical: logical(from, depth)?, nullable: from.arbitrary()? })
}

fn logical(from: &mut Unstructured<'_>, depth: u32) -> Result<LogicalType> {
    let kinds = if depth < MAX_DEPTH { 16 } else { 13 };
    Ok(match from.int_in_range(0..=kinds)? {
        0 => LogicalType::Bool,
        1 => LogicalType::Int8,
        2 => LogicalType::Int16,
        3 => LogicalType::Int32,
        4 => LogicalType::Int64,
        5 => LogicalType::Float32,
        6 => LogicalType::Float64,
        7 => {
            let precision = from.int_in_range(1..=38)?;
            LogicalType::Decimal { precision, scale: from.int_in_range(0..=precision)? }
        }
        8 => LogicalType::Binary,
        9 => LogicalType::Uuid,
        10 => LogicalType::Date,
        11 => LogicalType::Timestamp(*from.choose(&[TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Nanosecond])?),
        12 | 13 => LogicalType::Utf8,
        14 | 15 => LogicalType::List(Box::new(nested(from, depth + 1)?)),
        _ => {
            let fields = from.int_in_range(1..=3)?;
            let fields = (0..fields).map(|field| Ok((format!("f{field}"), nested(from, depth + 1)?)));
            LogicalType::Struct(fields.collect::<Result<_>>()?)
        }
    })
}

/// A column of a type with so many rows.
pub fn column(choose: &mut Chooser<'_, '_>, declared: &Column, rows: usize) -> Result<ColumnResult> {
    let mut nodes = Vec::new();
    push(choose, &declared.logical, declared.nullable, rows, &mut nodes)?;
    if choose.fault()? {
        match nodes.len() {
            0 | 1 => nodes.push(NodeResult { validity: vec![], values: ValuesResult::None }),
            _ => drop(nodes.pop()),
        }
    }
    Ok(ColumnResult { nodes })
}

fn push(
    choose: &mut Chooser<'_, '_>,
    logical: &LogicalType,
    nullable: bool,
    rows: usize,
    nodes: &mut Vec<NodeResult>,
) -> Result<()> {
    let validity = match nullable && choose.from.arbitrary()? {
        true => choose.bytes(rows.div_ceil(8))?,
        false if choose.fault()? => choose.bytes(rows.div_ceil(8))?,
        false => vec![],
    };
    let (values, children) = values(choose, logical, rows)?;
    nodes.push(NodeResult { validity, values });
    match logical {
        LogicalType::List(item) => push(choose, &item.logical, item.nullable, children, nodes),
        LogicalType::Struct(fields) => {
            fields.iter().try_for_each(|(_, field)| push(choose, &field.logical, field.nullable, rows, nodes))
        }
        _ => Ok(()),
    }
}

/// The values of a node, and how many rows a list's child has.
fn values(choose: &mut Chooser<'_, '_>, logical: &LogicalType, rows: usize) -> Result<(ValuesResult, usize)> {
    if choose.fault()? {
        return Ok((other_layout(choose)?, rows));
    }
    Ok((
        match logical {
            LogicalType::Bool => ValuesResult::Bits(choose.bytes(rows.div_ceil(8))?),
            LogicalType::Int8 => ValuesResult::Int8(choose.values(rows)?),
            LogicalType::Int16 => ValuesResult::Int16(choose.values(rows)?),
            LogicalType::Int32 | LogicalType::Date => ValuesResult::Int32(choose.values(rows)?),
            LogicalType::Int64 | LogicalType::Timestamp(_) => ValuesResult::Int64(choose.values(rows)?),
            LogicalType::Float32 => ValuesResult::Float32(choose.values(rows)?),
            LogicalType::Float64 => ValuesResult::Float64(choose.values(rows)?),
            LogicalType::Decimal { precision, .. } => ValuesResult::Fixed(decimals(choose, *precision, rows)?),
            LogicalType::Uuid => ValuesResult::Fixed(choose.bytes(16 * rows)?),
            LogicalType::Binary => ValuesResult::Varlen(varlen(choose, rows, false)?),
            LogicalType::Utf8 if choose.from.arbitrary()? => {
                let count = choose.from.int_in_range(0..=4usize)?;
                if count == 0 && rows > 0 {
                    // Right only where all rows are null; whether they are is not known here.
                    choose.faults += 1;
                }
                let codes = (0..rows).map(|_| code(choose, count)).collect::<Result<_>>()?;
                ValuesResult::Dictionary(DictionaryResult { codes, values: varlen(choose, count, true)? })
            }
            LogicalType::Utf8 => ValuesResult::Varlen(varlen(choose, rows, true)?),
            LogicalType::List(_) => {
                let offsets = offsets(choose, rows, 3)?;
                let children = offsets.last().copied().unwrap_or(0) as usize;
                return Ok((ValuesResult::Offsets(offsets), children.min(4_096)));
            }
            LogicalType::Struct(_) => ValuesResult::None,
        },
        rows,
    ))
}

fn other_layout(choose: &mut Chooser<'_, '_>) -> Result<ValuesResult> {
    Ok(match choose.from.int_in_range(0..=4)? {
        0 => ValuesResult::None,
        1 => ValuesResult::Bits(choose.from.arbitrary()?),
        2 => ValuesResult::Int64(choose.from.arbitrary()?),
        3 => ValuesResult::Offsets(choose.from.arbitrary()?),
        _ => ValuesResult::Varlen(VarlenResult { offsets: choose.from.arbitrary()?, data: choose.from.arbitrary()? }),
    })
}

fn decimals(choose: &mut Chooser<'_, '_>, precision: u8, rows: usize) -> Result<Vec<u8>> {
    if choose.fault()? {
        return choose.bytes(16 * rows);
    }
    let limit = 10i128.pow(u32::from(precision));
    let mut bytes = Vec::with_capacity(16 * rows);
    for _ in 0..rows {
        bytes.extend((choose.from.arbitrary::<i128>()? % limit).to_le_bytes());
    }
    Ok(bytes)
}

fn code(choose: &mut Chooser<'_, '_>, count: usize) -> Result<u32> {
    if choose.fault()? {
        return choose.from.arbitrary();
    }
    Ok(u32::from(choose.from.arbitrary::<u8>()?) % count.max(1) as u32)
}

/// Offsets that ascend in steps of up to `most`.
fn offsets(choose: &mut Chooser<'_, '_>, rows: usize, most: u32) -> Result<Vec<u32>> {
    let length = choose.length(rows + 1)?;
    let mut at = 0u32;
    let mut offsets = Vec::with_capacity(length);
    for row in 0..length {
        if choose.fault()? {
            at = choose.from.arbitrary()?;
        } else if row > 0 {
            at = at.saturating_add(choose.from.int_in_range(0..=most)?);
        }
        offsets.push(at);
    }
    Ok(offsets)
}

fn varlen(choose: &mut Chooser<'_, '_>, rows: usize, is_text: bool) -> Result<VarlenResult> {
    let mut data = Vec::new();
    let mut ends = vec![0u32];
    for _ in 0..rows {
        let length = choose.from.int_in_range(0..=5)?;
        if is_text && !choose.fault()? {
            let text: String = choose.many::<char>(length)?.into_iter().collect();
            data.extend_from_slice(text.as_bytes());
        } else {
            data.extend(choose.many::<u8>(length)?);
        }
        ends.push(data.len() as u32);
    }
    if choose.fault()? {
        let most = data.len() as u32;
        ends = offsets(choose, rows, most / 2)?;
    }
    if choose.fault()? {
        data.truncate(data.len() / 2);
    }
    Ok(VarlenResult { offsets: ends, data })
}
