//! Everything that needs a real server, in one binary: each server is started once.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, missing_docs)]

mod check;
mod cli;
mod commands;
mod daemon;
mod database;
mod differential;
mod docs;
mod faults;
mod guards;
mod history;
mod hostile;
mod http;
mod init;
mod load;
mod mistakes;
mod monitoring;
mod output;
mod package;
mod page;
mod privileges;
mod query;
mod recall;
mod retail;
mod schema;
mod secrets;
mod servers;
mod status;
mod terminal;
mod tls;
mod traces;
mod usefulness;
mod wait;
mod warm;
mod world;
