//! Gathering rows of a column of any type.

use crate::LogicalType;
use crate::bits::{self, Bits, Validity};
use crate::columns::{Column, Dictionary, Node, Values, Varlen};

/// Stands for a null among the rows of [`Column::take`].
pub const NULL_ROW: u32 = u32::MAX;

impl Column {
    /// The rows of that numbers, in that order; [`NULL_ROW`] gives a null. `logical` is the column's type.
    ///
    /// ```
    /// use millstream_sdk::{Column, LogicalType, columnwise::NULL_ROW};
    ///
    /// let column = Column::of(["a", "b"]).unwrap();
    /// let taken = column.take(&LogicalType::Utf8, &[1, 1, NULL_ROW]);
    /// assert_eq!(taken, Column::of([Some("b"), Some("b"), None]).unwrap());
    /// ```
    ///
    /// # Panics
    /// On a row that the column does not have, and when it has fewer nodes than its type.
    pub fn take(&self, logical: &LogicalType, rows: &[u32]) -> Self {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let left = take_nodes(&self.nodes, logical, rows, &mut nodes);
        assert!(left.is_empty(), "a column has more nodes than {logical}");
        Self { nodes }
    }

    /// A column of a type with nothing but nulls.
    ///
    /// ```
    /// use millstream_sdk::{Column, LogicalType};
    ///
    /// assert_eq!(Column::nulls(&LogicalType::Int8, 2), Column::of([None::<i8>, None]).unwrap());
    /// ```
    pub fn nulls(logical: &LogicalType, rows: usize) -> Self {
        let mut nodes = Vec::new();
        null_nodes(logical, rows, &mut nodes);
        Self { nodes }
    }
}

fn null_nodes(logical: &LogicalType, rows: usize, nodes: &mut Vec<Node>) {
    let values = match logical {
        LogicalType::Bool => Values::Bits(vec![0; rows.div_ceil(8)]),
        LogicalType::Int8 => Values::Int8(vec![0; rows]),
        LogicalType::Int16 => Values::Int16(vec![0; rows]),
        LogicalType::Int32 | LogicalType::Date => Values::Int32(vec![0; rows]),
        LogicalType::Int64 | LogicalType::Timestamp(_) => Values::Int64(vec![0; rows]),
        LogicalType::Float32 => Values::Float32(vec![0.0; rows]),
        LogicalType::Float64 => Values::Float64(vec![0.0; rows]),
        LogicalType::Decimal { .. } | LogicalType::Uuid => Values::Fixed(vec![0; 16 * rows]),
        LogicalType::Utf8 | LogicalType::Binary => {
            Values::Varlen(Varlen { offsets: vec![0; rows + 1], data: Vec::new() })
        }
        LogicalType::List(_) => Values::Offsets(vec![0; rows + 1]),
        LogicalType::Struct(_) => Values::None,
    };
    nodes.push(Node { validity: vec![0; rows.div_ceil(8)], values });
    match logical {
        LogicalType::List(item) => null_nodes(&item.logical, 0, nodes),
        LogicalType::Struct(fields) => fields.iter().for_each(|(_, field)| null_nodes(&field.logical, rows, nodes)),
        _ => {}
    }
}

/// Takes rows of the column that `nodes` begins with; the nodes behind it.
fn take_nodes<'n>(nodes: &'n [Node], logical: &LogicalType, rows: &[u32], taken: &mut Vec<Node>) -> &'n [Node] {
    let [node, children @ ..] = nodes else { panic!("a column has fewer nodes than {logical}") };
    let own = taken.len();
    let validity = take_validity(&node.validity, rows);
    taken.push(Node { validity, values: Values::None });
    match (logical, &node.values) {
        (LogicalType::Struct(fields), _) => {
            fields.iter().fold(children, |nodes, (_, nested)| take_nodes(nodes, &nested.logical, rows, taken))
        }
        (LogicalType::List(item), Values::Offsets(offsets)) => {
            let (offsets, items) = take_items(offsets, rows);
            taken[own].values = Values::Offsets(offsets);
            take_nodes(children, &item.logical, &items, taken)
        }
        (_, values) => {
            taken[own].values = take_values(values, rows);
            children
        }
    }
}

fn take_validity(validity: &[u8], rows: &[u32]) -> Vec<u8> {
    if validity.is_empty() && !rows.contains(&NULL_ROW) {
        return Vec::new();
    }
    let mut taken = Validity::default();
    for &row in rows {
        if row != NULL_ROW && (validity.is_empty() || bits::is_set(validity, row as usize)) {
            taken.push_valid();
        } else {
            taken.push_null();
        }
    }
    taken.finish()
}

/// New offsets of a list, and its items' rows.
fn take_items(offsets: &[u32], rows: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut ends, mut items) = (Vec::with_capacity(rows.len() + 1), Vec::new());
    ends.push(0);
    for &row in rows {
        if row != NULL_ROW {
            items.extend(offsets[row as usize]..offsets[row as usize + 1]);
        }
        ends.push(length(items.len()));
    }
    (ends, items)
}

fn take_values(values: &Values, rows: &[u32]) -> Values {
    match values {
        Values::None => Values::None,
        Values::Bits(bitmap) => {
            let mut taken = Bits::with_capacity(rows.len());
            rows.iter().for_each(|row| taken.push(bits::is_set(bitmap, *row as usize)));
            Values::Bits(taken.finish())
        }
        Values::Int8(values) => Values::Int8(take_numbers(values, rows)),
        Values::Int16(values) => Values::Int16(take_numbers(values, rows)),
        Values::Int32(values) => Values::Int32(take_numbers(values, rows)),
        Values::Int64(values) => Values::Int64(take_numbers(values, rows)),
        Values::Float32(values) => Values::Float32(take_numbers(values, rows)),
        Values::Float64(values) => Values::Float64(take_numbers(values, rows)),
        Values::Offsets(_) => panic!("a list that its type does not know of"),
        Values::Fixed(bytes) => {
            let (values, _) = bytes.as_chunks::<16>();
            Values::Fixed(take_numbers(values, rows).into_flattened())
        }
        Values::Varlen(values) => Values::Varlen(take_varlen(values, rows)),
        Values::Dictionary(Dictionary { codes, values }) => {
            Values::Dictionary(Dictionary { codes: take_numbers(codes, rows), values: values.clone() })
        }
    }
}

fn take_numbers<T: Copy + Default>(values: &[T], rows: &[u32]) -> Vec<T> {
    let take = |row: &u32| if *row == NULL_ROW { T::default() } else { values[*row as usize] };
    rows.iter().map(take).collect()
}

fn take_varlen(values: &Varlen, rows: &[u32]) -> Varlen {
    let mut taken = Varlen { offsets: Vec::with_capacity(rows.len() + 1), data: Vec::new() };
    let bytes = values.data.len().saturating_mul(rows.len()) / values.offsets.len().max(1);
    taken.data.reserve(bytes.min(2 * values.data.len()));
    taken.offsets.push(0);
    for &row in rows {
        if row != NULL_ROW {
            let (start, end) = (values.offsets[row as usize], values.offsets[row as usize + 1]);
            taken.data.extend_from_slice(&values.data[start as usize..end as usize]);
        }
        taken.offsets.push(length(taken.data.len()));
    }
    taken
}

/// # Panics
/// Beyond 2^32, which a batch never comes near: the host bounds it by the memory of the stage.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or_else(|_| panic!("a column of one batch grew beyond 4 GiB"))
}
