//! The tables of a job file as they are written; docs/jobs.md describes every key.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected},
};

use super::{
    CatchUp, Each, Empty, Of, Refresh,
    duration::{Percent, Span},
    file::{LARGEST_BATCH, LARGEST_VALUE, MOST_CONCURRENCY},
    kinds::{MOST_CONNECTIONS, MOST_EVENTS},
};
use crate::{
    id::Id,
    problems::{At, unknown},
};

/// As much of a schedule as can be seen without knowing what each field may hold.
const SCHEDULE: &str =
    r"^ *(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|@every +\d.*|[^ @]+( +[^ ]+){4,5}) *$";

/// Literal braces are doubled; others hold a variable.
const KEY: &str = r"^([^{}\x00-\x1f]|\{\{|\}\}|\{\w+\})+$";

/// The whole file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    // What a job computes, exactly one.
    "oneOf" = [
        { "required": ["recommend"] },
        { "required": ["trending"] },
        { "required": ["similar"] },
        { "required": ["query"] },
    ],
    "allOf" = [
        {
            "if": { "required": ["recommend"] },
            "then": {
                "required": ["targets"],
                "properties": {
                    "targets": { "required": ["user_id"], "propertyNames": { "enum": ["user_id", "category"] } },
                },
            },
        },
        {
            "if": { "required": ["trending"] },
            "then": { "properties": { "targets": { "propertyNames": { "enum": ["category"] } } } },
        },
        {
            "if": { "required": ["similar"] },
            "then": { "properties": { "targets": { "propertyNames": { "enum": ["product_id", "user_id"] } } } },
        },
    ],
    "dependencies" = { "start_jitter": ["schedule"] },
))]
pub(super) struct File {
    /// What the job is for.
    pub description: Option<String>,
    /// false: validated, and run only when it is named. Default: true.
    pub enabled: Option<bool>,
    /// One of the settings' `databases.NAME`. Default: the settings' `database`.
    #[schemars(with = "Option<String>")]
    pub database: Option<At<String>>,
    /// When: cron with five fields or six (seconds first), @hourly and the like, or "@every 15m". Left out: by hand.
    #[schemars(
        with = "Option<String>",
        regex(pattern = SCHEDULE),
        extend("examples" = ["*/15 * * * *", "@hourly", "@every 15m"])
    )]
    pub schedule: Option<At<String>>,
    /// The IANA name of the time zone in which the schedule is read. Default: UTC.
    #[schemars(
        with = "Option<String>",
        regex(pattern = "^[A-Za-z][A-Za-z0-9_+/-]*$"),
        extend("examples" = ["UTC", "Europe/Berlin", "America/New_York"])
    )]
    pub timezone: Option<At<String>>,
    /// Whether the newest tick that passed while no daemon ran runs at once. Default: "once".
    pub catch_up: Option<CatchUp>,
    /// Starts after each tick by up to this, always the same for a job's name. Default: "0s".
    #[schemars(with = "Option<Span>")]
    pub start_jitter: Option<At<Span>>,
    /// The key: {name} is a target list, a column of a query without targets, or {limit}; {{ and }} are braces.
    #[schemars(with = "String", regex(pattern = KEY), length(max = 1024), extend("examples" = ["user:{user_id}"]))]
    pub key: Option<At<String>>,
    /// The longest life of an entry, at least 1s.
    #[schemars(with = "Span")]
    pub ttl: Option<At<Span>>,
    /// An entry may live shorter by up to this share, so that keys written together do not expire together. Default:
    /// "0%".
    pub ttl_jitter: Option<Percent>,
    /// Which keys a run writes: "missing" ones; "auto", also those that would expire before the next run can renew them;
    /// those with less than "20%" of their TTL left; or "always" every key. Default: "auto".
    pub refresh: Option<Refresh>,
    /// What happens to a target for which nothing was found. Default: "skip".
    pub empty: Option<Empty>,
    /// How much less there may be than before. Default: "90%".
    pub max_shrink: Option<Percent>,
    /// Whether keys are removed to which no target leads any more. Default: false.
    pub prune: Option<bool>,
    /// For whom: the cross product of these lists, in the order written.
    #[serde(default)]
    #[schemars(
        with = "BTreeMap<String, TargetTable>",
        extend("maxProperties" = 16, "propertyNames" = { "not": { "enum": ["now", "since", "limit"] } })
    )]
    pub targets: BTreeMap<At<String>, At<TargetTable>>,
    /// Products for users: collaborative filtering, blended with what is popular.
    #[schemars(with = "Option<RecommendTable>")]
    pub recommend: Option<At<RecommendTable>>,
    /// What is popular now, overall and in each category.
    #[schemars(with = "Option<TrendingTable>")]
    pub trending: Option<At<TrendingTable>>,
    /// Products that the same people buy, or users who buy the same products.
    #[schemars(with = "Option<SimilarTable>")]
    pub similar: Option<At<SimilarTable>>,
    /// Rows that become values.
    #[schemars(with = "Option<QueryTable>")]
    pub query: Option<At<QueryTable>>,
    /// How fast, how long.
    #[serde(default)]
    pub limits: LimitsTable,
}

/// A list of values.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["sql"] }, { "required": ["also"] }]))]
pub(super) struct TargetTable {
    /// A file beside the job or the statement itself; its only column, or the one named like the list, holds the values.
    #[schemars(with = "Option<String>", length(min = 1))]
    pub sql: Option<At<String>>,
    /// The statement's :limit.
    pub limit: Option<NonZeroU32>,
    /// The statement's :since is :now minus this.
    pub window: Option<Span>,
    /// Values that are always in the list, after those of the statement.
    #[serde(default)]
    pub also: Vec<Literal>,
}

/// Who did what, and when.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsTable {
    /// A file beside the job or the statement itself, with the columns user_id, product_id and, if wanted, at and weight.
    #[schemars(with = "String", length(min = 1))]
    pub sql: At<String>,
    /// What one event counts. Default: 1.0.
    #[schemars(with = "Option<f64>", extend("exclusiveMinimum" = 0))]
    pub weight: Option<At<f64>>,
    /// Whether exclude_purchased goes by them. Default: true for the heaviest ones.
    pub purchase: Option<bool>,
    /// Database connections that read them, each its own users' events in one snapshot; above 1 with PostgreSQL only.
    /// Default: 1.
    #[schemars(with = "Option<NonZeroU32>", range(max = MOST_CONNECTIONS))]
    pub connections: Option<At<NonZeroU32>>,
}

/// Rows that become values.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryTable {
    /// A file beside the job or the statement itself. With targets it must use at least one: IN (:user_id).
    #[schemars(with = "String", length(min = 1))]
    pub sql: Option<At<String>>,
    /// Whether one row makes a value, or all rows of a key do. Default: "row".
    pub each: Option<Each>,
    /// The statement's :limit, and {limit} in the key.
    pub limit: Option<NonZeroU32>,
    /// The statement's :since is :now minus this.
    pub window: Option<Span>,
    /// Columns that hold JSON as text.
    #[serde(default)]
    pub json: Vec<String>,
}

/// What is popular now.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TrendingTable {
    /// Entries of a list; {limit} in the key. Default: 10.
    pub limit: Option<NonZeroU32>,
    /// The statements' :since is :now minus this.
    pub window: Option<Span>,
    /// Who did what, and when.
    #[schemars(with = "Vec<EventsTable>", length(min = 1, max = MOST_EVENTS))]
    pub events: Option<Vec<EventsTable>>,
    /// A file beside the job or the statement itself, with the columns product_id, category and what else is wanted.
    #[schemars(with = "Option<String>", length(min = 1))]
    pub products: Option<At<String>>,
    /// The age at which an event counts half. Default: "2d".
    #[schemars(with = "Option<Span>")]
    pub half_life: Option<At<Span>>,
    /// The category value that means all categories. Default: "None".
    pub any_category: Option<Literal>,
    /// Columns of products that hold JSON as text.
    #[serde(default)]
    pub json: Vec<String>,
}

/// Products for users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecommendTable {
    /// Entries of a list; {limit} in the key. Default: 10.
    pub limit: Option<NonZeroU32>,
    /// The statements' :since is :now minus this.
    pub window: Option<Span>,
    /// Who did what, and when.
    #[schemars(with = "Vec<EventsTable>", length(min = 1, max = MOST_EVENTS))]
    pub events: Option<Vec<EventsTable>>,
    /// A file beside the job or the statement itself, with the columns product_id, category and what else is wanted.
    #[schemars(with = "Option<String>", length(min = 1))]
    pub products: Option<At<String>>,
    /// The age at which an event of the user's own history counts half. Default: "60d".
    #[schemars(with = "Option<Span>")]
    pub half_life: Option<At<Span>>,
    /// Items of a user that count, those with the most recent event first. Default: 300.
    pub history: Option<NonZeroU32>,
    /// The age at which an event counts half for what is popular. Default: "14d".
    #[schemars(with = "Option<Span>")]
    pub trending_half_life: Option<At<Span>>,
    /// The part of a score that comes from what is popular. Default: "15%".
    pub trending: Option<Percent>,
    /// Similar products that are kept for each product. Default: 50.
    pub neighbours: Option<NonZeroU32>,
    /// Whether a list leaves out what the user has bought. Default: false.
    pub exclude_purchased: Option<bool>,
    /// The category value that means all categories. Default: "None".
    pub any_category: Option<Literal>,
    /// Columns of products that hold JSON as text.
    #[serde(default)]
    pub json: Vec<String>,
}

/// What is alike.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SimilarTable {
    /// What is compared, and so the key's variable: {product_id} or {user_id}.
    #[schemars(with = "Of")]
    pub of: Option<Of>,
    /// Items of a user that count, those with the most recent event first. Default: 300.
    pub history: Option<NonZeroU32>,
    /// Entries of a list; {limit} in the key. Default: 10.
    pub limit: Option<NonZeroU32>,
    /// The statements' :since is :now minus this.
    pub window: Option<Span>,
    /// Who did what, and when.
    #[schemars(with = "Vec<EventsTable>", length(min = 1, max = MOST_EVENTS))]
    pub events: Option<Vec<EventsTable>>,
    /// A file beside the job or the statement itself, with the columns product_id and what else is wanted.
    #[schemars(with = "Option<String>", length(min = 1))]
    pub products: Option<At<String>>,
    /// Columns of products that hold JSON as text.
    #[serde(default)]
    pub json: Vec<String>,
}

/// How fast, how long.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    /// Keys written a second.
    pub keys_per_second: Option<NonZeroU32>,
    /// Statements sent a second.
    pub queries_per_second: Option<NonZeroU32>,
    /// Batches at once. Default: 4.
    #[schemars(with = "Option<NonZeroU32>", range(max = MOST_CONCURRENCY))]
    pub concurrency: Option<At<NonZeroU32>>,
    /// The longest run; it ends at a safe point. Default: "10m".
    #[schemars(with = "Option<Span>")]
    pub timeout: Option<At<Span>>,
    /// Keys of a batch: one freshness pipeline, one statement, one write. Default: 500.
    #[schemars(with = "Option<NonZeroU32>", range(max = LARGEST_BATCH))]
    pub batch: Option<At<NonZeroU32>>,
    /// Bytes of values that a run writes at most.
    pub max_bytes: Option<NonZeroU64>,
    /// The largest value in bytes; a larger one is an error of its target. Default: the settings'.
    #[schemars(with = "Option<NonZeroU32>", range(max = LARGEST_VALUE))]
    pub max_value_bytes: Option<At<NonZeroU32>>,
}

/// A target value in a file: text or a whole number.
pub(super) struct Literal(pub Id);

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(Id::from(text))),
            toml::Value::Integer(number) => Ok(Self(Id::Int(number))),
            other => Err(D::Error::invalid_type(Unexpected::Other(other.type_str()), &"a string or an integer")),
        }
    }
}

impl JsonSchema for Literal {
    fn schema_name() -> Cow<'static, str> {
        "Literal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

impl File {
    /// The names of the target lists.
    pub fn target_names(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(|name| name.get_ref().as_str())
    }
}

/// Reads a word of a closed set, so that a wrong one is answered with the likely meant.
fn word<'de, D: Deserializer<'de>, T: Copy>(deserializer: D, words: &[(&str, T)]) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    words.iter().find(|(known, _)| *known == text).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        D::Error::custom(unknown("value", &text, &known))
    })
}

impl<'de> Deserialize<'de> for Each {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, &[("row", Self::Row), ("list", Self::List)])
    }
}

impl<'de> Deserialize<'de> for CatchUp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, &[("once", Self::Once), ("none", Self::None)])
    }
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, &[("skip", Self::Skip), ("store", Self::Store)])
    }
}

impl<'de> Deserialize<'de> for Of {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, &[("products", Self::Products), ("users", Self::Users)])
    }
}
