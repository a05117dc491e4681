//! One writer: when files close, what is in them, and what damage does.

use super::*;

#[test]
fn files_close_when_they_are_full_or_old_and_say_so_in_the_footer() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut writer = writer(0, 1, 5, 8 << 10, &disk);
    writer.set_footer(vec![("millstream.plan".to_owned(), "7".to_owned())]);
    writer.write(&rows(1, 300, 1), 0).unwrap();
    let first = writer.prepare(59_999, Closing::Due).unwrap();
    assert!(
        first.full.is_empty() && first.tails.is_empty() && first.open.len() == 1,
        "neither full nor old: {first:?}"
    );
    writer.write(&rows(301, 6_000, 1), 59_999).unwrap();
    let second = writer.prepare(59_999, Closing::Due).unwrap();
    assert_eq!((second.full.len(), second.tails.len()), (1, 0), "full: {second:?}");
    assert!(second.full[0].bytes >= 7 << 10 && second.full[0].bytes < 32 << 10, "{:?}", second.full);
    assert_eq!(second.full[0].origin.epochs, (5, 6));
    let third = writer.prepare(130_000, Closing::Due).unwrap();
    assert_eq!((third.tails.len(), third.open.len()), (second.open.len(), 0), "old: {third:?}");

    let content = Bytes::from(memory.read(&second.full[0].staged).unwrap());
    assert_eq!((content.len() as u64, crc32fast::hash(&content)), (second.full[0].bytes, second.full[0].crc32));
    let reader = SerializedFileReader::new(content).unwrap();
    let metadata = reader.metadata().file_metadata();
    assert_eq!(metadata.num_rows() as u64, second.full[0].rows);
    let entries = metadata.key_value_metadata().unwrap();
    let entry = |key: &str| entries.iter().find(|entry| entry.key == key).and_then(|entry| entry.value.clone());
    assert_eq!(entry("millstream.plan").as_deref(), Some("7"));
    assert_eq!(entry(EPOCHS_KEY).as_deref(), Some("5-6"));
    let batches = read_file(&memory, &second.full[0].staged);
    assert_eq!(*batches[0].column(2).data_type(), DataType::Utf8, "readers see plain text, whatever came in");
}

#[test]
fn a_writer_can_move_to_its_worker() {
    fn is_send<T: Send>() {}
    is_send::<ParquetWriter>();
}

#[test]
fn a_limit_of_open_files_closes_the_oldest() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let mut writer = writer(0, 1, 1, 1 << 20, &disk);
    for hours in 1..6 {
        writer.write(&rows(1, 100, hours), hours * 1_000).unwrap();
        assert!(writer.open_files() <= 3 && writer.memory_bytes() <= 16 << 10);
    }
    assert!(writer.closed_early() > 0);
    let token = writer.prepare(6_000, Closing::Due).unwrap();
    assert_eq!(token.open.len(), 3);
    let open: u64 = token.open.iter().map(|file| file.rows).sum();
    assert_eq!(token.tails.iter().map(|file| file.rows).sum::<u64>() + open, 500);
}

#[test]
fn damage_in_what_was_committed_stops_the_start() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut first = writer(0, 1, 1, 1 << 20, &disk);
    first.write(&rows(1, 500, 1), 0).unwrap();
    first.write(&rows(501, 20, 1), 0).unwrap();
    let token = first.prepare(0, Closing::Due).unwrap();
    let file = &token.open[0];
    let (prefix, part) = (file.prefix.as_ref().unwrap(), &file.parts[0]);
    for (path, offset) in [
        (&prefix.staged, prefix.bytes as usize / 2),
        (&prefix.footer.segment, prefix.footer.offset as usize + 20),
        (&part.segment, part.offset as usize + 100),
    ] {
        memory.corrupt(path, offset).unwrap();
        let error = writer(0, 2, 2, 1 << 20, &disk).restore(&token.open).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        assert!(error.message().contains("committed rows in") && error.way_out().is_some(), "{error}");
        memory.corrupt(path, offset).unwrap();
    }
    assert!(writer(0, 2, 2, 1 << 20, &disk).restore(&token.open).is_ok());
}

#[test]
fn open_files_of_a_changed_output_are_finished_as_they_were_meant() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut before = writer(0, 1, 1, 1 << 20, &disk);
    before.write(&rows(0, 700, 2), 0).unwrap();
    let token = before.prepare(0, Closing::Due).unwrap();
    let mut after = ParquetWriter::finishing(&token, place(0, 2), LIMITS, 2, disk.clone()).unwrap();
    let finished = after.prepare(0, Closing::All).unwrap();
    assert_eq!(finished.rows, 0, "nothing is counted twice");
    let mut current = writer(0, 2, 2, 1 << 20, &disk);
    current.write(&rows(700, 50, 2), 0).unwrap();
    let fresh = current.prepare(0, Closing::All).unwrap();
    publish(&memory, &[finished, fresh]).unwrap();
    assert_eq!(published_ids(&memory), (0..750).collect::<Vec<_>>());
}

#[test]
fn all_types_read_back_as_they_were_written() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let types = [
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "float32",
        "float64",
        "decimal(9,2)",
        "decimal(18,4)",
        "decimal(38,10)",
        "utf8",
        "binary",
        "uuid",
        "date",
        "timestamp(s)",
        "timestamp(ms)",
        "timestamp(us)",
        "timestamp(ns)",
        "list<utf8?>",
        "struct<a: int32, b: list<uuid?>?>",
        "list<struct<s: utf8?, d: decimal(12,2)>?>",
    ];
    let columns: Vec<Column> = types
        .iter()
        .enumerate()
        .map(|(index, text)| Column { name: format!("c {index}.x"), logical: text.parse().unwrap(), nullable: true })
        .collect();
    let fields: Vec<_> = columns.iter().map(Column::arrow_field).collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let json = r#"[{"c 0.x":true,"c 1.x":-1,"c 2.x":300,"c 3.x":70000,"c 4.x":5000000000,"c 5.x":1.5,"c 6.x":2.25,"c 7.x":"1.25","c 8.x":"-3.5","c 9.x":"123456789012345678.5","c 10.x":"ü","c 11.x":"ff00","c 12.x":"00112233445566778899aabbccddeeff","c 13.x":"2013-01-31","c 14.x":"2013-01-31T07:00:00Z","c 15.x":"2013-01-31T07:00:00.001Z","c 16.x":"2013-01-31T07:00:00.000001Z","c 17.x":"2013-01-31T07:00:00.000000001Z","c 18.x":["a",null],"c 19.x":{"a":1,"b":["00112233445566778899aabbccddeeff",null]},"c 20.x":[{"s":"x","d":"1.50"},null]},{}]"#;
    let readable = reject_json::with_offset_zone(&DataType::Struct(schema.fields().clone()));
    let DataType::Struct(readable) = readable else { panic!("a struct stays one") };
    let readable = Arc::new(arrow::datatypes::Schema::new(readable));
    let mut decoder = arrow::json::ReaderBuilder::new(readable).build_decoder().unwrap();
    let values: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
    decoder.serialize(&values).unwrap();
    let read = decoder.flush().unwrap().unwrap();
    let typed = read.columns().iter().zip(schema.fields());
    let typed = typed.map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap()).collect();
    let batch = RecordBatch::try_new(schema.clone(), typed).unwrap();
    let settings = ParquetOutput { partition: Vec::new(), ..settings(1 << 20) };
    let mut writer = ParquetWriter::new(place(0, 1), &settings, &columns, LIMITS, 1, disk.clone()).unwrap();
    writer.write(&batch, 0).unwrap();
    let token = writer.prepare(0, Closing::Due).unwrap();
    let token: Prepared = serde_json::from_str(&serde_json::to_string(&token).unwrap()).unwrap();
    let mut again = ParquetWriter::finishing(&token, place(0, 2), LIMITS, 2, disk).unwrap();
    let closed = again.prepare(0, Closing::All).unwrap();
    let found = read_file(&memory, &closed.tails[0].staged);
    assert_eq!(found, [batch]);
}
