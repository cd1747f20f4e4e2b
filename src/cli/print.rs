//! What commands print. Whoever closes the pipe has read enough: the command does its work and ends as it would have. A
//! disk that is full is an error.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
    sync::OnceLock,
};

use super::{Abort, OUTPUT};

/// Why nothing more is printed.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// A line for whoever asked; colours only where they are wanted.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::print::text(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line for whoever watches.
macro_rules! err {
    ($($text:tt)*) => { $crate::cli::print::notice(format_args!($($text)*)) };
}

/// As it is.
pub(super) fn text(text: impl fmt::Display) {
    if FAILURE.get().is_none() {
        let mut stdout = anstream::stdout().lock();
        keep(write!(stdout, "{text}").and_then(|()| stdout.flush()));
    }
}

/// Remembers why something could not be printed.
pub(super) fn keep(printed: io::Result<()>) {
    if let Err(error) = printed {
        let _ = FAILURE.set(error);
    }
}

pub(super) fn notice(text: fmt::Arguments<'_>) {
    // There is nobody else to tell.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// How a command ends that would have ended like this.
pub(super) fn ended(code: ExitCode) -> Result<ExitCode, Abort> {
    match FAILURE.get() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Abort { code: OUTPUT, message: format!("the output cannot be written: {error}") })
        }
        _ => Ok(code),
    }
}
