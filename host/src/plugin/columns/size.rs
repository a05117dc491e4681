//! How much of a batch crosses, and how much is written out of what came back.

use arrow::array::{Array, AsArray, DictionaryArray};
use arrow::datatypes::{DataType, Int32Type};

use crate::contract::Call;

/// About how many bytes a call copies into the plugin. Only what rows hold counts, not what their buffers hold besides.
pub fn crossing_bytes(call: &Call) -> usize {
    let columns = call.columns.columns().iter();
    let joined = call.lookups.iter().flat_map(|lookup| &lookup.columns);
    columns.chain(joined).map(|array| bytes(array)).sum()
}

/// How many bytes the text of a dictionary takes when each row's is written out; 0 for what is no dictionary, which
/// takes no more then than it does now. At most: a small dictionary is not counted row by row.
pub fn text_bytes(array: &dyn Array) -> usize {
    const COUNTED_FROM_BYTES: usize = 1024 * 1024;
    let Some(dictionary) = array.as_any_dictionary_opt() else { return 0 };
    let most = dictionary.values().get_buffer_memory_size().saturating_mul(array.len());
    if most < COUNTED_FROM_BYTES {
        return most;
    }
    if let Some(dictionary) = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>()
        && let Some(texts) = dictionary.values().as_string_opt::<i32>()
    {
        let codes = dictionary.keys().iter().flatten();
        return codes.map(|code| texts.value_length(code as usize) as usize).sum();
    }
    (0..array.len()).map(|row| row_bytes(array, row)).sum()
}

/// About how many bytes one row of a column takes, text written out.
pub fn row_bytes(array: &dyn Array, row: usize) -> usize {
    if let Some(dictionary) = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>() {
        return dictionary.key(row).map_or(0, |code| row_bytes(dictionary.values(), code));
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_length(row) as usize,
        DataType::Binary => array.as_binary::<i32>().value_length(row) as usize,
        DataType::Boolean => 1,
        other => other.primitive_width().unwrap_or_else(|| bytes(&*array.slice(row, 1))),
    }
}

fn bytes(array: &dyn Array) -> usize {
    let rows = array.len();
    let validity = if array.null_count() > 0 { rows.div_ceil(8) } else { 0 };
    let spanned = |offsets: &[i32]| match offsets {
        [first, .., last] => (*first as usize, (last - first) as usize),
        _ => (0, 0),
    };
    let values = match array.data_type() {
        DataType::Utf8 => 4 * rows + spanned(array.as_string::<i32>().offsets()).1,
        DataType::Binary => 4 * rows + spanned(array.as_binary::<i32>().offsets()).1,
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, length) = spanned(list.offsets());
            4 * rows + bytes(&list.values().slice(first, length))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(|child| bytes(child)).sum(),
        DataType::Dictionary(key, _) if **key == DataType::Int32 => {
            let values = array.as_dictionary::<Int32Type>().values();
            // With more values than rows it crosses as plain text, of values of average length.
            4 * rows + bytes(values) * rows.min(values.len()) / values.len().max(1)
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or(0),
    };
    values + validity
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, ListArray, RecordBatch, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn a_slice_counts_for_what_it_holds() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1_000); 100]));
        let keys = Int32Array::from(vec![0; 100]);
        let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, text.clone()));
        let list: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>((0..100).map(|_| Some((0..100).map(Some)))));
        for (array, about) in [(text, 100_000), (dictionary, 100_000), (list, 80_000)] {
            let call = |array: ArrayRef| Call {
                columns: RecordBatch::try_from_iter([("a", array)]).unwrap(),
                lookups: vec![],
                now_ms: 0,
            };
            let (all, tenth) = (crossing_bytes(&call(array.clone())), crossing_bytes(&call(array.slice(50, 10))));
            assert!((about..about + 1_000).contains(&all), "{all} of {}", array.data_type());
            assert!((all / 10 - 10..=all / 10 + 10).contains(&tenth), "{tenth} of {}", array.data_type());
        }
    }
}
