//! What an instance sees of the world: nothing that the host did not hand it.
//!
//! Promise: a plugin reads no file, no network, no environment and no clock of the machine, and the same batch gives the
//! same bytes. It holds because WASI is linked piece by piece here: files, sockets and environment are wasmtime's own
//! with nothing granted; clocks, randomness and the standard streams are the ones below, which start anew with each call.
//! Sleeping moves the plugin's clock and takes no time, so no plugin can hold a worker in a call of the host.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use tracing::Level;
use wasmtime::component::{HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{ResourceLimiter, Result, bail};
use wasmtime_wasi::cli::WasiCli;
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::cli::{stderr, stdout};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::bindings::{cli, filesystem, sockets, sync};
use wasmtime_wasi::p2::{DynOutputStream, DynPollable, Pollable, subscribe};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::{self, log};
use super::dimensions::GrantedTable;
use super::log::{InstanceLog, LineStream};

/// Most handles (streams, pollables, sockets) that an instance may hold.
const MAX_HANDLES: usize = 10_000;
/// Most core instances, memories or tables in one instance of a component.
const MAX_CORE_INSTANCES: usize = 1_000;
/// Most elements in one table.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;
/// What an element of a table counts for in the memory of an instance.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();
/// Most random bytes in one request.
const MAX_RANDOM_BYTES: u64 = 1024 * 1024;
/// What every call's randomness starts from.
const SEED: u64 = 0x6d69_6c6c_7374_7265;

/// The state of one instance.
pub struct State {
    wasi: WasiCtx,
    handles: ResourceTable,
    pub memory: MemoryLimit,
    pub call: CallTime,
    pub tables: Vec<GrantedTable>,
    pub keys: Allowance,
    pub log: InstanceLog,
    pub stdout: LineStream,
    pub stderr: LineStream,
    now_ns: u64,
    wall_ms: u64,
    random: u64,
}

impl State {
    /// The state of a new instance.
    pub fn new(log: &InstanceLog, memory_bytes: usize) -> Self {
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(MAX_HANDLES);
        Self {
            wasi: WasiCtx::builder().allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false).build(),
            handles,
            memory: MemoryLimit { limit_bytes: memory_bytes, used_bytes: 0, denied: false },
            call: CallTime::new(Duration::ZERO),
            tables: Vec::new(),
            keys: Allowance { limit: 0, left: 0 },
            log: log.clone(),
            stdout: LineStream::new(log.clone(), Level::INFO),
            stderr: LineStream::new(log.clone(), Level::WARN),
            now_ns: 0,
            wall_ms: 0,
            random: SEED,
        }
    }

    /// Makes clocks and randomness those of a call: `now_ms` since 1970, before which there is no now.
    ///
    /// `keys` is how many keys the plugin may look up in the call.
    pub fn begin_call(&mut self, now_ms: i64, deadline: Duration, keys: u64) {
        self.wall_ms = u64::try_from(now_ms).unwrap_or(0);
        self.now_ns = self.wall_ms.saturating_mul(1_000_000);
        self.random = SEED;
        self.memory.denied = false;
        self.stdout.begin_call();
        self.stderr.begin_call();
        self.call = CallTime::new(deadline);
        self.keys = Allowance { limit: keys, left: keys };
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        if length > MAX_RANDOM_BYTES {
            bail!("{length} random bytes asked, more than {MAX_RANDOM_BYTES}");
        }
        let words = (0..length.div_ceil(8)).flat_map(|_| self.next_random().to_le_bytes());
        let mut bytes: Vec<u8> = words.collect();
        bytes.truncate(usize::try_from(length)?);
        Ok(bytes)
    }
}

/// How long the plugin itself has worked in a call: in time of the processor, not of the wall, so that what else runs on
/// the machine makes no row guilty. A plugin has nothing to wait for, so it works as long as it runs.
#[derive(Clone, Copy, Debug)]
pub struct CallTime {
    start: Duration,
    hosts: Duration,
    /// How long it may work.
    pub deadline: Duration,
}

impl CallTime {
    fn new(deadline: Duration) -> Self {
        Self { start: worked(), hosts: Duration::ZERO, deadline }
    }

    /// Whether the plugin has worked longer than it may.
    pub fn is_over(&self) -> bool {
        worked().saturating_sub(self.start).saturating_sub(self.hosts) > self.deadline
    }

    /// Leaves the time since `began` out: it went into a call of the host.
    pub fn leave_out_since(&mut self, began: Duration) {
        self.hosts += worked().saturating_sub(began);
    }
}

/// So many of something in one call.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// How many at first.
    pub limit: u64,
    /// How many are left.
    pub left: u64,
}

impl Allowance {
    /// Takes some; whether there were as many.
    pub fn take(&mut self, count: u64) -> bool {
        let left = self.left.checked_sub(count);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

/// The processor's time that this thread has had.
pub fn worked() -> Duration {
    // Linux always knows; a system that does not has no deadlines to offer but its wall clock's.
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    ThreadTime::try_now().map_or_else(|_| BEGAN.elapsed(), |time| time.as_duration())
}

/// The memory of an instance, all its linear memories and tables together.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimit {
    /// What it may have.
    pub limit_bytes: usize,
    /// What it has.
    pub used_bytes: usize,
    /// Whether it was denied more since the call began.
    pub denied: bool,
}

impl MemoryLimit {
    fn grow(&mut self, current_bytes: usize, desired_bytes: usize) -> bool {
        let used = self.used_bytes.saturating_sub(current_bytes).saturating_add(desired_bytes);
        self.denied |= used > self.limit_bytes;
        if used <= self.limit_bytes {
            self.used_bytes = used;
        }
        used <= self.limit_bytes
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        Ok(desired <= MAX_TABLE_ELEMENTS && self.grow(bytes(current), bytes(desired)))
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_CORE_INSTANCES
    }
}

/// Links what a plugin may import: the interface's own functions, and WASI with nothing granted.
pub fn link(linker: &mut Linker<State>) -> Result<()> {
    bindings::Stage::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    own_wasi(linker)?;
    ungranted_wasi(linker)
}

fn own_wasi(linker: &mut Linker<State>) -> Result<()> {
    wall_clock::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    monotonic_clock::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    random::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    insecure::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    insecure_seed::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    stdout::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    stderr::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

fn ungranted_wasi(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi::p2::bindings::io::error::add_to_linker::<State, Handles>(linker, |state| &mut state.handles)?;
    sync::io::poll::add_to_linker::<State, Handles>(linker, |state| &mut state.handles)?;
    sync::io::streams::add_to_linker::<State, Handles>(linker, |state| &mut state.handles)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, wasmtime_wasi::cli::WasiCliView::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(linker, wasmtime_wasi::cli::WasiCliView::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(linker, wasmtime_wasi::cli::WasiCliView::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, wasmtime_wasi::cli::WasiCliView::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, wasmtime_wasi::cli::WasiCliView::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, wasmtime_wasi::cli::WasiCliView::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, wasmtime_wasi::cli::WasiCliView::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, wasmtime_wasi::cli::WasiCliView::cli)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    sync::filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<State, WasiSockets>(linker, &options, State::sockets)?;
    sockets::instance_network::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sync::sockets::tcp::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sync::sockets::udp::add_to_linker::<State, WasiSockets>(linker, State::sockets)?;
    sync::sockets::udp_create_socket::add_to_linker::<State, WasiSockets>(linker, State::sockets)
}

/// The part of the state that streams and pollables live in.
struct Handles;

impl HasData for Handles {
    type Data<'a> = &'a mut ResourceTable;
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.handles }
    }
}

impl bindings::columns::Host for State {}

impl log::Host for State {
    /// Counts as the plugin's own time: whoever says nothing but lines has no time for rows.
    fn log(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Debug => Level::DEBUG,
            log::Level::Info => Level::INFO,
            log::Level::Warn => Level::WARN,
            log::Level::Error => Level::ERROR,
        };
        self.log.line(level, &message);
    }
}

impl wall_clock::Host for State {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        let nanoseconds = u32::try_from(self.wall_ms % 1_000 * 1_000_000)?;
        Ok(wall_clock::Datetime { seconds: self.wall_ms / 1_000, nanoseconds })
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}

impl monotonic_clock::Host for State {
    /// A microsecond passes with each look at the clock, so that whoever waits for it to move does not wait for ever.
    fn now(&mut self) -> Result<u64> {
        self.now_ns = self.now_ns.saturating_add(1_000);
        Ok(self.now_ns)
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(1_000)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        self.now_ns = self.now_ns.max(when);
        let past = self.handles.push(Past)?;
        subscribe(&mut self.handles, past)
    }

    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<DynPollable>> {
        self.subscribe_instant(self.now_ns.saturating_add(duration))
    }
}

/// A moment that has come.
struct Past;

#[wasmtime_wasi::async_trait]
impl Pollable for Past {
    async fn ready(&mut self) {}
}

impl random::Host for State {
    fn get_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        self.random_bytes(length)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(self.next_random())
    }
}

impl insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        self.random_bytes(length)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(self.next_random())
    }
}

impl insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((self.next_random(), self.next_random()))
    }
}

impl stdout::Host for State {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(self.stdout.clone());
        Ok(self.handles.push(stream)?)
    }
}

impl stderr::Host for State {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(self.stderr.clone());
        Ok(self.handles.push(stream)?)
    }
}
