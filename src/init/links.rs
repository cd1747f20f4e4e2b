//! Which columns lead from one table to another: by declared foreign keys, else by their names.

use super::words::{referred, subject, words};
use crate::database::{Catalog, Column, ColumnKind, ForeignKey, Table};

/// A step from many rows of one table to one of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The index of the table that has the columns.
    pub from: usize,
    /// The columns and where they lead.
    pub key: ForeignKey,
    /// Whether the database knows of it; else the names say so.
    pub is_declared: bool,
}

impl Link {
    /// The only column of the link, unless it has several.
    pub fn column(&self) -> Option<&str> {
        match self.key.columns.as_slice() {
            [column] => Some(column),
            _ => None,
        }
    }
}

/// The links of a catalogue, in the order of the tables that they start from; none from a table to itself.
pub fn links(catalog: &Catalog) -> Vec<Link> {
    let names: Vec<Names> = catalog
        .tables
        .iter()
        .map(|table| [subject(&table.name), words(&table.name)].map(|words| words.concat()))
        .collect();
    let mut links = Vec::new();
    for (from, table) in catalog.tables.iter().enumerate() {
        let declared = table.foreign_keys.iter().filter(|key| key.table != from);
        links.extend(declared.map(|key| Link { from, key: key.clone(), is_declared: true }));
        for column in &table.columns {
            let declared = |key: &ForeignKey| key.columns.contains(&column.name);
            // A key of its own that is not made of others' leads nowhere.
            let is_own = table.primary_key == [column.name.clone()];
            if is_own || table.foreign_keys.iter().any(declared) {
                continue;
            }
            let key = by_name(catalog, &names, from, column);
            links.extend(key.map(|key| Link { from, key, is_declared: false }));
        }
    }
    links
}

/// Those of a catalogue's links that start from a table.
pub(super) fn starting_from(links: &[Link], table: usize) -> &[Link] {
    let start = links.partition_point(|link| link.from < table);
    let length = links[start..].partition_point(|link| link.from == table);
    &links[start..start + length]
}

/// What a table's name says that it holds, and the whole name, both in the singular and without what parts words.
type Names = [String; 2];

/// The table that a column speaks of, when it can hold that table's key.
fn by_name(catalog: &Catalog, names: &[Names], from: usize, column: &Column) -> Option<ForeignKey> {
    let referred = referred(&column.name)?.concat();
    let mut best: Option<((u8, bool, usize), ForeignKey)> = None;
    for (place, (table, names)) in catalog.tables.iter().zip(names).enumerate() {
        let is_subject = names.contains(&referred);
        let Some(key) = key_of(table, is_subject.then_some(&column.name)) else { continue };
        let likeness = match (is_subject, key.name.eq_ignore_ascii_case(&column.name)) {
            (true, _) => 2,
            // `customer_id` is the key of a table of another name: the natural key of data without declared ones.
            (false, true) => 1,
            (false, false) => continue,
        };
        if place == from || !can_be_equal(column.kind, key.kind) {
            continue;
        }
        // Of several, a table rather than a view, and the one with the shorter name.
        let rank = (likeness, !table.is_view, usize::MAX - table.name.len());
        if best.as_ref().is_none_or(|(best, _)| rank > *best) {
            let keys = vec![key.name.clone()];
            best = Some((rank, ForeignKey { columns: vec![column.name.clone()], table: place, keys }));
        }
    }
    best.map(|(_, key)| key)
}

/// The column by which rows of a table are known, as far as one does. Where none is declared, it may bear the name that
/// another table's column for it has.
fn key_of<'t>(table: &'t Table, named_elsewhere: Option<&String>) -> Option<&'t Column> {
    let named = |name: &str| table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    match table.primary_key.as_slice() {
        [key] => table.column(key),
        [] => named("id").or_else(|| named(named_elsewhere?)),
        _ => None,
    }
}

/// Whether values of the two types can be compared without a cast.
fn can_be_equal(a: ColumnKind, b: ColumnKind) -> bool {
    use ColumnKind::{Integer, Number, Undeclared};
    a == b || a == Undeclared || b == Undeclared || matches!((a, b), (Integer | Number, Integer | Number))
}
