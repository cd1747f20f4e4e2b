//! Reading the files that people name: regular ones, no larger than a person or a program would write them.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

/// A hundred times what a long job needs. A file that grows without end must not be read to its end.
pub const LARGEST: u64 = 4 << 20;

/// The bytes of a file.
///
/// A pipe without a writer would be waited for until somebody comes, and a device may never end: both are refused.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let about = fs::metadata(path)?;
    if !about.is_file() && !about.is_dir() {
        return Err(io::Error::other("it is a pipe, a socket or a device, not a file"));
    }
    read_whatever(path)
}

fn read_whatever(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(bytes)
}

/// The text of a file.
pub fn read_text(path: &Path) -> io::Result<String> {
    text(read(path)?)
}

/// The text of what may also be a pipe: somebody named it, and its writer is there or will come.
pub fn read_text_or_pipe(path: &Path) -> io::Result<String> {
    text(read_whatever(path)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}
