//! All sources of a pipeline, opened at the committed positions and dealt out to the workers.

use crate::commit::{GroupOffsets, Host};
use crate::config::{ColumnFrom, Pipeline, SourceKind};
use crate::error::{ErrorKind, Result};
use crate::source::file::FileSource;
use crate::source::kafka::{JoinOptions, KafkaSource, Wanted};
use crate::source::{Positions, Reader};

/// One open source.
enum Source {
    File(FileSource),
    Kafka(Box<KafkaSource>),
}

/// The sources of a pipeline, in the file's order.
pub struct Sources(Vec<Source>);

/// One worker's readers: index of the source, reader.
pub type Readers = Vec<(usize, Box<dyn Reader>)>;

impl Sources {
    /// Opens every source where the last commit left it. `follow`: files may grow, topics have no end.
    pub fn open(pipeline: &Pipeline, host: &Host, committed: &Positions, follow: bool) -> Result<Self> {
        let mut sources = Vec::with_capacity(pipeline.sources.len());
        for source in &pipeline.sources {
            let name = &source.name.value;
            sources.push(match &source.kind {
                SourceKind::File(settings) => {
                    Source::File(FileSource::open(name, settings, source.format.value, committed, follow)?)
                }
                SourceKind::Kafka(settings) => {
                    let reads =
                        |wanted: fn(&ColumnFrom) -> bool| source.columns.iter().any(|column| wanted(&column.from));
                    let options = JoinOptions {
                        host: Some(&host.id),
                        until_caught_up: !follow,
                        wanted: Wanted {
                            keys: reads(|from| matches!(from, ColumnFrom::Key)),
                            headers: reads(|from| matches!(from, ColumnFrom::Header(_))),
                        },
                        timeout: JoinOptions::TIMEOUT,
                    };
                    Source::Kafka(Box::new(KafkaSource::join(name, settings, committed, &options)?))
                }
            });
        }
        Ok(Self(sources))
    }

    /// No source at all, for a run that only replays rejects.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The readers of each worker.
    pub fn readers(&self, workers: usize) -> Result<Vec<Readers>> {
        let mut dealt: Vec<Readers> = (0..workers).map(|_| Readers::new()).collect();
        for (index, source) in self.0.iter().enumerate() {
            let readers: Vec<Box<dyn Reader>> = match source {
                Source::File(source) => boxed(source.readers(workers)),
                Source::Kafka(source) => boxed(source.readers(workers)?),
            };
            for (worker, reader) in dealt.iter_mut().zip(readers) {
                worker.push((index, reader));
            }
        }
        Ok(dealt)
    }

    /// Notes which file each partition is.
    pub fn identify(&self, read: &mut Positions) {
        for (partition, position) in read {
            position.file = self.0.iter().find_map(|source| match source {
                Source::File(source) => source.identity(partition),
                Source::Kafka(_) => None,
            });
        }
    }

    /// Looks for files that appeared; for a run that follows.
    pub fn rescan(&self) -> Result<()> {
        self.0.iter().try_for_each(|source| match source {
            Source::File(source) => source.rescan().map(drop),
            Source::Kafka(_) => Ok(()),
        })
    }

    /// The groups' offsets that go into a transaction on these brokers.
    pub fn group_offsets(&self, brokers: &str, positions: &Positions) -> Result<Vec<GroupOffsets>> {
        let groups = self.0.iter().map(|source| match source {
            Source::File(_) => Ok(None),
            Source::Kafka(source) => source.group_offsets(brokers, positions),
        });
        groups.filter_map(Result::transpose).collect()
    }

    /// Tells sources what was committed and published, but for those on the brokers of the transaction, which has told
    /// them. The commit record is the truth: a group whose brokers are away just now is told with the next commit.
    pub fn committed(&self, positions: &Positions, transaction: Option<&str>) -> Result<()> {
        self.0.iter().try_for_each(|source| match source {
            Source::File(_) => Ok(()),
            Source::Kafka(source) if transaction.is_some_and(|brokers| source.is_at(brokers)) => Ok(()),
            Source::Kafka(source) => match source.commit_offsets(positions) {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(%error, "the group's offsets are behind until the next commit");
                    Ok(())
                }
                done => done,
            },
        })
    }

    /// Whether every source is still this host's alone.
    pub fn check(&self) -> Result<()> {
        self.0.iter().try_for_each(|source| match source {
            Source::File(_) => Ok(()),
            Source::Kafka(source) => source.check_membership(),
        })
    }

    /// Bytes of files that were read, and all of them; none without a file source.
    pub fn progress_bytes(&self) -> Option<(u64, u64)> {
        let files = self.0.iter().filter_map(|source| match source {
            Source::File(source) => Some((source.read_bytes(), source.total_bytes())),
            Source::Kafka(_) => None,
        });
        files.reduce(|all, file| (all.0 + file.0, all.1 + file.1))
    }
}

fn boxed<R: Reader + 'static>(readers: Vec<R>) -> Vec<Box<dyn Reader>> {
    readers.into_iter().map(|reader| Box::new(reader) as Box<dyn Reader>).collect()
}
