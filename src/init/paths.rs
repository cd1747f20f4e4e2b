//! Where the rows of a table lead: to a user, to a product.

use super::{
    Hints,
    links::{Link, starting_from},
    words::{Likeness, like_products, like_users, referred, subject, words},
};
use crate::database::{Catalog, Table};

/// An order line leads to its order, and that to a customer: more steps than these are another story.
const MOST_STEPS: usize = 2;

/// The way from a row of events to the id of a user or of a product.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// The tables on the way, each reached from the one before; none when the events have the id themselves.
    pub via: Vec<Link>,
    /// The column that holds the id, in the last of those tables.
    pub column: String,
    /// The table whose rows the ids are of, and its column, where there is one.
    pub end: Option<(usize, String)>,
    /// How much speaks for it; from 1.5 on it is believed.
    pub score: f32,
    /// What speaks for it, in words.
    pub evidence: Vec<String>,
}

/// Less is not believed.
const BELIEVED: f32 = 1.5;

/// From here on it is clear.
pub(super) const CLEAR: f32 = 3.3;

impl Path {
    /// Whether both lead to the same, on whatever way.
    pub fn leads_where(&self, other: &Self) -> bool {
        match (&self.end, &other.end) {
            (Some((table, _)), Some((other, _))) => table == other,
            (None, None) => referred(&self.column) == referred(&other.column),
            _ => false,
        }
    }

    /// Whether the way leads through a table.
    pub fn passes(&self, table: usize) -> bool {
        self.via.iter().any(|link| link.key.table == table)
    }

    /// The table that has the column.
    pub fn holder(&self, events: usize) -> usize {
        self.via.last().map_or(events, |link| link.key.table)
    }
}

/// All believable ways from a table to users and to products.
pub(super) struct Paths {
    pub users: Vec<Path>,
    pub products: Vec<Path>,
}

impl Paths {
    pub fn from(catalog: &Catalog, links: &[Link], hints: &Hints, events: usize) -> Self {
        let mut paths = Self { users: Vec::new(), products: Vec::new() };
        let mut ways: Vec<Vec<Link>> = vec![Vec::new()];
        while let Some(via) = ways.pop() {
            let holder = via.last().map_or(events, |link| link.key.table);
            let onward = starting_from(links, holder);
            for link in onward {
                if let (Some(column), [key]) = (link.column(), link.key.keys.as_slice()) {
                    let end = Some((link.key.table, key.clone()));
                    paths.judge(catalog, hints, &via, column, end);
                }
                let returns = link.key.table == events || via.iter().any(|step| step.key.table == link.key.table);
                if via.len() < MOST_STEPS && !returns {
                    let further = via.iter().cloned().chain([link.clone()]);
                    ways.push(further.collect());
                }
            }
            let leads = |column: &String| onward.iter().any(|link| link.key.columns.contains(column));
            for column in catalog.tables[holder].columns.iter().filter(|column| !leads(&column.name)) {
                paths.judge(catalog, hints, &via, &column.name, None);
            }
        }
        paths
    }

    fn judge(&mut self, catalog: &Catalog, hints: &Hints, via: &[Link], column: &str, end: Option<(usize, String)>) {
        let table = end.as_ref().map(|(table, _)| *table);
        let named = referred(column).unwrap_or_default();
        let sides = [
            (&mut self.users, hints.users, like_users as Likeness, &USER_COLUMNS),
            (&mut self.products, hints.products, like_products as Likeness, &PRODUCT_COLUMNS),
        ];
        for (found, hint, likeness, telling) in sides {
            if hint.is_some() && hint != table {
                continue;
            }
            let mut evidence = Vec::new();
            let by_column = likeness(&named);
            let mut score = match table {
                None => 2.2 * by_column,
                Some(table) => {
                    let table = &catalog.tables[table];
                    let by_table = likeness(&subject(&table.name));
                    if by_table > 0.0 {
                        evidence.push(format!("called `{}`", table.name));
                    }
                    let tells = telling.iter().find_map(|word| column_with(table, word));
                    evidence.extend(tells.map(|name| format!("has `{name}`")));
                    let of_columns = if tells.is_some() { 0.8 } else { 0.0 };
                    // Whoever is called a seller is no customer, in whatever table.
                    if by_table < 0.0 || by_column < 0.0 {
                        -1.0
                    } else {
                        3.0 * by_table.max(0.75 * by_column) + of_columns
                    }
                }
            };
            if by_column > 0.0 {
                evidence.push(format!("`{column}` leads to it"));
            }
            if hint.is_some() {
                score = score.max(CLEAR);
                evidence.insert(0, "named on the command line".to_owned());
            }
            let score = score - 0.3 * via.len() as f32;
            if score >= BELIEVED {
                found.push(Path { via: via.to_vec(), column: column.to_owned(), end: end.clone(), score, evidence });
            }
        }
    }
}

/// Words of columns that tables of people have, and tables of products.
const USER_COLUMNS: [&str; 9] =
    ["email", "mail", "login", "username", "password", "firstname", "lastname", "phone", "birthdate"];
const PRODUCT_COLUMNS: [&str; 9] = ["price", "sku", "isbn", "ean", "stock", "cost", "barcode", "duration", "rating"];

fn column_with<'t>(table: &'t Table, word: &str) -> Option<&'t str> {
    let has = |name: &str| {
        let words = words(name);
        words.iter().any(|of_column| of_column == word) || words.join("") == word
    };
    table.columns.iter().map(|column| column.name.as_str()).find(|name| has(name))
}
