//! Loading: bytes to compiled code that is fit to be instantiated.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, WasmBacktraceDetails};

use super::bindings::StagePre;
use super::cache::CodeCache;
use super::component;
use super::instance::{Failure, Instance};
use super::log::{InstanceLog, StageLog};
use super::sandbox::{self, State};
use crate::config::{Limits, StageConfig};
use crate::contract::{Contract, Given};
use crate::digest::{digest, short};
use crate::error::{Error, ErrorKind, Result};

/// How often running plugins are asked whether their time is over.
const TICK: Duration = Duration::from_millis(5);
/// Most memory for `describe`, which has no stage's limits yet.
const DESCRIBE_MEMORY_BYTES: u64 = 512 * 1024 * 1024;
/// The largest plugin. Python and JavaScript make components of 10 to 20 MB.
pub const PLUGIN_MAX_BYTES: usize = 256 * 1024 * 1024;
/// The stack of a plugin's own code.
const STACK_BYTES: usize = 1024 * 1024;
/// Most frames of a trap's backtrace.
const BACKTRACE_MAX_FRAMES: usize = 16;

/// The interface's package and version: plugins of another minor version do not fit.
const INTERFACE: &str = "millstream:stage";
const INTERFACE_VERSION: &str = "0.1.";
/// The WASI packages that every plugin may import; nothing of them is granted.
const WASI: [&str; 6] = ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];
const WASI_VERSION: &str = "0.2.";

/// What compiles and runs plugins: one a process.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Arc<Linker<State>>,
    cache: Option<CodeCache>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine, and the thread that watches deadlines, which ends with it.
    ///
    /// # Errors
    /// `Internal` when the machine cannot run compiled WebAssembly.
    pub fn new() -> Result<Self> {
        let failed = |error: wasmtime::Error| {
            Error::new(ErrorKind::Internal, "cannot start the WebAssembly engine").caused_by(error)
        };
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .max_wasm_stack(STACK_BYTES)
            .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_MAX_FRAMES))
            // A plugin's own message says the line; to look it up for each frame costs as much as the trap itself.
            .wasm_backtrace_details(WasmBacktraceDetails::Disable)
            .generate_address_map(false)
            .relaxed_simd_deterministic(true);
        let engine = wasmtime::Engine::new(&config).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        sandbox::link(&mut linker).map_err(failed)?;
        let watched = engine.weak();
        let ticker = move || {
            while let Some(engine) = watched.upgrade() {
                engine.increment_epoch();
                drop(engine);
                #[expect(clippy::disallowed_methods, reason = "the pace of the deadlines")]
                std::thread::sleep(TICK);
            }
        };
        let spawned = std::thread::Builder::new().name("plugin-deadlines".to_owned()).spawn(ticker);
        spawned.map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot start the thread that watches plugins").caused_by(error)
        })?;
        Ok(Self { engine, linker: Arc::new(linker), cache: None })
    }

    /// Keeps compiled code in a folder, and takes it from there. A folder that others can write to, or that cannot be
    /// used, is left alone with a warning: then plugins are compiled at every start.
    pub fn with_cache(mut self, folder: &Path) -> Self {
        self.cache = CodeCache::open(folder)
            .inspect_err(|why| {
                let folder = folder.display();
                tracing::warn!(%folder, "the folder of compiled plugins is not used, they are compiled: {why}");
            })
            .ok();
        self
    }

    /// Compiles a plugin and checks what it imports and exports. `origin` says where the bytes come from, in messages.
    ///
    /// # Errors
    /// `Plugin` when the bytes are no component, not of this interface, or ask for more than the host gives.
    pub fn load(&self, bytes: &[u8], origin: &str) -> Result<Arc<Plugin>> {
        is_component(bytes, origin)?;
        let wrong = |message: String| Error::new(ErrorKind::Plugin, format!("{origin} {message}"));
        let digest = digest(bytes);
        let kept = self.cache.as_ref().and_then(|cache| component::kept(cache, &self.engine, &digest));
        let from_cache = kept.is_some();
        let component = match kept {
            Some(component) => component,
            None => {
                tracing::info!(plugin = origin, digest = short(&digest), bytes = bytes.len(), "a plugin is compiled");
                Component::new(&self.engine, bytes)
                    .map_err(|error| wrong("is not a valid WebAssembly component".to_owned()).caused_by(error))?
            }
        };
        let ty = component.component_type();
        let imports: Vec<String> = ty.imports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        let exports: Vec<String> = ty.exports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        let unknown: Vec<&str> = imports.iter().map(String::as_str).filter(|import| !is_known(import)).collect();
        if !unknown.is_empty() {
            let message = format!("imports what Millstream does not have: {}", unknown.join(", "));
            return Err(wrong(message).help(
                "a plugin may import millstream:stage 0.1 and WASI 0.2 (cli, clocks, filesystem, io, random, sockets; \
                 nothing of them is granted); switch the feature that needs more off when you build it",
            ));
        }
        if !exports.iter().any(|export| is_of(export, INTERFACE, INTERFACE_VERSION, Some("transform"))) {
            let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            return Err(wrong(format!("does not export millstream:stage/transform@0.1.0; it exports {exports}"))
                .help("with the SDK: `millstream_sdk::export!(YourStage);`"));
        }
        let pre = self.linker.instantiate_pre(&component).and_then(StagePre::new).map_err(|error| {
            wrong("does not fit this version of the plugin interface".to_owned())
                .caused_by(error)
                .help("build it against wit/stage.wit of this release")
        })?;
        if let Some(cache) = self.cache.as_ref().filter(|_| !from_cache) {
            component::keep(cache, &self.engine, &digest, &component);
        }
        tracing::debug!(%digest, from_cache, "plugin loaded");
        Ok(Arc::new(Plugin {
            origin: origin.to_owned(),
            digest,
            from_cache,
            size_bytes: bytes.len() as u64,
            imports,
            exports,
            pre,
            logs: Mutex::default(),
        }))
    }
}

/// Tells a component from other things that end in `.wasm`.
fn is_component(bytes: &[u8], origin: &str) -> Result<()> {
    let wrong = |message: &str| Error::new(ErrorKind::Plugin, format!("{origin} {message}"));
    if bytes.len() > PLUGIN_MAX_BYTES {
        return Err(wrong(&format!("is {} bytes long, more than {PLUGIN_MAX_BYTES}", bytes.len())));
    }
    match bytes {
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(wrong("is a core WebAssembly module, not a component")
            .help("build it with --target wasm32-wasip2, or wrap it with `wasm-tools component new`")),
        [] => Err(wrong("is empty").help("was the file read while it was being written?")),
        _ => Err(wrong("is not a WebAssembly component").help("`millstream plugin build` makes one")),
    }
}

fn is_known(import: &str) -> bool {
    is_of(import, INTERFACE, INTERFACE_VERSION, None)
        || WASI.iter().any(|package| is_of(import, package, WASI_VERSION, None))
}

/// Whether a name such as `wasi:io/streams@0.2.6` is of a package, a version (all that begin so) and an interface.
fn is_of(name: &str, package: &str, version: &str, interface: Option<&str>) -> bool {
    let parts =
        name.strip_prefix(package).and_then(|rest| rest.strip_prefix('/')).and_then(|rest| rest.split_once('@'));
    parts.is_some_and(|(found, at)| at.starts_with(version) && interface.is_none_or(|interface| interface == found))
}

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// A JSON Schema of its config.
    pub config_schema: Option<String>,
}

/// Why a plugin gave no instance.
#[derive(Debug)]
pub enum NotStarted {
    /// It refuses the configuration; in its own words.
    Refused(String),
    /// It crashes, declares nonsense, or needs more memory than it may have.
    Failed(Error),
}

/// A loaded plugin.
pub struct Plugin {
    origin: String,
    digest: String,
    from_cache: bool,
    size_bytes: u64,
    imports: Vec<String>,
    exports: Vec<String>,
    pre: StagePre<State>,
    logs: Mutex<HashMap<String, Arc<StageLog>>>,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("origin", &self.origin).field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Plugin {
    /// The SHA-256 of its bytes, in lower-case hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether it was compiled at an earlier start, and its code kept.
    pub fn is_from_cache(&self) -> bool {
        self.from_cache
    }

    /// Where its bytes came from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The size of its bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The interfaces that it imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The interfaces that it exports.
    pub fn exports(&self) -> &[String] {
        &self.exports
    }

    /// Asks the plugin what it is.
    ///
    /// # Errors
    /// `Plugin` when it crashes over that.
    pub fn describe(&self) -> Result<About> {
        let about = Instance::new(
            &self.pre,
            &InstanceLog::new(self.log_of("describe"), Limits::default().log, None),
            DESCRIBE_MEMORY_BYTES,
        )
        .and_then(|mut instance| instance.describe())
        .map_err(|failure| self.failed(&failure).within("describe"))?;
        Ok(About { name: about.name, version: about.version, config_schema: about.config_schema })
    }

    /// A new, configured instance for a stage, and its contract. Here, and only here, the config's secrets get their
    /// values; what the plugin says from now on is shown without them.
    ///
    /// # Errors
    /// `Config` when the plugin refuses the configuration, with its own words; `Plugin` when it crashes, declares
    /// nonsense, or needs more memory than it may have.
    pub fn instantiate(
        &self,
        stage: &str,
        config: impl Into<StageConfig>,
        given: &Given,
        limits: &Limits,
    ) -> Result<(Instance, Contract)> {
        let of_stage = |error: Error| error.within(format!("stage \"{stage}\""));
        self.start(stage, config, given, limits).map_err(|not_started| match not_started {
            NotStarted::Refused(words) => {
                of_stage(Error::new(ErrorKind::Config, format!("the plugin refuses its configuration: {words}")))
            }
            NotStarted::Failed(error) => of_stage(error),
        })
    }

    /// As [`Plugin::instantiate`], for those who say themselves which stage it is.
    ///
    /// # Errors
    /// What the plugin says, or what is wrong with it.
    pub fn start(
        &self,
        stage: &str,
        config: impl Into<StageConfig>,
        given: &Given,
        limits: &Limits,
    ) -> Result<(Instance, Contract), NotStarted> {
        let failed = |failure: Failure| NotStarted::Failed(self.failed(&failure));
        let config = config.into();
        let log = InstanceLog::new(self.log_of(stage), limits.log, Some(&config));
        let mut instance = Instance::new(&self.pre, &log, limits.memory_bytes).map_err(failed)?;
        match instance.configure(&config, given).map_err(failed)? {
            Ok(contract) => Ok((instance, contract)),
            Err(refused) => Err(NotStarted::Refused(refused)),
        }
    }

    fn failed(&self, failure: &Failure) -> Error {
        let mut message = match failure {
            Failure::Broken(wrong) => format!("{} declares a contract that is wrong: {wrong}", self.origin),
            failure => format!("{} cannot be started: {failure}", self.origin),
        };
        if let Failure::Trap { backtrace, .. } = failure {
            message = format!("{message}\n{backtrace}");
        }
        let error = Error::new(ErrorKind::Plugin, message);
        match failure {
            Failure::OutOfMemory { .. } => error.help("raise `limits = { memory = \"..\" }` of the stage"),
            _ => error,
        }
    }

    fn log_of(&self, stage: &str) -> Arc<StageLog> {
        let mut logs = self.logs.lock();
        Arc::clone(logs.entry(stage.to_owned()).or_insert_with(|| Arc::new(StageLog::new(stage, &self.digest))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_known_by_package_and_version() {
        assert!(is_known("wasi:io/streams@0.2.6") && is_known("millstream:stage/log@0.1.0"));
        for unknown in
            ["wasi:io/streams@0.3.0", "wasi:http/types@0.2.6", "wasi:iox/a@0.2.0", "millstream:stage/log@0.2.0", "env"]
        {
            assert!(!is_known(unknown), "{unknown}");
        }
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        let message = |bytes: &[u8]| is_component(bytes, "a.wasm").unwrap_err().to_string();
        assert_eq!(message(b""), "a.wasm is empty");
        assert_eq!(message(b"\0asm\x01\0\0\0"), "a.wasm is a core WebAssembly module, not a component");
        assert_eq!(message(b"\0asm\x0d\0"), "a.wasm is not a WebAssembly component");
        assert!(is_component(b"\0asm\x0d\0\x01\0", "a.wasm").is_ok());
    }
}
