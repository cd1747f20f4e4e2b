//! What products are sorted by.

use super::{
    Hints,
    links::{Link, starting_from},
    roles::{Confidence, Undecided, confidence},
    words::{like_categories, referred, subject, words},
};
use crate::database::{Catalog, Column, ColumnKind, Table};

/// Where a product's category stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// In a column of the products.
    Column(String),
    /// In a table that the products lead to.
    Table(Link),
    /// In a table that a table between leads to; a product may have several.
    Between {
        /// From the table between to the products.
        products: Link,
        /// From the table between to the categories.
        categories: Link,
    },
}

/// The categories of products.
#[derive(Debug, Clone)]
pub struct Categories {
    /// Where a product's category stands.
    pub place: Place,
    /// The column that names it.
    pub label: String,
    /// How much speaks for it.
    pub score: f32,
    /// What speaks for it, in words.
    pub evidence: Vec<String>,
}

/// Less does not make categories of a table.
const BELIEVED: f32 = 1.2;

impl Categories {
    /// The table of the categories; `None` where they are a column of the products.
    pub fn table(&self) -> Option<usize> {
        match &self.place {
            Place::Column(_) => None,
            Place::Table(link) => Some(link.key.table),
            Place::Between { categories, .. } => Some(categories.key.table),
        }
    }

    /// How sure it is that these are the categories.
    pub fn confidence(&self) -> Confidence {
        confidence(self.score, 2.5, 1.8)
    }
}

/// The best categories of a table of products, if there are any.
///
/// # Errors
///
/// The table that was named leads nowhere.
pub(super) fn find(
    catalog: &Catalog,
    links: &[Link],
    products: usize,
    hints: &Hints,
) -> Result<Option<Categories>, Undecided> {
    let mut found = Vec::new();
    for link in starting_from(links, products) {
        found.extend(in_table(catalog, products, Place::Table(link.clone())));
    }
    for between in links.iter().filter(|link| link.key.table == products) {
        for link in starting_from(links, between.from).iter().filter(|link| link.key.table != products) {
            let place = Place::Between { products: between.clone(), categories: link.clone() };
            found.extend(in_table(catalog, products, place));
        }
    }
    for column in &catalog.tables[products].columns {
        let likeness = like_categories(&words(&column.name));
        if column.kind == ColumnKind::Text && likeness > 0.0 {
            found.push(Categories {
                place: Place::Column(column.name.clone()),
                label: column.name.clone(),
                score: 2.6 * likeness,
                evidence: vec![format!("the column `{}` of the products", column.name)],
            });
        }
    }
    if let Some(hint) = hints.categories {
        for categories in &mut found {
            categories.score = categories.score.max(BELIEVED);
            categories.evidence.insert(0, "named on the command line".to_owned());
        }
        found.retain(|categories| categories.table() == Some(hint));
        if found.is_empty() {
            let (products, named) = (&catalog.tables[products], &catalog.tables[hint]);
            let why = format!("`{products}` does not lead to `{named}`, and no table between them leads to both");
            return Err(Undecided(vec![why]));
        }
    }
    found.retain(|categories| categories.score >= BELIEVED);
    Ok(found.into_iter().max_by(|a, b| a.score.total_cmp(&b.score)))
}

fn in_table(catalog: &Catalog, products: usize, place: Place) -> Option<Categories> {
    let (link, is_between) = match &place {
        Place::Table(link) => (link, false),
        Place::Between { categories, .. } => (categories, true),
        Place::Column(_) => return None,
    };
    let table = &catalog.tables[link.key.table];
    let by_column = link.column().and_then(referred).map_or(0.0, |words| like_categories(&words));
    let mut score = 3.0 * like_categories(&subject(&table.name)).max(0.8 * by_column);
    let mut evidence = Vec::new();
    if score > 0.0 {
        evidence.push(format!("called `{}`", table.name));
    }
    evidence.push(match is_between {
        true => format!("`{}` leads from products to it", catalog.tables[link.from]),
        false => format!("products lead to it by `{}`", link.key.columns.join("`, `")),
    });
    // A category of one or two products sorts nothing.
    if let (Some(categories), Some(products)) = (table.rows, catalog.tables[products].rows)
        && categories > 20
        && categories > products / 3
    {
        score -= 1.5;
    }
    if table.rows == Some(0) || is_between && catalog.tables[link.from].rows == Some(0) {
        score -= 3.0;
    }
    score -= if is_between { 0.4 } else { 0.0 };
    // What is joined by several columns is known by none of them.
    let key = match link.key.keys.as_slice() {
        [key] => key.clone(),
        _ => return None,
    };
    Some(Categories { label: label(table).unwrap_or(key), place, score, evidence })
}

/// The column by which people know a row.
pub(super) fn label(table: &Table) -> Option<String> {
    let names = ["name", "title", "label", "caption", "slug", "code"];
    let named = |wanted: &&str| {
        let texts = table.columns.iter().filter(|column| column.kind == ColumnKind::Text);
        let ends = |column: &&Column| words(&column.name).last().is_some_and(|last| last == wanted);
        // `name` rather than `vendor_name`.
        texts.filter(ends).min_by_key(|column| words(&column.name).len())
    };
    names.iter().find_map(named).map(|column| column.name.clone())
}
