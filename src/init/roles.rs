//! Which tables are events, users, products and categories: judged by keys, names, columns and numbers of rows.

use super::{
    Hints,
    categories::{self, Categories},
    links::{Link, links},
    paths::{CLEAR, Path, Paths},
    times::{TimeColumn, time_columns},
    words::{Likeness, are_glances, interest, like_events, like_products, like_users, subject, words},
};
use crate::database::{Catalog, ColumnKind, Table};

/// What an event says of taste.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Somebody took it.
    Purchase,
    /// Somebody put it aside, rated it or talked of it; with the word that says which.
    Interest(&'static str),
    /// Somebody looked at it.
    Glance,
}

/// How sure a judgement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    /// Nearly everything speaks for it.
    High,
    /// Enough speaks for it.
    Medium,
    /// It is the best guess.
    Low,
}

/// A table of events.
#[derive(Debug, Clone)]
pub struct Events {
    /// The index of the table.
    pub table: usize,
    /// The way to the user.
    pub user: Path,
    /// The way to the product.
    pub product: Path,
    /// Columns that may say when, the likeliest first.
    pub times: Vec<TimeColumn>,
    /// What the events say.
    pub signal: Signal,
    /// How much speaks for the table.
    pub score: f32,
    /// What speaks for it, in words.
    pub evidence: Vec<String>,
}

/// The parts that tables play.
#[derive(Debug, Clone)]
pub struct Roles {
    /// The purchases, or the next best, and then others of the same users and products that say something else.
    pub events: Vec<Events>,
    /// What products are sorted by.
    pub categories: Option<Categories>,
}

/// Why the roles cannot be told, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided(pub Vec<String>);

/// Less does not make events of a table.
const BELIEVED: f32 = 1.0;

/// Two answers that are closer are a question.
const DISTANCE: f32 = 0.75;

impl Events {
    fn total(&self) -> f32 {
        self.user.score + self.product.score + self.score
    }

    /// How sure it is that these are events.
    pub fn confidence(&self) -> Confidence {
        confidence(self.score, 3.5, 2.0)
    }
}

/// How sure a judgement of such a score is.
pub(super) fn confidence(score: f32, high: f32, medium: f32) -> Confidence {
    match score {
        _ if score >= high => Confidence::High,
        _ if score >= medium => Confidence::Medium,
        _ => Confidence::Low,
    }
}

impl Path {
    /// How sure it is that the ids are those of users or of products.
    pub fn confidence(&self) -> Confidence {
        confidence(self.score, CLEAR, 2.2)
    }
}

/// Tells the roles of a catalogue's tables, those that were named on the command line being given.
pub fn roles(catalog: &Catalog, hints: &Hints) -> Result<Roles, Undecided> {
    let links = links(catalog);
    let mut found = candidates(catalog, &links, hints);
    found.sort_by(|a, b| b.total().total_cmp(&a.total()));
    let Some(best) = found.first().cloned() else { return Err(nothing(catalog, hints)) };
    if let Some(other) = found.iter().find(|other| is_question(&best, other, &links)) {
        return Err(either(catalog, &best, other));
    }
    let mut events = vec![best.clone()];
    for other in found {
        let same = other.user.leads_where(&best.user) && other.product.leads_where(&best.product);
        let says_more = events.iter().all(|known| known.signal != other.signal && known.table != other.table);
        if same && says_more && hints.events.is_none() {
            events.push(other);
        }
    }
    events[1..].sort_by_key(|events| events.signal);
    let categories = match best.product.end {
        Some((products, _)) => categories::find(catalog, &links, products, hints)?,
        None if hints.categories.is_some() => {
            return Err(Undecided(vec!["--categories needs a table of products, and there is none".to_owned()]));
        }
        None => None,
    };
    Ok(Roles { events, categories })
}

/// For each table, its best reading as events.
fn candidates(catalog: &Catalog, links: &[Link], hints: &Hints) -> Vec<Events> {
    let mut found = Vec::new();
    for (place, table) in catalog.tables.iter().enumerate() {
        if hints.events.as_ref().is_some_and(|(events, _)| *events != place) {
            continue;
        }
        let paths = Paths::from(catalog, links, hints, place);
        for user in &paths.users {
            for product in &paths.products {
                let tangled = |a: &Path, b: &Path| {
                    b.end.as_ref().is_some_and(|(end, _)| a.passes(*end) || *end == place)
                        || a.holder(place) == b.holder(place) && a.column == b.column
                };
                if tangled(user, product) || tangled(product, user) || user.leads_where(product) {
                    continue;
                }
                let events = judge(catalog, links, hints, table, place, user, product);
                if events.score >= BELIEVED {
                    found.push(events);
                }
            }
        }
    }
    found
}

fn judge(
    catalog: &Catalog,
    links: &[Link],
    hints: &Hints,
    table: &Table,
    place: usize,
    user: &Path,
    product: &Path,
) -> Events {
    let mut evidence = Vec::new();
    let named = subject(&table.name);
    let named_time = hints.events.as_ref().and_then(|(_, time)| time.as_deref());
    let times = time_columns(catalog, place, &user.via, named_time);
    let mut score = 2.0 * like_events(&named);
    if score > 0.0 {
        evidence.push("named like events".to_owned());
    }
    let headers = user.via.iter().map(|link| like_events(&subject(&catalog.tables[link.key.table].name)));
    score += headers.fold(0.0, f32::max);
    let interest = interest(&named);
    // A cart's items are no products, whatever they are called.
    if like_users(&named).max(like_products(&named)) > 0.6 && like_events(&named) < 0.7 && interest.is_none() {
        score -= 2.0;
    }
    if times.iter().any(|time| matches!(time.kind, ColumnKind::Moment | ColumnKind::Date)) {
        score += 1.5;
    }
    let measures = ["quantity", "qty", "price", "amount", "rating", "units", "total", "count"];
    if let Some(column) = table.columns.iter().find(|column| {
        let words = words(&column.name);
        measures.iter().any(|measure| words.iter().any(|word| word == measure))
    }) {
        score += 0.5;
        evidence.push(format!("has `{}`", column.name));
    }
    if !links.iter().any(|link| link.key.table == place) {
        score += 0.5;
    }
    score -= 0.5 * (user.via.len() + product.via.len()) as f32;
    match table.rows {
        Some(0) => score -= 3.0,
        Some(rows) if rows >= 1_000 => score += 0.5,
        _ => {}
    }
    if table.is_view {
        score -= 1.0;
    }
    let signal = match interest {
        _ if are_glances(&named) => Signal::Glance,
        Some(sign) => Signal::Interest(sign),
        None => Signal::Purchase,
    };
    // Of a shop that has both, orders say more than views.
    score -= match signal {
        Signal::Purchase => 0.0,
        Signal::Interest(_) => 0.3,
        Signal::Glance => 0.5,
    };
    if hints.events.is_some() {
        score = score.max(3.5);
        evidence.insert(0, "named on the command line".to_owned());
    }
    for (what, path) in [("users", user), ("products", product)] {
        let way: Vec<String> = path.via.iter().map(|link| catalog.tables[link.key.table].to_string()).collect();
        let through = if way.is_empty() { String::new() } else { format!(" through {}", way.join(" and ")) };
        evidence.push(format!("leads to {what}{through} by `{}`", path.column));
    }
    Events { table: place, user: user.clone(), product: product.clone(), times, signal, score, evidence }
}

/// Whether another reading is as good and means something else. A product's variants mean the product.
fn is_question(best: &Events, other: &Events, links: &[Link]) -> bool {
    let related = |a: &Path, b: &Path| {
        let joined = |from: usize, to: usize| links.iter().any(|link| link.from == from && link.key.table == to);
        match (&a.end, &b.end) {
            (Some((a, _)), Some((b, _))) => joined(*a, *b) || joined(*b, *a),
            _ => false,
        }
    };
    let is_same = |a: &Path, b: &Path| a.leads_where(b) || related(a, b);
    other.total() > best.total() - DISTANCE
        && !(is_same(&best.user, &other.user) && is_same(&best.product, &other.product))
}

const SETTLE: &str = "say which with --users TABLE, --products TABLE and --events TABLE[.TIME_COLUMN]";

fn either(catalog: &Catalog, best: &Events, other: &Events) -> Undecided {
    let told = |events: &Events| {
        let end = |path: &Path| {
            let named = |(table, _): &(usize, String)| format!("`{}`", catalog.tables[*table]);
            path.end.as_ref().map_or_else(|| format!("the ids in `{}`", path.column), named)
        };
        format!(
            "`{}` may be events of the users {} and the products {}",
            catalog.tables[events.table],
            end(&events.user),
            end(&events.product)
        )
    };
    Undecided(vec![told(best), format!("as well, {}", told(other)), SETTLE.to_owned()])
}

fn nothing(catalog: &Catalog, hints: &Hints) -> Undecided {
    if catalog.tables.is_empty() {
        return Undecided(vec!["there is no table that this user may read".to_owned()]);
    }
    let mut said = Vec::new();
    let named = |place: usize| format!("`{}`", catalog.tables[place]);
    let ends = |hint: Option<usize>, what: &str| hint.map_or_else(|| format!("a table of {what}"), named);
    let (users, products) = (ends(hints.users, "users"), ends(hints.products, "products"));
    match &hints.events {
        Some((events, _)) => said.push(format!("the rows of {} do not lead to {users} and {products}", named(*events))),
        None => said.push(format!("there is no table of events, whose rows lead to {users} and {products}")),
    }
    said.push(
        "a row leads there by a foreign key, or by a column that is named after the table, such as `user_id`"
            .to_owned(),
    );
    let alike = |likeness: Likeness| -> Vec<String> {
        let tables = catalog.tables.iter().filter(|table| likeness(&subject(&table.name)) > 0.5);
        tables.map(|table| format!("`{table}`")).collect()
    };
    let looks: [(&str, Option<usize>, Likeness); 2] =
        [("users", hints.users, like_users), ("products", hints.products, like_products)];
    for (what, hint, likeness) in looks {
        let alike = alike(likeness);
        match alike.is_empty() {
            _ if hint.is_some() => {}
            true => said.push(format!("no table is named like {what}")),
            false => said.push(format!("{} may be {what}", alike.join(", "))),
        }
    }
    said.push(SETTLE.to_owned());
    Undecided(said)
}
