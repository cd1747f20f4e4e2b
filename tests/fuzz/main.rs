//! Input that nobody meant: whatever a file or a server's answer holds, warmd says what is wrong with it, at once and in
//! bounded memory. `scripts/fuzz` looks for longer.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, missing_docs)]

mod driver;
mod jobs;
mod keys;
mod mutate;
mod replies;
mod schedules;
mod settings;
mod statements;

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
