//! A job and its parts, parsed and valid: inner code has nothing left to check.

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    time::Duration,
};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;

use crate::id::Id;

pub mod duration;
mod file;
mod freshness;
mod key;
mod kinds;
mod load;
mod schedule;
mod shown;
mod sql;
mod tables;

pub use file::LARGEST_VALUE;
pub use freshness::{Refresh, Ttl, cold_warning, margin};
pub use key::{KeyTemplate, MAX_VALUE_CHARACTERS};
pub use load::{Dialects, load, load_file, select};
pub use schedule::Schedule;
pub use shown::SHOWN_TICKS;
pub use sql::{Origin, Sql};

/// The JSON Schema of a job file.
pub fn schema() -> serde_json::Value {
    crate::schema::of::<tables::File>("Job of warmd")
}

/// One definition file.
#[derive(Debug, Clone)]
pub struct Job {
    /// The file's stem.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What the job is for, in the words of its author.
    pub description: String,
    /// False for a job that is kept but not run.
    pub enabled: bool,
    /// The name of a `[databases.NAME]`, or `None` for `[database]`.
    pub database: Option<String>,
    /// When; a job without a schedule runs by hand only.
    pub schedule: Option<Schedule>,
    /// What becomes of ticks that nobody was there for.
    pub catch_up: CatchUp,
    /// The longest delay after a tick; which one it is follows from the job's name.
    pub start_jitter: Duration,
    /// The key; its variables are target names, or columns when there are no targets.
    pub key: KeyTemplate,
    /// Line and column of the key in the file.
    pub key_position: (usize, usize),
    /// How long an entry lives.
    pub ttl: Ttl,
    /// Which keys a run writes.
    pub refresh: Refresh,
    /// What happens to a target for which nothing was found.
    pub empty: Empty,
    /// The share by which keys and values may become fewer from one run to the next, 0.0 to 1.0.
    pub max_shrink: f64,
    /// Whether keys that no target leads to any more are removed.
    pub prune: bool,
    /// For whom: the cross product of these lists, in the order written.
    pub targets: Vec<TargetList>,
    /// What to compute.
    pub kind: Kind,
    /// How fast, how long.
    pub limits: Limits,
}

impl Job {
    /// The names by which `--only` can speak of this job's targets.
    pub fn target_names(&self) -> Vec<String> {
        if self.targets.is_empty() {
            return self.key.variables().map(str::to_owned).collect();
        }
        self.targets.iter().map(|list| list.name.clone()).collect()
    }

    /// Whether the job makes lists by category.
    pub fn has_categories(&self) -> bool {
        self.targets.iter().any(|list| list.name == "category")
    }

    /// Every statement of the job, in the order in which a run needs them.
    pub fn statements(&self) -> Vec<&Sql> {
        let mut statements: Vec<&Sql> = self.targets.iter().filter_map(|list| list.sql.as_ref()).collect();
        let (events, products) = match &self.kind {
            Kind::Query(query) => {
                statements.push(&query.sql);
                return statements;
            }
            Kind::Trending(job) => (&job.events, &job.products),
            Kind::Recommend(job) => (&job.events, &job.products),
            Kind::Similar(job) => (&job.events, &job.products),
        };
        statements.extend(events.iter().map(|events| &events.sql));
        statements.extend(products);
        statements
    }

    /// The columns that each statement must have.
    pub fn required_columns(&self) -> Vec<(&Sql, &str)> {
        let mut required = Vec::new();
        let (events, products) = match &self.kind {
            Kind::Query(query) if self.targets.is_empty() => {
                required.extend(self.key.variables().map(|name| (&query.sql, name)));
                return required;
            }
            Kind::Query(query) => {
                required.extend(self.targets.iter().map(|list| (&query.sql, list.name.as_str())));
                return required;
            }
            Kind::Trending(job) => (&job.events, &job.products),
            Kind::Recommend(job) => (&job.events, &job.products),
            Kind::Similar(job) => (&job.events, &job.products),
        };
        required.extend(events.iter().flat_map(|events| [(&events.sql, "user_id"), (&events.sql, "product_id")]));
        required.extend(products.iter().map(|sql| (sql, "product_id")));
        if self.has_categories() {
            required.extend(products.iter().map(|sql| (sql, "category")));
        }
        required
    }

    /// How long after its ticks this job starts: stable, so that its distance between runs does not change, and every
    /// instance waits alike.
    pub fn start_delay(&self) -> Duration {
        self.start_jitter.mul_f64(freshness::fraction(&self.name))
    }

    /// What schedule and TTL leave cold, in words.
    pub fn cold_warning(&self, from: DateTime<Utc>) -> Option<String> {
        cold_warning(self.schedule.as_ref()?, self.ttl, self.refresh, from)
    }
}

/// What becomes of ticks that passed while no daemon was running, or while the machine slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum CatchUp {
    /// The newest of them is made up for, at once.
    #[default]
    Once,
    /// The job waits for its next tick.
    None,
}

/// One list of target values.
#[derive(Debug, Clone)]
pub struct TargetList {
    /// The name, as used in the key and in SQL.
    pub name: String,
    /// The statement whose first column holds the values.
    pub sql: Option<Sql>,
    /// Values that are always in the list, after those of the statement.
    pub also: Vec<Id>,
}

/// What happens to a target for which nothing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Empty {
    /// Nothing is written: yesterday's list beats an empty one.
    #[default]
    Skip,
    /// An empty value is written: it spares the reader a query that finds nothing.
    Store,
}

/// What a job computes.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Rows become values.
    Query(Query),
    /// What is popular now.
    Trending(Trending),
    /// Lists for users, by what people with the same products chose.
    Recommend(Recommend),
    /// Items that go together, or users that are alike.
    Similar(Similar),
}

impl Kind {
    /// What stands for "nothing was found", in a job that stores it.
    pub fn empty_value(&self) -> &'static [u8] {
        match self {
            Self::Query(query) if query.each == Each::Row => b"null",
            _ => b"[]",
        }
    }

    /// The kind's table in a job file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Query(_) => "query",
            Self::Trending(_) => "trending",
            Self::Recommend(_) => "recommend",
            Self::Similar(_) => "similar",
        }
    }
}

/// Rows become values.
#[derive(Debug, Clone)]
pub struct Query {
    /// The statement.
    pub sql: Sql,
    /// How rows make a value.
    pub each: Each,
    /// Columns that hold JSON as text.
    pub json: Vec<String>,
}

/// How rows make a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Each {
    /// One row, one object.
    #[default]
    Row,
    /// A key's rows in order, gathered in a list.
    List,
}

/// What is popular now.
#[derive(Debug, Clone)]
pub struct Trending {
    /// Entries a list.
    pub limit: u32,
    /// What people did.
    pub events: Vec<Events>,
    /// Details of products.
    pub products: Option<Sql>,
    /// The age at which an event counts half.
    pub half_life: Duration,
    /// The category value that means "no filter".
    pub any_category: Id,
    /// Columns of the products that hold JSON as text.
    pub json: Vec<String>,
}

/// Lists for users, by what people with the same products chose.
#[derive(Debug, Clone)]
pub struct Recommend {
    /// Entries a list.
    pub limit: u32,
    /// What people did.
    pub events: Vec<Events>,
    /// Details of products.
    pub products: Option<Sql>,
    /// The age at which an event of the user's own history counts half.
    pub half_life: Duration,
    /// Items of a user that count, the most recent first.
    pub history: u32,
    /// The age at which an event counts half for what is popular now.
    pub trending_half_life: Duration,
    /// The share of a score that comes from what is popular now, 0.0 to 1.0.
    pub trending: f64,
    /// How many similar products are kept for each product.
    pub neighbours: u32,
    /// Whether a list leaves out what the user has bought.
    pub exclude_purchased: bool,
    /// The category value that means "no filter".
    pub any_category: Id,
    /// Columns of the products that hold JSON as text.
    pub json: Vec<String>,
}

/// Items that go together, or users that are alike.
#[derive(Debug, Clone)]
pub struct Similar {
    /// Of what.
    pub of: Of,
    /// Items of a user that count, the most recent first.
    pub history: u32,
    /// Entries a list.
    pub limit: u32,
    /// What people did.
    pub events: Vec<Events>,
    /// Details of products.
    pub products: Option<Sql>,
    /// Columns of the products that hold JSON as text.
    pub json: Vec<String>,
}

/// What a similar list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Of {
    /// Products bought by the same people.
    Products,
    /// Users who chose the same products.
    Users,
}

impl Of {
    /// The target that a list of this kind is for.
    pub fn target(self) -> &'static str {
        match self {
            Self::Products => "product_id",
            Self::Users => "user_id",
        }
    }
}

/// A statement that gives `user_id`, `product_id`, `at` and perhaps `weight`, a row an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// The statement.
    pub sql: Sql,
    /// What one event counts.
    pub weight: f32,
    /// Whether these events are purchases, which `exclude_purchased` goes by.
    pub purchase: bool,
    /// Database connections that read them, each its own users' events.
    pub connections: NonZeroU32,
}

/// How fast, how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Keys written a second; `None` is unlimited.
    pub keys_per_second: Option<NonZeroU32>,
    /// Statements a second; `None` is unlimited.
    pub queries_per_second: Option<NonZeroU32>,
    /// Batches, and so database connections, at once.
    pub concurrency: NonZeroU32,
    /// The longest run; it ends at a safe point.
    pub timeout: Duration,
    /// Keys a batch: one freshness pipeline, one statement, one write pipeline.
    pub batch: NonZeroU32,
    /// Bytes of values that a run writes at most.
    pub max_bytes: Option<NonZeroU64>,
    /// The largest value; `None` is that of the process.
    pub max_value_bytes: Option<NonZeroU32>,
}
