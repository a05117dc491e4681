//! The binary `millstream`.

use std::process::ExitCode;

use libmimalloc_sys::{_mi_option_last, mi_option_set_default, mi_option_t};

/// Of Rust and C code alike: librdkafka's and RocksDB's small allocations cost less with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's `minimal_purge_size` in KiB, for which libmimalloc-sys has no name: `mi_option_e` in its mimalloc.h.
const MINIMAL_PURGE_SIZE: mi_option_t = 44;
const _: () = assert!(_mi_option_last == 47, "mimalloc's options are others: look where minimal_purge_size is now");

/// Memory is given back in whole huge pages. Of pieces of one Linux makes a whole one again, now or later, so that the
/// memory of a host that stands behind a slow sink goes up and down: docs/reliability-environment.md.
const HUGE_PAGE_KIB: std::ffi::c_long = 2048;

fn main() -> ExitCode {
    // SAFETY: sets a number, before there is another thread. What the environment says (`MIMALLOC_MINIMAL_PURGE_SIZE`) stays.
    #[allow(unsafe_code)]
    unsafe {
        mi_option_set_default(MINIMAL_PURGE_SIZE, HUGE_PAGE_KIB);
    }
    millstream::cli::main()
}
