//! Tails of workers become larger files.

use super::*;

#[test]
fn tails_of_several_workers_become_one_file() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut tokens: Vec<Prepared> = (0..3)
        .map(|worker| {
            let mut writer = writer(worker, 1, 1, 1 << 20, &disk);
            writer.write(&rows(worker as i64 * 100, 100, 2), 0).unwrap();
            writer.prepare(0, Closing::All).unwrap()
        })
        .collect();
    let footer = [("millstream.plan".to_owned(), "1".to_owned())];
    merge_tails(&mut tokens, &place(0, 1), 1 << 20, &footer, &disk).unwrap();
    assert_eq!(tokens.iter().map(|token| token.tails.len()).collect::<Vec<_>>(), [2, 0, 0], "one file an hour");
    assert_eq!(tokens[0].tails.iter().map(|file| file.rows).sum::<u64>(), 300);
    assert_eq!(obsolete(&tokens).len(), 6, "the merged tails can go after the commit");
    publish(&memory, &tokens).unwrap();
    assert_eq!(published_ids(&memory), (0..300).collect::<Vec<_>>());
    let reader = SerializedFileReader::new(Bytes::from(memory.read(&tokens[0].tails[0].published).unwrap())).unwrap();
    let entries = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "each entry once: {keys:?}");
    assert!(keys.contains(&"ARROW:schema") && keys.contains(&"millstream.plan") && keys.contains(&EPOCHS_KEY));
}

#[test]
fn large_tails_are_left_alone_and_small_ones_are_put_together() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let mut tokens: Vec<Prepared> = [400, 60, 50, 400, 40]
        .iter()
        .enumerate()
        .map(|(worker, count)| {
            let mut writer = writer(worker, 1, 1, 1 << 20, &disk);
            writer.write(&rows(worker as i64 * 1_000 + 1, *count, 1), 0).unwrap();
            writer.prepare(0, Closing::All).unwrap()
        })
        .collect();
    let target = 2 * tokens[0].tails[0].bytes.min(tokens[3].tails[0].bytes);
    merge_tails(&mut tokens, &place(0, 1), target, &[], &disk).unwrap();
    let sizes: Vec<u64> = tokens.iter().flat_map(|token| &token.tails).map(|file| file.bytes).collect();
    assert!(sizes.len() < 5, "{sizes:?}");
    assert!(sizes.iter().filter(|bytes| **bytes < target / 2).count() <= 1, "{sizes:?} for {target}");
}
