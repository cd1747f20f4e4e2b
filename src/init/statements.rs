//! The SQL of the jobs, in the engine's dialect.

use super::{
    Shop, Source,
    categories::{Place, label},
    links::Link,
    paths::Path,
    words::words,
};
use crate::database::{Column, ColumnKind, Engine, Table};

/// Columns of products that are worth a place in a list, beside the name.
const TELLING: [&str; 9] = ["price", "sku", "slug", "url", "image", "brand", "currency", "author", "artist"];

/// As many of them; values grow with each.
const MOST_TELLING: usize = 5;

/// Columns of events that say how much.
const MEASURES: [&str; 7] = ["quantity", "qty", "units", "price", "amount", "rating", "score"];

/// Names that lists write themselves.
const TAKEN: [&str; 6] = ["id", "score", "product_id", "category", "trend_score", "name"];

/// Writes statements about a shop.
pub(super) struct Statements<'s> {
    shop: &'s Shop,
    engine: Engine,
}

/// A source's tables and expressions, as they stand in a statement.
struct Parts {
    /// `orders AS e`, and a `JOIN` each.
    from: Vec<String>,
    user: String,
    product: String,
    /// As it is ordered by, and as a job's `at`.
    at: Option<(String, String)>,
    /// Within the window.
    within: Vec<String>,
    /// Before the run's moment.
    before: Vec<String>,
}

impl<'s> Statements<'s> {
    pub fn new(shop: &'s Shop) -> Self {
        Self { shop, engine: shop.catalog.engine }
    }

    /// Who did something with what, and when.
    pub fn events(&self, source: &Source) -> String {
        let parts = self.parts(source);
        let mut selected = vec![named(&parts.user, "user_id"), named(&parts.product, "product_id")];
        selected.extend(parts.at.iter().map(|(_, at)| named(at, "at")));
        let table = self.table(source.events.table);
        let when = if parts.at.is_some() { ", and when" } else { "" };
        format!(
            "-- Events: who has to do with which product{when}; one for each row of {table}.\nSELECT {}\n{}{}",
            selected.join(", "),
            from(&parts.from, ""),
            filtered(&parts.within, "")
        )
    }

    /// The most active users.
    pub fn active_users(&self) -> String {
        let actions: Vec<String> = self
            .shop
            .sources
            .iter()
            .map(|source| {
                let parts = self.parts(source);
                let selected = named(&parts.user, "user_id");
                format!("    SELECT {selected}\n{}{}", from(&parts.from, "    "), filtered(&parts.within, "    "))
            })
            .collect();
        format!(
            "-- Targets: users, the most active first.\nWITH\n-- Everything that anyone did{}.\nactions AS (\n{})\n\
             -- Of equally active users always the same come first, so that every run names the same ones.\n\
             SELECT user_id\nFROM actions\nWHERE user_id IS NOT NULL\nGROUP BY user_id\nORDER BY COUNT(*) DESC, user_id\n\
             LIMIT :limit\n",
            self.in_the_window(),
            actions.join("    UNION ALL\n")
        )
    }

    /// The most popular products, for shops with more than a list for each is worth.
    pub fn popular_products(&self) -> Option<String> {
        let parts = self.parts(self.shop.sources.first()?);
        let mut filters = parts.within.clone();
        filters.push(format!("{} IS NOT NULL", parts.product));
        Some(format!(
            "-- Targets: products, the most popular first.\nSELECT {}\n{}{}GROUP BY {}\nORDER BY COUNT(*) DESC, {}\nLIMIT :limit\n",
            named(&parts.product, "product_id"),
            from(&parts.from, ""),
            filtered(&filters, ""),
            parts.product,
            parts.product,
        ))
    }

    /// The categories with the most buyers; `None` where there are none.
    pub fn popular_categories(&self) -> Option<String> {
        let (category, join) = self.category()?;
        let source = self.shop.sources.first()?;
        let mut parts = self.parts(source);
        let (table, key) = self.products()?;
        parts.from.push(format!("{} AS p ON p.{} = {}", self.table(table), self.column(key), parts.product));
        parts.from.extend(join);
        Some(format!(
            "-- Targets: categories, the one with the most different users first: one wholesaler makes no trend.\nWITH\n\
             -- Who had to do with a product of which category{}.\nactions AS (\n    SELECT {}, {}\n{}{})\n\
             SELECT category\nFROM actions\nWHERE category IS NOT NULL\nGROUP BY category\n\
             ORDER BY COUNT(DISTINCT user_id) DESC, category\nLIMIT :limit\n",
            self.in_the_window(),
            named(&parts.user, "user_id"),
            named(&category, "category"),
            from(&parts.from, "    "),
            filtered(&parts.within, "    "),
        ))
    }

    /// The details of a batch of products; `None` where there is no table of products.
    pub fn product_details(&self) -> Option<String> {
        let (place, key) = self.products()?;
        let table = &self.shop.catalog.tables[place];
        let mut columns = vec![named(&format!("p.{}", self.column(key)), "product_id")];
        let mut from = format!("FROM {} AS p\n", self.table(place));
        if let Some((category, join)) = self.category() {
            columns.push(named(&category, "category"));
            from.extend(join.map(|join| format!("LEFT JOIN {join}\n")));
        }
        columns.extend(label(table).map(|label| named(&format!("p.{}", self.column(&label)), "name")));
        let telling = telling(table, &TELLING).into_iter().filter(|(_, name)| !TAKEN.contains(&name.as_str()));
        columns.extend(
            telling.take(MOST_TELLING).map(|(column, name)| named(&format!("p.{}", self.column(&column.name)), &name)),
        );
        Some(format!(
            "-- Details of the products of a batch: all but the id and the category travel into the values as they are.\n\
             SELECT {}\n{}WHERE p.{} IN (:product_id)\n",
            columns.join(", "),
            from,
            self.column(key)
        ))
    }

    /// The latest events of each user of a batch.
    pub fn user_history(&self) -> Option<String> {
        let source = self.shop.sources.first()?;
        let parts = self.parts(source);
        let table = &self.shop.catalog.tables[source.events.table];
        let numbers = |(column, _): &(&Column, String)| matches!(column.kind, ColumnKind::Integer | ColumnKind::Number);
        let measures: Vec<_> = telling(table, &MEASURES).into_iter().filter(numbers).take(3).collect();
        let mut inner = vec![named(&parts.user, "user_id"), named(&parts.product, "product_id")];
        inner.extend(measures.iter().map(|(column, name)| named(&format!("e.{}", self.column(&column.name)), name)));
        let mut order: Vec<String> = parts.at.iter().map(|(compared, _)| format!("{compared} DESC")).collect();
        // Of two at the same moment, the later key is the newer one.
        order.extend(table.primary_key.iter().map(|key| format!("e.{} DESC", self.column(key))));
        if table.primary_key.is_empty() {
            order.push(parts.product.clone());
        }
        inner.extend(parts.at.iter().map(|(_, at)| named(at, "at")));
        inner.push(format!("ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {}) AS place", parts.user, order.join(", ")));
        let mut filters = vec![format!("{} IN (:user_id)", parts.user)];
        filters.extend(parts.before);
        let mut outer = vec!["n.user_id".to_owned(), "n.product_id".to_owned()];
        let mut join = String::new();
        if let Some((place, key)) = self.products() {
            join = format!("LEFT JOIN {} AS p ON p.{} = n.product_id\n", self.table(place), self.column(key));
            let label = label(&self.shop.catalog.tables[place]);
            outer.extend(label.map(|label| named(&format!("p.{}", self.column(&label)), "name")));
        }
        outer.extend(measures.iter().map(|(_, name)| format!("n.{name}")));
        outer.extend(parts.at.iter().map(|_| "n.at".to_owned()));
        let latest = if parts.at.is_some() { "latest" } else { "last" };
        Some(format!(
            "-- The {latest} events of each user of a batch, newest first.\nWITH\n-- Numbered backwards for each user.\n\
             numbered AS (\n    SELECT\n        {}\n{}{})\nSELECT {}\nFROM numbered AS n\n{join}WHERE n.place <= :limit\n\
             ORDER BY n.user_id, n.place\n",
            inner.join(",\n        "),
            from(&parts.from, "    "),
            filtered(&filters, "    "),
            outer.join(", ")
        ))
    }

    fn in_the_window(&self) -> &'static str {
        if self.shop.sources.first().is_some_and(|source| source.time.is_some()) { " in the window" } else { "" }
    }

    /// The table of the products and the column by which they are known.
    fn products(&self) -> Option<(usize, &'s str)> {
        let (table, key) = self.shop.sources.first()?.events.product.end.as_ref()?;
        Some((*table, key))
    }

    /// The category of the product `p`, and the table that must be joined for it.
    fn category(&self) -> Option<(String, Option<String>)> {
        let categories = self.shop.categories.as_ref()?;
        let label = self.column(&categories.label);
        Some(match &categories.place {
            Place::Column(_) => (format!("p.{label}"), None),
            Place::Table(link) => (
                format!("c.{label}"),
                Some(format!("{} AS c ON {}", self.table(link.key.table), self.on(link, "p", "c"))),
            ),
            // A product has one category in a list: of several, the first by name.
            Place::Between { products, categories } => {
                let between = self.table(products.from);
                let (on, of) = (self.on(categories, "b", "c"), self.on(products, "b", "p"));
                let table = self.table(categories.key.table);
                (format!("(SELECT MIN(c.{label}) FROM {between} AS b JOIN {table} AS c ON {on} WHERE {of})"), None)
            }
        })
    }

    fn parts(&self, source: &Source) -> Parts {
        let events = &source.events;
        let mut tables = vec![format!("{} AS e", self.table(events.table))];
        let mut walk = |path: &Path, letter: char| -> Vec<String> {
            let mut aliases = vec!["e".to_owned()];
            for (step, link) in path.via.iter().enumerate() {
                let alias = if step == 0 { letter.to_string() } else { format!("{letter}{}", step + 1) };
                tables.push(format!(
                    "{} AS {alias} ON {}",
                    self.table(link.key.table),
                    self.on(link, &aliases[step], &alias)
                ));
                aliases.push(alias);
            }
            aliases
        };
        let users = walk(&events.user, 'h');
        let products = walk(&events.product, 'v');
        let last = |aliases: &[String], column: &str| format!("{}.{}", aliases[aliases.len() - 1], self.column(column));
        let (user, product) = (last(&users, &events.user.column), last(&products, &events.product.column));
        let mut parts = Parts { from: tables, user, product, at: None, within: Vec::new(), before: Vec::new() };
        if let Some(time) = &source.time {
            let column = format!("{}.{}", users[time.column.step], self.column(&time.column.column));
            let compared = time.form.compared(self.engine, &column);
            let bound = |name| time.form.parameter(self.engine, name);
            let before = format!("{compared} < {}", bound("now"));
            parts.within = vec![format!("{compared} >= {}", bound("since")), before.clone()];
            parts.before = vec![before];
            parts.at = Some((compared, time.form.at(self.engine, &column)));
        }
        parts
    }

    /// What makes rows of the two tables of a link belong together.
    fn on(&self, link: &Link, from: &str, to: &str) -> String {
        let pairs = link.key.columns.iter().zip(&link.key.keys);
        let equal = pairs.map(|(ours, theirs)| format!("{to}.{} = {from}.{}", self.column(theirs), self.column(ours)));
        equal.collect::<Vec<_>>().join(" AND ")
    }

    fn table(&self, place: usize) -> String {
        self.shop.catalog.tables[place].quoted(self.engine)
    }

    fn column(&self, name: &str) -> String {
        self.engine.quoted(name)
    }
}

/// An expression under a name that it may bear already.
fn named(expression: &str, name: &str) -> String {
    match expression.rsplit_once('.') {
        Some((_, column)) if column == name => expression.to_owned(),
        _ => format!("{expression} AS {name}"),
    }
}

/// Columns with one of the words, each with the name that it gets in values; no name twice.
fn telling<'t>(table: &'t Table, wanted: &[&str]) -> Vec<(&'t Column, String)> {
    let mut found: Vec<(&Column, String)> = Vec::new();
    for column in table.columns.iter().filter(|column| column.kind != ColumnKind::Other) {
        let words = words(&column.name);
        let is_plain =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let name = if is_plain(&column.name) { column.name.clone() } else { words.join("_") };
        let says = words.iter().any(|word| wanted.contains(&word.as_str()));
        // A key of another table is no detail.
        let is_key = words.last().is_some_and(|last| last == "id");
        let is_name = Engine::Postgres.quoted(&name) == name;
        if says && !is_key && is_name && found.iter().all(|(_, known)| *known != name) {
            found.push((column, name));
        }
    }
    found
}

fn from(tables: &[String], indent: &str) -> String {
    let line = |(nth, table): (usize, &String)| format!("{indent}{} {table}\n", if nth == 0 { "FROM" } else { "JOIN" });
    tables.iter().enumerate().map(line).collect()
}

fn filtered(filters: &[String], indent: &str) -> String {
    if filters.is_empty() { String::new() } else { format!("{indent}WHERE {}\n", filters.join(" AND ")) }
}
