//! Everything that needs a real server, in one binary: each server is started once.
#![allow(clippy::unwrap_used, missing_docs)]

mod check;
mod cli;
mod daemon;
mod database;
mod differential;
mod faults;
mod guards;
mod history;
mod hostile;
mod http;
mod init;
mod load;
mod package;
mod privileges;
mod query;
mod recall;
mod retail;
mod schema;
mod servers;
mod tls;
mod usefulness;
mod warm;
mod world;
