//! warmd keeps a Redis cache warm from a SQL database.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod database;
pub mod id;
pub mod produce;
