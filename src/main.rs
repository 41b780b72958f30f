//! Arguments in, exit code out.

use std::process::ExitCode;

/// Thousands of connections make many small allocations of few sizes, which this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    muster::cli::main()
}
