//! A first set of jobs for a database that nobody has described.
//!
//! ```text
//! catalogue ─► links ─► roles ─► times ─► statements ─► files
//! (database)   who      events,  windows  SQL in the    jobs and
//!              leads    users,            engine's      settings
//!              where    products          dialect
//! ```
//!
//! Everything but [`survey()`], [`verify()`] and [`write_all()`] is pure: a catalogue goes in, files come out.

use chrono::{DateTime, Utc};

use crate::database::Catalog;

pub mod categories;
mod files;
mod hints;
mod jobs;
pub mod links;
pub mod paths;
mod report;
pub mod roles;
mod statements;
mod survey;
#[cfg(test)]
mod tests;
pub mod times;
mod verify;
mod vocabulary;
mod words;
mod write;

pub use files::{Address, File, Servers, files};
pub use hints::{Flags, Hints};
pub use report::Finding;
use roles::{Events, Signal};
pub use survey::survey;
use times::{Extent, Form, TimeColumn};
pub use verify::verify;
pub use write::write_all;

/// What jobs are made of.
#[derive(Debug, Clone)]
pub struct Shop {
    /// All tables.
    pub catalog: Catalog,
    /// The events that count most, then others; never empty.
    pub sources: Vec<Source>,
    /// What products are sorted by.
    pub categories: Option<categories::Categories>,
    /// What stands for all categories, and is none of them.
    pub any_category: &'static str,
    /// The moment at which the database was looked at.
    pub now: DateTime<Utc>,
}

/// Events that jobs can read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where they stand and lead.
    pub events: Events,
    /// When they happened, where that can be told.
    pub time: Option<Time>,
}

/// When events happened.
#[derive(Debug, Clone)]
pub struct Time {
    /// The column that says so.
    pub column: TimeColumn,
    /// How its values are moments.
    pub form: Form,
    /// Since when, until when.
    pub extent: Extent,
}

impl Source {
    /// What the file of its statement is called.
    fn file(&self) -> String {
        match self.events.signal {
            Signal::Purchase => "purchases.sql".to_owned(),
            Signal::Interest("wish") => "wishes.sql".to_owned(),
            Signal::Interest(sign) => format!("{sign}s.sql"),
            Signal::Glance => "views.sql".to_owned(),
        }
    }
}
