//! Everything that needs a real server, in one binary: each server is started once.
#![allow(clippy::unwrap_used, missing_docs)]

mod database;
mod recall;
mod servers;
