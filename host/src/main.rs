//! The binary `millstream`.

use std::process::ExitCode;

/// Of Rust and C code alike: librdkafka's and RocksDB's small allocations cost less with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    millstream::cli::main()
}
