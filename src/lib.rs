//! warmd keeps a Redis cache warm from a SQL database.
//!
//! The modules, in the order of the data:
//!
//! ```text
//! settings   how this process is set up                 typed, layered, secrets masked
//! problems   mistakes in files, all in one pass         file:line:column
//! files      reading what people name                   regular files, of a bounded size
//! tls        certificates, and handshakes that failed   for databases and Redis alike
//! schema     the same files, as editors know them       JSON Schema
//! job        what to warm, parsed and valid             schedule, key, TTL, refresh, kind, limits
//! database   the only place that knows SQL engines      named parameters, rows as cells
//! throttle   how fast                                   quotas, and the pace that servers bear
//! reader     one run's access to its database           retries, counts
//! id         what users, products, categories are called
//! targets    for whom                                   batches of the cross product
//! produce    what                                       query, trending, recommend, similar
//! cache      the only place that knows Redis            presence, write, leases, the index to prune by
//! run        one run, top to bottom                     guards, prune, usefulness; returns a record
//! record     what happened
//! traces     where its time went                        spans for OpenTelemetry
//! history    where records are kept
//! scheduler  when                                       ticks, overlap, catch-up, lease, drain
//! systemd    what the service manager is told
//! monitor    beside the runs                            Redis, coverage of keys, alerts
//! init       a first set of jobs                        tables judged, files written
//! http       what the daemon tells and takes over HTTP   metrics, health, API
//! cli        one file per command
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cache;
pub mod cli;
pub mod database;
pub mod files;
pub mod history;
pub mod http;
pub mod id;
pub mod init;
pub mod job;
pub mod monitor;
pub mod problems;
pub mod produce;
pub mod reader;
pub mod record;
pub mod run;
pub mod scheduler;
pub mod schema;
pub mod settings;
pub mod systemd;
pub mod targets;
pub mod telemetry;
pub mod throttle;
pub mod tls;
pub mod traces;
