//! The table that says what a job computes, on its way from the file to a [`Kind`].

use std::{num::NonZeroU32, time::Duration};

use super::{
    Events, Kind, Query, Recommend, Similar, Sql, Trending,
    duration::{Percent, Span},
    file::Reader,
    tables::{EventsTable, File, Literal, QueryTable, RecommendTable, SimilarTable, TrendingTable},
};
use crate::{
    database::Engine,
    id::Id,
    problems::{At, unknown},
    produce::scoring::{DEFAULT_BLEND, TREND_HASTE},
};

const KINDS: &str = "[recommend], [trending], [similar] or [query]";

/// Entries a list, when the file does not say.
const DEFAULT_LIMIT: u32 = 10;

/// A list with more entries is a mistake: its value would be hundreds of megabytes.
const LARGEST_LIMIT: u32 = 1 << 20;

/// Neighbours a product, when the file does not say: more do not make better recommendations.
const DEFAULT_NEIGHBOURS: u32 = 50;

/// Items of a user that count, when the file does not say: recall is the same from here on.
const DEFAULT_HISTORY: u32 = 300;

/// Each is a statement that every model reads.
pub(super) const MOST_EVENTS: usize = 100;

/// Each runs the whole statement: more only keep the database busy.
pub(super) const MOST_CONNECTIONS: u32 = 16;

const DAY: Duration = Duration::from_secs(86_400);

/// What a kind provides to the key besides the targets: values that are the same for every key.
pub(super) type Provides = Option<(&'static str, String)>;

impl Reader<'_, '_> {
    /// The one kind that is present.
    pub(super) fn kind(&mut self, file: &File) -> Option<(Kind, Provides)> {
        let tables = [
            file.recommend.as_ref().map(At::span),
            file.trending.as_ref().map(At::span),
            file.similar.as_ref().map(At::span),
            file.query.as_ref().map(At::span),
        ];
        let mut present: Vec<_> = tables.into_iter().flatten().collect();
        present.sort_by_key(|span| span.start);
        if let Some(second) = present.get(1) {
            let why = format!("the job has {} kinds: keep one of {KINDS}", present.len());
            self.doc.problem(second.clone(), why);
            return None;
        }
        if let Some(table) = &file.query {
            return self.query(file, table);
        }
        if let Some(table) = &file.trending {
            return self.trending(file, table.get_ref());
        }
        if let Some(table) = &file.recommend {
            return self.recommend(file, table);
        }
        if let Some(table) = &file.similar {
            return self.similar(file, table);
        }
        if !["recommend", "trending", "similar", "query"].iter().any(|kind| self.doc.was_wrong(kind)) {
            self.doc.problem(0..0, format!("the job has no kind: add one of {KINDS}"));
        }
        None
    }

    fn query(&mut self, file: &File, table: &At<QueryTable>) -> Option<(Kind, Provides)> {
        let span = table.span();
        let table = table.get_ref();
        let Some(source) = &table.sql else {
            if !self.doc.was_wrong("query.sql") {
                self.doc.problem(span, "`query.sql` is missing: write `sql = \"file.sql\"`");
            }
            return None;
        };
        let targets: Vec<&str> = file.target_names().collect();
        let sql = self.sql(source, "query", table.limit, table.window, &targets)?;
        if !targets.is_empty() && !targets.iter().any(|target| sql.uses(target)) {
            let filters: Vec<String> = targets.iter().map(|name| format!("`{name} IN (:{name})`")).collect();
            let why = format!(
                "the statement uses no target, so that every batch would read everything; filter by {}",
                filters.join(" and ")
            );
            self.doc.problem(source.span(), why);
            return None;
        }
        let query = Query { sql, each: table.each.unwrap_or_default(), json: table.json.clone() };
        Some((Kind::Query(query), table.limit.map(|limit| ("limit", limit.to_string()))))
    }

    fn trending(&mut self, file: &File, table: &TrendingTable) -> Option<(Kind, Provides)> {
        self.know_targets(file, &["category"]);
        self.need_categories(file, "trending", &table.products);
        let half_life = self.half_life("trending.half_life", &table.half_life, 2 * DAY);
        let events = self.events("trending", &table.events, table.limit, table.window);
        let products = self.products("trending", &table.products, table.limit, table.window);
        let trending = Trending {
            limit: limit(table.limit),
            events: events?,
            products: products?,
            half_life: half_life?,
            any_category: any_category(&table.any_category),
            json: table.json.clone(),
        };
        Some((Kind::Trending(trending), provides(table.limit)))
    }

    fn recommend(&mut self, file: &File, table: &At<RecommendTable>) -> Option<(Kind, Provides)> {
        self.know_targets(file, &["user_id", "category"]);
        if !file.target_names().any(|name| name == "user_id") && !self.doc.was_wrong("targets.user_id") {
            self.doc.problem(table.span(), "[recommend] needs the target list `user_id`: add it to [targets]");
        }
        let table = table.get_ref();
        self.need_categories(file, "recommend", &table.products);
        let half_life = self.half_life("recommend.half_life", &table.half_life, 60 * DAY);
        let faster = half_life.unwrap_or_default() / TREND_HASTE;
        let trending_half_life = self.half_life("recommend.trending_half_life", &table.trending_half_life, faster);
        let events = self.events("recommend", &table.events, table.limit, table.window);
        let products = self.products("recommend", &table.products, table.limit, table.window);
        let recommend = Recommend {
            limit: limit(table.limit),
            events: events?,
            products: products?,
            half_life: half_life?,
            history: table.history.map_or(DEFAULT_HISTORY, NonZeroU32::get),
            trending_half_life: trending_half_life?,
            trending: table.trending.map_or(f64::from(DEFAULT_BLEND), |Percent(share)| share),
            neighbours: table.neighbours.map_or(DEFAULT_NEIGHBOURS, |neighbours| neighbours.get().min(LARGEST_LIMIT)),
            exclude_purchased: table.exclude_purchased.unwrap_or(false),
            any_category: any_category(&table.any_category),
            json: table.json.clone(),
        };
        Some((Kind::Recommend(recommend), provides(table.limit)))
    }

    fn similar(&mut self, file: &File, table: &At<SimilarTable>) -> Option<(Kind, Provides)> {
        let span = table.span();
        let table = table.get_ref();
        let Some(of) = table.of else {
            if !self.doc.was_wrong("similar.of") {
                let why = "`similar.of` is missing: write `of = \"products\"` or `of = \"users\"`";
                self.doc.problem(span, why);
            }
            return None;
        };
        self.know_targets(file, &[of.target()]);
        let events = self.events("similar", &table.events, table.limit, table.window);
        let products = self.products("similar", &table.products, table.limit, table.window);
        let similar = Similar {
            of,
            history: table.history.map_or(DEFAULT_HISTORY, NonZeroU32::get),
            limit: limit(table.limit),
            events: events?,
            products: products?,
            json: table.json.clone(),
        };
        Some((Kind::Similar(similar), provides(table.limit)))
    }

    /// Lists by category need to know each product's.
    fn need_categories(&mut self, file: &File, kind: &str, products: &Option<At<String>>) {
        let category = file.targets.keys().find(|name| name.get_ref() == "category");
        if let (Some(name), None) = (category, products)
            && !self.doc.was_wrong(&format!("{kind}.products"))
        {
            let why = format!(
                "lists by `category` need `products` in [{kind}]: a statement with the columns `product_id` and `category`"
            );
            self.doc.problem(name.span(), why);
        }
    }

    /// Refuses target lists that a kind has no use for.
    fn know_targets(&mut self, file: &File, known: &[&str]) {
        for name in file.targets.keys().filter(|name| !known.contains(&name.get_ref().as_str())) {
            self.doc.problem(name.span(), unknown("target list", name.get_ref(), known));
        }
    }

    fn half_life(&mut self, entry: &str, written: &Option<At<Span>>, default: Duration) -> Option<Duration> {
        match written {
            None => Some(default),
            Some(span) if span.get_ref().0.is_zero() => {
                self.doc.problem(span.span(), format!("`{entry}` must be longer than 0s"));
                None
            }
            Some(span) => Some(span.get_ref().0),
        }
    }

    fn events(
        &mut self,
        kind: &str,
        tables: &Option<Vec<EventsTable>>,
        limit: Option<NonZeroU32>,
        window: Option<Span>,
    ) -> Option<Vec<Events>> {
        let entry = format!("{kind}.events");
        let tables = tables.as_deref().unwrap_or_default();
        if tables.is_empty() {
            self.missing(&entry, "write `events = [ { sql = \"purchases.sql\" } ]`");
            return None;
        }
        if let Some(table) = tables.get(MOST_EVENTS) {
            self.doc.problem(table.sql.span(), format!("`{entry}` has at most {MOST_EVENTS} entries"));
            return None;
        }
        let weight = |table: &EventsTable| table.weight.as_ref().map_or(1.0, |weight| *weight.get_ref());
        let heaviest = tables.iter().map(weight).fold(f64::MIN, f64::max);
        let mut events = Vec::new();
        for table in tables {
            if let Some(written) = &table.weight
                && !(written.get_ref().is_finite() && *written.get_ref() > 0.0)
            {
                self.doc.problem(written.span(), format!("`{entry}.weight` must be greater than 0"));
            }
            let connections = self.connections(&entry, table);
            let sql = self.sql(&table.sql, kind, limit, window, &[]);
            if let (Some(sql), Some(connections)) = (sql, connections) {
                let weight = weight(table);
                // Unless the file says otherwise, the strongest signal is the purchase.
                let purchase = table.purchase.unwrap_or(weight >= heaviest);
                events.push(Events { sql, weight: weight as f32, purchase, connections });
            }
        }
        (events.len() == tables.len()).then_some(events)
    }

    fn connections(&mut self, entry: &str, table: &EventsTable) -> Option<NonZeroU32> {
        let entry = format!("{entry}.connections");
        if let Some(written) = &table.connections
            && written.get_ref().get() > 1
            && self.engine != Engine::Postgres
        {
            let why = format!(
                "`{entry}` is 1 with {}: only in PostgreSQL can several connections see one snapshot",
                self.engine
            );
            self.doc.problem(written.span(), why);
            return None;
        }
        self.at_most(&entry, &table.connections, MOST_CONNECTIONS, 1)
    }

    fn products(
        &mut self,
        kind: &str,
        source: &Option<At<String>>,
        limit: Option<NonZeroU32>,
        window: Option<Span>,
    ) -> Option<Option<Sql>> {
        match source {
            None => Some(None),
            Some(source) => self.sql(source, kind, limit, window, &["product_id"]).map(Some),
        }
    }
}

fn limit(written: Option<NonZeroU32>) -> u32 {
    written.map_or(DEFAULT_LIMIT, NonZeroU32::get).min(LARGEST_LIMIT)
}

fn provides(written: Option<NonZeroU32>) -> Provides {
    Some(("limit", limit(written).to_string()))
}

fn any_category(written: &Option<Literal>) -> Id {
    written.as_ref().map_or_else(|| Id::from("None"), |Literal(id)| id.clone())
}
