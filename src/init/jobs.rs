//! The job files, with comments that say why their numbers are what they are.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Shop, Time,
    roles::Signal,
    survey::ANY_CATEGORY,
    times::{Extent, Windows},
};
use crate::job::duration::Span;

/// Users that get keys at first; whoever wants more raises the limit.
const USERS: u32 = 1_000;

/// Categories with trending lists of their own.
const CATEGORIES: u32 = 50;

/// Categories with a list for each user; every one of them is a key.
const CATEGORIES_OF_A_USER: u32 = 4;

/// Up to here every product gets a list of similar ones; of more, the popular ones do.
const PRODUCTS: u64 = 20_000;

/// Events that a model can be made of every quarter of an hour beside a shop's own work.
const OFTEN: u64 = 1_000_000;

/// Writes the jobs of a shop.
pub(super) struct Jobs<'s> {
    shop: &'s Shop,
    time: Option<&'s Time>,
    windows: Windows,
    has_products: bool,
}

impl<'s> Jobs<'s> {
    pub fn new(shop: &'s Shop) -> Self {
        let first = shop.sources.first();
        let time = first.and_then(|source| source.time.as_ref());
        let extent = time.map_or(Extent { span: 0, age: 0, events: None, has_strays: false }, |time| time.extent);
        let has_products = first.is_some_and(|source| source.events.product.end.is_some());
        Self { shop, time, windows: extent.windows(), has_products }
    }

    pub fn has_many_products(&self) -> bool {
        let end = self.shop.sources.first().and_then(|source| source.events.product.end.as_ref());
        end.and_then(|(table, _)| self.shop.catalog.tables[*table].rows).is_some_and(|rows| rows > PRODUCTS)
    }

    pub fn recommendations(&self) -> String {
        let (schedule, ttl) = if self.is_large() { ("7 * * * *", "2h") } else { ("*/15 * * * *", "30m") };
        let category = self.shop.categories.as_ref().map(|_| CATEGORIES_OF_A_USER);
        let key = if category.is_some() { "{user_id}:{category}" } else { "{user_id}" };
        let about = if category.is_some() { ", overall and in popular categories" } else { "" };
        let half_life = self.time.map(|_| format!("half_life = \"{}\"\n", Span(self.windows.taste_half_life)));
        format!(
            "# Made by `warmd init`. What people will probably take next, by what those with like tastes took.\n\
             description = \"Ten products for each of the most active users{about}\"\n\
             schedule    = \"{schedule}\"\n\
             key         = \"recommendations:{key}:{{limit}}\"\n\
             # Twice the interval: when one run fails, the next one still comes in time.\n\
             ttl         = \"{ttl}\"\n\
             ttl_jitter  = \"10%\"\n\n\
             {}\
             # For whom. Every user with every category is a key: raise the limits when the first runs look good.\n\
             [targets]\n\
             user_id  = {{ sql = \"active_users.sql\", limit = {USERS}{} }}\n{}\n\
             [recommend]\n\
             limit = 10\n{}{}{}\
             # false where people take the same again, as in a grocery.\n\
             exclude_purchased = true\n{}\n\
             [limits]\n\
             keys_per_second    = 1000\n\
             queries_per_second = 10\n\
             timeout            = \"10m\"\n",
            self.about_windows(),
            self.recent(),
            self.category_targets(category),
            self.model_window(),
            self.events(),
            half_life.unwrap_or_default(),
            self.any_category(),
        )
    }

    pub fn trending(&self) -> String {
        let (schedule, ttl) = if self.is_large() { ("*/15 * * * *", "30m") } else { ("*/5 * * * *", "10m") };
        let is_sorted = self.shop.categories.is_some();
        let key = if is_sorted { "trending_products:{category}" } else { "trending_products" };
        let about = if is_sorted { ", overall and in each category" } else { "" };
        let targets = match is_sorted {
            true => format!("[targets]\n{}\n", self.category_targets(Some(CATEGORIES))),
            false => String::new(),
        };
        let window = self.time.map(|_| {
            format!(
                "window = \"{}\"\n\
                 # Long enough for some hundred events, and no longer, so that a new product can overtake the evergreens.\n\
                 half_life = \"{}\"\n",
                Span(self.windows.recent),
                Span(self.windows.trend_half_life)
            )
        });
        format!(
            "# Made by `warmd init`. What is popular now.\n\
             description = \"Twenty trending products{about}\"\n\
             schedule    = \"{schedule}\"\n\
             key         = \"{key}\"\n\
             ttl         = \"{ttl}\"\n\
             ttl_jitter  = \"10%\"\n\
             # In a small category nothing may have happened in the window: an empty list says so.\n\
             empty       = \"store\"\n\n\
             {}{targets}[trending]\n\
             limit = 20\n{}{}{}\n\
             [limits]\n\
             timeout = \"4m\"\n",
            self.about_windows(),
            window.unwrap_or_default(),
            self.events(),
            self.any_category(),
        )
    }

    pub fn similar(&self) -> String {
        let targets = match self.has_many_products() {
            true => format!(
                "# The popular products only: without [targets], every product of the events gets a key.\n\
                 [targets]\n\
                 product_id = {{ sql = \"popular_products.sql\", limit = {PRODUCTS}{} }}\n\n",
                self.recent()
            ),
            false => "# Without [targets], every product that occurs in the events gets a key.\n".to_owned(),
        };
        let schedule = if self.is_large() { "7 * * * *" } else { "30 * * * *" };
        format!(
            "# Made by `warmd init`. Products that the same people have to do with.\n\
             description = \"Ten similar products for each product\"\n\
             # On a tick of user_recommendations: what both read is read once.\n\
             schedule    = \"{schedule}\"\n\
             key         = \"similar_products:{{product_id}}\"\n\
             ttl         = \"2h\"\n\
             ttl_jitter  = \"10%\"\n\n\
             {targets}{}[similar]\n\
             of = \"products\"\n\
             limit = 10\n{}{}\n\
             [limits]\n\
             keys_per_second = 1000\n\
             timeout         = \"20m\"\n",
            self.about_windows(),
            self.model_window(),
            self.events(),
        )
    }

    pub fn history(&self) -> String {
        format!(
            "# Made by `warmd init`. What each user did last, as the rows are: any statement can fill a cache. With [targets] it\n\
             # runs once for each batch of users, and IN (:user_id) becomes the users of the batch.\n\
             description = \"The last twenty events of each of the most active users\"\n\
             schedule    = \"8,38 * * * *\"\n\
             key         = \"user_history:{{user_id}}\"\n\
             ttl         = \"1h30m\"\n\
             ttl_jitter  = \"10%\"\n\n\
             [targets]\n\
             user_id = {{ sql = \"active_users.sql\", limit = {USERS}{} }}\n\n\
             # each = \"list\": the rows of one key make one JSON list, in the order of the statement.\n\
             [query]\n\
             sql = \"user_history.sql\"\n\
             each = \"list\"\n\
             limit = 20\n\n\
             [limits]\n\
             queries_per_second = 10\n\
             timeout            = \"10m\"\n",
            self.recent()
        )
    }

    fn is_large(&self) -> bool {
        let rows = |table: usize| self.shop.catalog.tables[table].rows.unwrap_or_default();
        self.shop.sources.iter().map(|source| rows(source.events.table)).sum::<u64>() > OFTEN
    }

    /// The rest of a target list, where the events have a time.
    fn recent(&self) -> String {
        self.time.map_or_else(String::new, |_| format!(", window = \"{}\"", Span(self.windows.recent)))
    }

    fn category_targets(&self, limit: Option<u32>) -> String {
        let Some(limit) = limit else { return String::new() };
        let any = format!("also = [\"{}\"]", self.shop.any_category);
        format!("category = {{ sql = \"popular_categories.sql\", limit = {limit}{}, {any} }}\n", self.recent())
    }

    fn any_category(&self) -> String {
        let any = self.shop.any_category;
        let but = match any {
            ANY_CATEGORY => "",
            _ => "; not \"None\", which is one of them here",
        };
        match self.shop.categories {
            Some(_) => format!("# The category that stands for all of them{but}.\nany_category = \"{any}\"\n"),
            None => String::new(),
        }
    }

    fn model_window(&self) -> String {
        self.time.map_or_else(String::new, |_| format!("window = \"{}\"\n", Span(self.windows.model)))
    }

    /// The events with their weights, and the products.
    fn events(&self) -> String {
        let tables: Vec<String> = self
            .shop
            .sources
            .iter()
            .map(|source| {
                // Of one kind alone, only their proportion to each other counts.
                let weight = match source.events.signal {
                    _ if self.shop.sources.len() == 1 => "",
                    Signal::Purchase => ", weight = 1.0",
                    Signal::Interest(_) => ", weight = 0.5",
                    Signal::Glance => ", weight = 0.2",
                };
                format!("{{ sql = \"{}\"{weight} }}", source.file())
            })
            .collect();
        let why = match tables.len() {
            1 => "",
            _ => {
                "# What was taken says more than what was put aside or rated, and that more than what was looked at.\n"
            }
        };
        let products = if self.has_products { "products = \"products.sql\"\n" } else { "" };
        format!("{why}events = [ {} ]\n{products}", tables.join(", "))
    }

    /// Why the windows are as long as they are.
    fn about_windows(&self) -> String {
        let Some(time) = self.time else {
            return "# Nothing tells when the events happened, so all of them count alike.\n".to_owned();
        };
        let newest = self.shop.now - seconds(time.extent.age);
        let (from, to) = (day(newest - seconds(time.extent.span)), day(newest));
        let aside = if time.extent.has_strays { ", a few far off aside" } else { "" };
        match self.windows.is_old {
            true => format!(
                "# The windows reach back from now, and the newest events are {} days old ({from} to {to}{aside}): they are long\n\
                 # enough to reach these events for some time to come. Where new ones come in, make them shorter, such as 180d.\n",
                time.extent.age / 86_400
            ),
            false => format!(
                "# The windows hold enough of the events, which are from {from} to {to}{aside}, for lists that make sense.\n"
            ),
        }
    }
}

fn seconds(seconds: u64) -> TimeDelta {
    TimeDelta::from_std(Duration::from_secs(seconds)).unwrap_or_default()
}

fn day(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%d").to_string()
}
