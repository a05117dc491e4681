//! The world of a seed: a cluster, a disk, hosts, and what befalls them. Everything follows from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::check::{Files, Looked, check, check_staging};
use super::host::{Host, Stepped};
use super::job;
use super::kafka::{Isolation, MemoryKafka, Producer};
use super::machine::{Client, Fault, HostDisk, Machine};
use super::transactions::{self, COMMITS, INPUT, OUTPUT, offsets};
use crate::disk::{Chance, MemoryDisk};
use crate::error::{Error, ErrorKind};
use crate::pipeline::Counts;
use crate::service::Crossed;

/// Steps until a world that nothing befalls any more has to be at its end.
const PATIENCE: usize = 4_000;

/// How often hosts may have to make their last epoch again when nothing befalls them.
const MOST_ENDS: usize = 20;

/// Ids of records that nobody may see.
const ABORTED: i64 = 1_000_000;

/// A world.
pub struct World {
    chance: Mutex<Chance>,
    kafka: MemoryKafka,
    disk: MemoryDisk,
    partitions: usize,
    settings: job::Settings,
    hosts: Vec<Mutex<Host>>,
    machines: Vec<Machine>,
    input: Mutex<Input>,
    files: Mutex<Files>,
    seen: Mutex<Seen>,
    /// What was wrong while a host stood still.
    wrong: Mutex<Option<String>>,
    trace: Option<Mutex<Vec<String>>>,
}

/// What happened in a world, and how often: a simulation in which nothing befalls anybody proves nothing.
pub type Seen = BTreeMap<&'static str, u64>;

/// Who fills the topic that is read.
struct Input {
    producer: Producer,
    next_id: i64,
    versions: i64,
}

/// What is drawn for a seed.
struct Drawn {
    partitions: usize,
    hosts: usize,
    settings: job::Settings,
    interval_ms: i64,
    marking_ms: i64,
}

fn draw(chance: &mut Chance) -> Drawn {
    let hosts = [1, 1, 1, 2, 2, 3][chance.below(6)];
    // Work is shared only where the group's offsets are in the transactions.
    let has_topic = chance.below(4) > 0 || hosts > 1;
    Drawn {
        partitions: 2 + chance.below(3),
        hosts,
        interval_ms: [400, 1_000, 2_500][chance.below(3)],
        marking_ms: [0, 0, 120, 900][chance.below(4)],
        settings: job::Settings {
            workers: 1 + chance.below(2),
            has_topic,
            max_age_ms: [0, 1_500, 4_000, 60_000][chance.below(4)],
            target_file_bytes: [2_000, 1 << 20][chance.below(2)],
            memory_bytes: [600, 1 << 20][chance.below(2)],
        },
    }
}

impl World {
    /// The world of a seed; with a trace, it writes down what happens.
    pub fn new(seed: u64, traced: bool) -> Arc<Self> {
        let mut chance = Chance(seed);
        let drawn = draw(&mut chance);
        let kafka = MemoryKafka::new(drawn.marking_ms);
        let producer = {
            let mut cluster = kafka.cluster();
            cluster.create_topic(INPUT, drawn.partitions);
            cluster.create_topic(OUTPUT, 2);
            cluster.create_topic(COMMITS, 1);
            cluster.init_transactions("upstream", 5_000).expect("a producer")
        };
        let disk = MemoryDisk::new();
        let machines: Vec<Machine> = (0..drawn.hosts).map(|_| Machine::new()).collect();
        let hosts = machines.iter().zip(["a", "b", "c"]).map(|(machine, id)| {
            let client = Client { kafka: kafka.clone(), machine: machine.clone() };
            let disk = HostDisk { disk: disk.clone(), machine: machine.clone() };
            Mutex::new(Host::new(id, client, disk, drawn.settings.clone(), drawn.interval_ms, chance.seed()))
        });
        let hosts = hosts.collect();
        let world = Arc::new(Self {
            chance: Mutex::new(chance),
            kafka,
            disk,
            partitions: drawn.partitions,
            settings: drawn.settings,
            hosts,
            machines,
            input: Mutex::new(Input { producer, next_id: 0, versions: 0 }),
            files: Mutex::default(),
            seen: Mutex::default(),
            wrong: Mutex::default(),
            trace: traced.then(Mutex::default),
        });
        world.let_it_go_on();
        world.note(|| format!("{:?}, {} partitions", world.settings, world.partitions));
        world
    }

    /// While a host stands still, the others go on.
    fn let_it_go_on(self: &Arc<Self>) {
        for machine in &self.machines {
            let world = Arc::downgrade(self);
            machine.set_go_on(Arc::new(move |ms| {
                let Some(world) = world.upgrade() else { return };
                let until_ms = world.kafka.cluster().now_ms() + ms;
                world.note(|| format!("a host stands still until {until_ms}"));
                while world.kafka.cluster().now_ms() < until_ms {
                    if let Err(wrong) = world.tick() {
                        world.wrong.lock().get_or_insert(wrong);
                        return;
                    }
                }
            }));
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.chance.lock().below(bound)
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let now_ms = self.kafka.cluster().now_ms();
            trace.lock().push(format!("{now_ms:>7} {}", what()));
        }
    }

    fn saw(&self, what: &'static str, times: usize) {
        *self.seen.lock().entry(what).or_default() += times as u64;
    }

    /// How often what happened.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// What happened so far.
    pub fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map(|trace| trace.lock().clone()).unwrap_or_default()
    }

    /// From the beginning to the end; what was wrong, if something was.
    pub fn run(&self) -> Result<(), String> {
        for _ in 0..30 + self.below(70) {
            self.produce();
            self.befall();
            self.tick()?;
            if let Some(wrong) = self.wrong.lock().take() {
                return Err(wrong);
            }
        }
        self.calm()?;
        self.end()?;
        self.note(|| "at rest; everybody loses power".to_owned());
        self.machines.iter().for_each(Machine::kill);
        self.lose_power();
        self.calm()?;
        self.end()
    }

    /// Records come, some of them no JSON, some in transactions, some of which are aborted.
    fn produce(&self) {
        if self.below(3) > 0 {
            return;
        }
        let (partition, records) = (self.below(self.partitions), 1 + self.below(14) as i64);
        let way = self.below(8);
        let mut input = self.input.lock();
        let first = if way == 0 { ABORTED + input.next_id } else { input.next_id };
        input.next_id += records;
        let rows = (first..first + records).map(|id| {
            let json =
                if id % 17 == 5 { format!("{{\"id\":{id}") } else { format!("{{\"id\":{id},\"shard\":{}}}", id % 2) };
            (String::new(), json.into_bytes())
        });
        let to = (INPUT.to_owned(), partition);
        let mut cluster = self.kafka.cluster();
        // While a transaction is marked, there is none to write in: nothing comes then.
        let sent = match way {
            0..=2 => {
                cluster.begin(&input.producer);
                cluster.send(Some(&input.producer), &to, rows).and_then(|()| cluster.end(&input.producer, way > 0))
            }
            _ => cluster.send(None, &to, rows),
        };
        drop(cluster);
        self.note(|| format!("{records} records from id {first} for partition {partition}: {sent:?}"));
    }

    /// Something happens to a host, or is about to.
    fn befall(&self) {
        let index = self.below(self.hosts.len());
        match self.below(60) {
            0..=3 => {
                let fault = self.fault();
                let operations = 1 + self.below(60) as u64;
                self.note(|| format!("host {index}: {fault:?} in {operations} operations"));
                self.machines[index].plan(operations, fault);
            }
            4 => {
                self.note(|| format!("host {index}: killed"));
                self.machines[index].kill();
            }
            5..=6 => {
                let jump_ms = self.below(20_000_000) as i64 - 10_000_000;
                if let Some(host) = self.hosts[index].try_lock() {
                    self.note(|| format!("host {index}: its clock jumps by {jump_ms} ms"));
                    host.clock.advance_ms(jump_ms);
                }
            }
            7..=9 => {
                if let Some(mut host) = self.hosts[index].try_lock() {
                    let mut input = self.input.lock();
                    input.versions += 1;
                    host.wanted = Some(input.versions);
                    self.note(|| format!("host {index}: version {} is wanted", input.versions));
                }
            }
            10..=11 => {
                self.kafka.cluster().compact(COMMITS);
                self.saw("compactions", 1);
                self.note(|| "the commit topic is compacted".to_owned());
            }
            _ => {}
        }
    }

    fn fault(&self) -> Fault {
        let is_heard = self.below(2) == 0;
        match self.below(10) {
            0..=3 => Fault::Dies { is_heard },
            4 => Fault::DiskFails,
            5..=7 => Fault::Silence { is_heard },
            8 => Fault::Away { ms: 500 + self.below(15_000) as i64 },
            _ => Fault::Stands { ms: self.below(30_000) as i64 },
        }
    }

    /// A step of some host, and a little time.
    fn tick(&self) -> Result<(), String> {
        let ms = 20 + self.below(130) as i64;
        self.kafka.cluster().advance_ms(ms);
        let index = self.below(self.hosts.len());
        self.step(index)
    }

    fn step(&self, index: usize) -> Result<(), String> {
        // One that is locked stands still.
        let Some(mut host) = self.hosts[index].try_lock() else { return Ok(()) };
        host.clock.advance_ms(100);
        let was_dead = self.machines[index].is_dead();
        let stepped = host.step();
        self.note(|| format!("host {}: {stepped:?}", host.id));
        match &stepped {
            Stepped::Failed(error) => {
                self.is_explained(&host, error)?;
                drop(host);
                if was_dead || self.machines[index].is_dead() {
                    self.saw("hosts died", 1);
                    if self.below(2) == 0 {
                        self.lose_power();
                    }
                } else {
                    self.saw("runs went back", 1);
                }
            }
            Stepped::Recovered => {
                self.saw("leftovers adopted", std::mem::take(&mut host.adopted));
                self.is_recovered(&host)?;
            }
            Stepped::Read(records) => self.saw("records read", *records),
            Stepped::Ended(Crossed::Committed(passed)) => {
                self.saw("epochs committed", 1);
                self.saw("versions passed", passed.len());
            }
            Stepped::Ended(Crossed::Nothing) => self.saw("epochs of nothing", 1),
            Stepped::Ended(Crossed::Failed(_)) => self.saw("versions failed", 1),
            Stepped::Moved => self.saw("partitions moved", 1),
            Stepped::Down => {}
        }
        Ok(())
    }

    /// An error has to come from something that befell the host.
    fn is_explained(&self, host: &Host, error: &Error) -> Result<(), String> {
        let machine = &host.client.machine;
        match error.kind() {
            ErrorKind::Unavailable => Ok(()),
            ErrorKind::Storage if machine.is_dead() || machine.has_failed() => Ok(()),
            kind => Err(format!("host {}: {kind:?}: {error:?}", host.id)),
        }
    }

    /// All machines lose power at once: what was not synced is gone, or not.
    fn lose_power(&self) {
        let seed = self.below(1 << 30) as u64;
        self.saw("power lost", 1);
        self.note(|| format!("power is lost, {seed}"));
        self.machines.iter().for_each(Machine::kill);
        self.disk.crash(seed);
    }

    /// A host that came back, and has read nothing yet: everything of it is at rest.
    fn is_recovered(&self, host: &Host) -> Result<(), String> {
        check_staging(&self.disk, &host.id)?;
        let epochs = host.epochs().ok_or("a host that recovered has no epochs")?;
        let (known, committed) = (epochs.next_epoch() - 1, host.committed.load(Ordering::Relaxed));
        if known < committed {
            return Err(format!("host {}: epoch {committed} was committed, the last one known is {known}", host.id));
        }
        if self.hosts.len() > 1 {
            return Ok(());
        }
        self.is_right(&[host])
    }

    fn is_right(&self, hosts: &[&Host]) -> Result<(), String> {
        let mut looked = Looked {
            cluster: &mut self.kafka.cluster(),
            disk: &self.disk,
            positions: BTreeMap::new(),
            totals: Counts::default(),
            has_topic: self.settings.has_topic,
            failed: BTreeSet::new(),
        };
        let all: BTreeSet<usize> = (0..self.partitions).collect();
        for host in hosts {
            looked.failed.extend(&host.failed);
            let Some(last) = host.epochs().and_then(|epochs| epochs.last()) else { continue };
            looked.totals.merge(&last.totals);
            let is_read = |partition: &usize| {
                !self.settings.has_topic || last.sharing.assigned.contains(&transactions::partition(*partition))
            };
            let read = all.iter().copied().filter(is_read).collect();
            let positions = offsets(&last.positions, &read);
            looked.positions.extend(positions.into_iter().map(|((_, partition), offset)| (partition, offset)));
        }
        check(&mut looked, &mut self.files.lock())
    }

    /// Nothing befalls anybody any more: everything is read to its end.
    fn calm(&self) -> Result<(), String> {
        self.note(|| "nothing befalls anybody any more".to_owned());
        self.machines.iter().for_each(Machine::calm);
        for _ in 0..PATIENCE {
            for index in 0..self.hosts.len() {
                self.step(index)?;
            }
            self.kafka.cluster().advance_ms(100);
            if self.is_caught_up() {
                return Ok(());
            }
        }
        Err("it does not come to its end".to_owned())
    }

    /// Whether all hosts run, and have read what there is.
    fn is_caught_up(&self) -> bool {
        if self.hosts.iter().any(|host| host.lock().epochs().is_none()) {
            return false;
        }
        let read: BTreeMap<usize, i64> = self.hosts.iter().flat_map(|host| host.lock().read_to()).collect();
        let cluster = self.kafka.cluster();
        (0..self.partitions).all(|partition| {
            let end = cluster.end_offset(&(INPUT.to_owned(), partition), Isolation::Uncommitted);
            read.get(&partition) == Some(&end)
        })
    }

    /// All hosts end their last epoch, and everything is looked at.
    fn end(&self) -> Result<(), String> {
        for _ in 0..MOST_ENDS {
            let mut hosts: Vec<_> = self.hosts.iter().map(Mutex::lock).collect();
            let mut are_done = true;
            for host in &mut hosts {
                let done = host.finish();
                are_done &= done.map_err(|error| format!("host {}: the last epoch: {error:?}", host.id))?;
            }
            if are_done {
                // What was decided last is marked.
                self.kafka.cluster().advance_ms(1_000);
                hosts.iter().try_for_each(|host| check_staging(&self.disk, &host.id))?;
                return self.is_right(&hosts.iter().map(|host| &**host).collect::<Vec<_>>());
            }
            // An epoch that failed its probation, or whose answer was lost before, is made again.
            drop(hosts);
            self.calm()?;
        }
        Err("the last epoch cannot be committed".to_owned())
    }
}
