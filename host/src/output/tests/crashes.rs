//! Whatever step of an epoch the machine stops at: rows in are rows out, each once.

use proptest::prelude::*;

use super::*;

/// A pipeline's run as far as outputs see it: two workers, one commit.
struct Run {
    disk: MemoryDisk,
    target: u64,
    incarnation: u64,
    epoch: u64,
    now_ms: i64,
    workers: Vec<ParquetWriter>,
    committed: Vec<Prepared>,
    committed_rows: i64,
}

#[derive(Clone, Copy, Debug)]
enum Close {
    Due,
    DueTogether,
    All,
}

impl Run {
    fn new(target: u64) -> Self {
        let disk = MemoryDisk::new();
        let mut run = Self {
            disk,
            target,
            incarnation: 0,
            epoch: 1,
            now_ms: 0,
            workers: Vec::new(),
            committed: Vec::new(),
            committed_rows: 0,
        };
        run.recover();
        run
    }

    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// One epoch. An error is a crash; then `self.committed` says whether it was before the commit.
    fn epoch(&mut self, batches: &[(i64, i64)], close: Close) -> Result<(), Box<dyn std::error::Error>> {
        let disk = self.shared();
        let mut next = self.committed_rows;
        for (index, (count, hours)) in batches.iter().enumerate() {
            let worker = index % self.workers.len();
            self.workers[worker].write(&rows(next, *count, *hours), self.now_ms)?;
            next += count;
            self.now_ms += 7_000;
        }
        let due: BTreeSet<String> = self.workers.iter().flat_map(|worker| worker.due(self.now_ms)).collect();
        let closing = match close {
            Close::Due => Closing::Due,
            Close::DueTogether => Closing::DueAnd(&due),
            Close::All => Closing::All,
        };
        let mut tokens = Vec::new();
        for worker in &mut self.workers {
            worker.set_footer(vec![("millstream.plan".to_owned(), "1".to_owned())]);
            tokens.push(worker.prepare(self.now_ms, closing)?);
        }
        let footer = [("millstream.plan".to_owned(), "1".to_owned())];
        merge_tails(&mut tokens, &place(0, self.incarnation), self.target, &footer, &disk)?;
        let record = serde_json::to_string(&tokens)?;
        let garbage = obsolete(&tokens);
        // The commit: from here on the epoch is true.
        self.committed = serde_json::from_str(&record)?;
        self.committed_rows = next;
        self.epoch += 1;
        publish(&self.disk, &self.committed)?;
        garbage.iter().try_for_each(|path| self.disk.remove(path))?;
        Ok(())
    }

    /// What a start does; also the number of workers may be another one.
    fn recover(&mut self) {
        self.incarnation += 1;
        publish(&self.disk, &self.committed).unwrap();
        let needed: BTreeSet<&Path> = self.committed.iter().flat_map(Prepared::needs).collect();
        for path in self.disk.files_below(Path::new("/lake/views/.staging")).unwrap() {
            if !needed.contains(path.as_path()) {
                self.disk.remove(&path).unwrap();
            }
        }
        let count = 1 + (self.incarnation as usize) % 2;
        let disk = self.shared();
        self.workers =
            (0..count).map(|worker| writer(worker, self.incarnation, self.epoch, self.target, &disk)).collect();
        for (index, file) in self.committed.iter().flat_map(|token| &token.open).enumerate() {
            self.staged_is_untouched(file);
            let worker = index % count;
            self.workers[worker].restore(std::slice::from_ref(file)).unwrap();
        }
    }

    fn staged_is_untouched(&self, file: &OpenFile) {
        if let Some(prefix) = &file.prefix {
            let bytes = self.disk.read(&prefix.staged).unwrap();
            let prefix_bytes = &bytes[..prefix.bytes as usize];
            assert_eq!(crc32fast::hash(prefix_bytes), prefix.crc32, "the committed beginning of {file:?} changed");
        }
    }

    /// Rows in published files and in what the last token says is open.
    fn finish(mut self) -> (Vec<i64>, i64) {
        self.epoch(&[], Close::All).unwrap();
        assert!(self.committed.iter().all(|token| token.open.is_empty()));
        let staging = self.disk.files_below(Path::new("/lake/views/.staging")).unwrap();
        assert!(staging.is_empty(), "nothing is open, but staging holds {staging:?}");
        (published_ids(&self.disk), self.committed_rows)
    }
}

fn check(run: Run) {
    let (ids, rows) = run.finish();
    assert_eq!(ids, (0..rows).collect::<Vec<_>>(), "each committed row once");
}

fn close() -> impl Strategy<Value = Close> {
    prop_oneof![4 => Just(Close::Due), 2 => Just(Close::DueTogether), 1 => Just(Close::All)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_in_the_lake_once_whatever_crashes(
        epochs in prop::collection::vec(
            (prop::collection::vec((1i64..300, 1i64..6), 0..5), close(), prop::option::of((1u64..120, any::<u64>()))), 1..14),
        target in prop_oneof![Just(2u64 << 10), Just(1 << 20)],
    ) {
        let mut run = Run::new(target);
        for (batches, close, crash) in epochs {
            if let Some((after, _)) = crash {
                run.disk.crash_at(run.disk.operations() + after);
            }
            let done = run.epoch(&batches, close);
            if let Some((_, seed)) = crash {
                prop_assert!(done.is_ok() || run.disk.has_crashed(), "{:?}", done);
                run.disk.crash(seed);
                run.recover();
            } else {
                done.unwrap();
            }
        }
        check(run);
    }
}

#[test]
fn every_step_of_an_epoch_may_crash() {
    let batches = [(250, 2), (250, 1), (120, 4), (90, 1)];
    let operations = {
        let mut run = Run::new(2 << 10);
        run.epoch(&batches, Close::Due).unwrap();
        let before = run.disk.operations();
        run.epoch(&batches, Close::DueTogether).unwrap();
        run.disk.operations() - before
    };
    assert!(operations > 20, "an epoch of {operations} operations tries little");
    for operation in 1..=operations + 1 {
        let mut run = Run::new(2 << 10);
        run.epoch(&batches, Close::Due).unwrap();
        run.disk.crash_at(run.disk.operations() + operation);
        let _ = run.epoch(&batches, Close::DueTogether);
        run.disk.crash(operation);
        run.recover();
        run.epoch(&batches, Close::Due).unwrap();
        check(run);
    }
}

#[test]
fn a_file_that_is_open_for_many_epochs_keeps_few_parts() {
    let mut run = Run::new(1 << 20);
    for _ in 0..100 {
        run.now_ms = 0;
        run.epoch(&[(3, 1)], Close::Due).unwrap();
        let parts: usize = run.committed.iter().flat_map(|token| &token.open).map(|file| file.parts.len()).sum();
        assert!(parts <= 32, "{parts} parts");
        let staging = run.disk.files_below(Path::new("/lake/views/.staging")).unwrap().len();
        assert!(staging <= 34, "{staging} files in staging");
    }
    run.disk.crash(1);
    run.recover();
    check(run);
}
