//! The tables of a job file as they are written; docs/jobs.md describes every key.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected},
};

use super::{
    CatchUp, Each, Empty, Of, Refresh,
    duration::{Percent, Span},
};
use crate::{
    id::Id,
    problems::{At, unknown},
};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub database: Option<At<String>>,
    pub schedule: Option<At<String>>,
    pub timezone: Option<At<String>>,
    pub catch_up: Option<CatchUp>,
    pub start_jitter: Option<At<Span>>,
    pub key: Option<At<String>>,
    pub ttl: Option<At<Span>>,
    pub ttl_jitter: Option<Percent>,
    pub refresh: Option<Refresh>,
    pub empty: Option<Empty>,
    pub max_shrink: Option<Percent>,
    pub prune: Option<bool>,
    #[serde(default)]
    pub targets: BTreeMap<At<String>, At<TargetTable>>,
    pub recommend: Option<At<RecommendTable>>,
    pub trending: Option<At<TrendingTable>>,
    pub similar: Option<At<SimilarTable>>,
    pub query: Option<At<QueryTable>>,
    #[serde(default)]
    pub limits: LimitsTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetTable {
    pub sql: Option<At<String>>,
    pub limit: Option<NonZeroU32>,
    pub window: Option<Span>,
    #[serde(default)]
    pub also: Vec<Literal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsTable {
    pub sql: At<String>,
    pub weight: Option<At<f64>>,
    pub purchase: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryTable {
    pub sql: Option<At<String>>,
    pub each: Option<Each>,
    pub limit: Option<NonZeroU32>,
    pub window: Option<Span>,
    #[serde(default)]
    pub json: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrendingTable {
    pub limit: Option<NonZeroU32>,
    pub window: Option<Span>,
    pub events: Option<Vec<EventsTable>>,
    pub products: Option<At<String>>,
    pub half_life: Option<At<Span>>,
    pub any_category: Option<Literal>,
    #[serde(default)]
    pub json: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecommendTable {
    pub limit: Option<NonZeroU32>,
    pub window: Option<Span>,
    pub events: Option<Vec<EventsTable>>,
    pub products: Option<At<String>>,
    pub half_life: Option<At<Span>>,
    pub history: Option<NonZeroU32>,
    pub trending_half_life: Option<At<Span>>,
    pub trending: Option<Percent>,
    pub neighbours: Option<NonZeroU32>,
    pub exclude_purchased: Option<bool>,
    pub any_category: Option<Literal>,
    #[serde(default)]
    pub json: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SimilarTable {
    pub of: Option<Of>,
    pub history: Option<NonZeroU32>,
    pub limit: Option<NonZeroU32>,
    pub window: Option<Span>,
    pub events: Option<Vec<EventsTable>>,
    pub products: Option<At<String>>,
    #[serde(default)]
    pub json: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub keys_per_second: Option<NonZeroU32>,
    pub queries_per_second: Option<NonZeroU32>,
    pub concurrency: Option<At<NonZeroU32>>,
    pub timeout: Option<At<Span>>,
    pub batch: Option<At<NonZeroU32>>,
    pub max_bytes: Option<NonZeroU64>,
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
