//! All sources of a pipeline, opened at the committed positions and dealt out to the workers.

use std::collections::{BTreeMap, BTreeSet};

use crate::commit::{GroupOffsets, Host};
use crate::config::{ColumnFrom, Pipeline, SourceKind};
use crate::error::{ErrorKind, Result};
use crate::record::Partition;
use crate::source::file::FileSource;
use crate::source::kafka::{From, JoinOptions, KafkaSource, Members, Reads, Wanted};
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

/// How sources are opened.
pub struct Opening<'a> {
    /// Who reads.
    pub host: &'a Host,
    /// The host's places in groups.
    pub members: &'a Members,
    /// The brokers whose groups' offsets are in the host's transactions.
    pub shared: Option<&'a str>,
    /// What counts where such a group's offsets were moved.
    pub from: Option<From>,
    /// Files may grow, topics have no end.
    pub follow: bool,
}

impl Sources {
    /// Opens every source: files where the last commit left them. Groups are joined; see `start_at`.
    pub fn open(pipeline: &Pipeline, committed: &Positions, opening: &Opening<'_>) -> Result<Self> {
        let follow = opening.follow;
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
                        host: &opening.host.id,
                        members: opening.members,
                        reads: match opening.shared {
                            Some(brokers) if brokers == settings.brokers.value => Reads::Sharing(opening.from),
                            _ => Reads::Alone,
                        },
                        until_caught_up: !follow,
                        wanted: Wanted {
                            keys: reads(|from| matches!(from, ColumnFrom::Key)),
                            headers: reads(|from| matches!(from, ColumnFrom::Header(_))),
                        },
                        timeout: JoinOptions::TIMEOUT,
                    };
                    Source::Kafka(Box::new(KafkaSource::join(name, settings, &options)?))
                }
            });
        }
        Ok(Self(sources))
    }

    /// Finds where topics are read from. `own`: what this host committed; `all`: what all hosts did.
    pub fn start_at(&self, own: &Positions, all: &Positions) -> Result<()> {
        self.topics().try_for_each(|source| source.start_at(if source.is_alone() { own } else { all }))
    }

    /// Source -> group of those that hosts share.
    pub fn groups(&self) -> BTreeMap<String, String> {
        self.shared().map(|source| (source.name().to_owned(), source.group().to_owned())).collect()
    }

    /// The hosts in the groups that are shared.
    pub fn hosts(&self) -> Result<BTreeSet<String>> {
        self.shared().try_fold(BTreeSet::new(), |mut hosts, source| {
            hosts.extend(source.group_hosts()?);
            Ok(hosts)
        })
    }

    /// What the groups dealt out to this host.
    pub fn dealt(&self) -> Vec<Partition> {
        self.shared().flat_map(KafkaSource::dealt).collect()
    }

    /// What the groups dealt out to this host, and where it is read from.
    pub fn starts(&self) -> Vec<(Partition, i64)> {
        self.shared().flat_map(KafkaSource::starts).collect()
    }

    /// Whether partitions came or are wanted back.
    pub fn is_moved(&self) -> bool {
        self.topics().any(KafkaSource::is_moved)
    }

    /// Whether partitions were taken without asking.
    pub fn is_lost(&self) -> bool {
        self.topics().any(KafkaSource::is_lost)
    }

    /// Leaves groups in which there are others.
    pub fn leave(&self, host: &Host) {
        self.topics().for_each(|source| source.leave(&host.id));
    }

    fn topics(&self) -> impl Iterator<Item = &KafkaSource> {
        self.0.iter().filter_map(|source| match source {
            Source::File(_) => None,
            Source::Kafka(source) => Some(source.as_ref()),
        })
    }

    fn shared(&self) -> impl Iterator<Item = &KafkaSource> {
        self.topics().filter(|source| !source.is_alone())
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

    /// Notes which file each partition is, or which topic it is of.
    pub fn identify(&self, read: &mut Positions) {
        for (partition, position) in read {
            position.file = self.0.iter().find_map(|source| match source {
                Source::File(source) => source.identity(partition),
                Source::Kafka(_) => None,
            });
            let topic = self.topics().find(|topic| topic.name() == &*partition.source);
            position.topic_id = topic.and_then(KafkaSource::topic_id).map(str::to_owned);
        }
    }

    /// By source and partition, from which offset to which one records were gone before they were read.
    pub fn gaps(&self) -> Vec<(Partition, i64, i64)> {
        self.topics().flat_map(KafkaSource::gaps).collect()
    }

    /// Looks for files that appeared; for a run that follows.
    pub fn rescan(&self) -> Result<()> {
        self.0.iter().try_for_each(|source| match source {
            Source::File(source) => source.rescan().map(drop),
            Source::Kafka(_) => Ok(()),
        })
    }

    /// The groups' offsets that go into the transaction.
    pub fn group_offsets(&self, positions: &Positions) -> Result<Vec<GroupOffsets>> {
        self.topics().map(|source| source.group_offsets(positions)).filter_map(Result::transpose).collect()
    }

    /// Tells groups whose offsets are in no transaction what was committed and published. The commit record is the truth: a
    /// group whose brokers are away just now is told with the next commit.
    pub fn committed(&self, positions: &Positions) -> Result<()> {
        self.topics().filter(|source| source.is_alone()).try_for_each(|source| match source.commit_offsets(positions) {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(%error, "the group's offsets are behind until the next commit");
                Ok(())
            }
            done => done,
        })
    }

    /// Whether this host still has what its groups dealt out.
    pub fn check(&self) -> Result<()> {
        self.topics().try_for_each(KafkaSource::check_membership)
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
