//! What was found, for people and programs.

use std::fmt;

use super::{
    Shop,
    categories::Place,
    roles::{Confidence, Signal},
};

/// The part that a table plays, and why.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The table; for categories in a column of the products, theirs.
    pub table: String,
    /// Its part: `events`, `users`, `products` or `categories`.
    pub role: &'static str,
    /// How sure that is.
    pub confidence: Confidence,
    /// What speaks for it, in words.
    pub evidence: Vec<String>,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        })
    }
}

/// A number of rows: an estimate or a count, the small ones always a count.
fn in_rows(rows: u64) -> String {
    match rows {
        0 => "no rows".to_owned(),
        1 => "one row".to_owned(),
        rows => format!("about {rows} rows"),
    }
}

impl Shop {
    /// The parts that tables play, events first.
    pub fn findings(&self) -> Vec<Finding> {
        let table = |place: usize| self.catalog.tables[place].to_string();
        let rows = |place: usize| self.catalog.tables[place].rows.map(in_rows);
        let mut findings = Vec::new();
        for source in &self.sources {
            let events = &source.events;
            let says = match events.signal {
                Signal::Purchase => "they count as purchases",
                Signal::Interest(_) => "they count half as much as purchases",
                Signal::Glance => "they count a fifth of purchases",
            };
            let when = match &source.time {
                None => "nothing tells when".to_owned(),
                Some(time) => {
                    let place = match time.column.step {
                        0 => events.table,
                        step => events.user.via[step - 1].key.table,
                    };
                    format!("`{}.{}` tells when", table(place), time.column.column)
                }
            };
            let evidence =
                rows(events.table).into_iter().chain(events.evidence.iter().cloned()).chain([when, says.to_owned()]);
            findings.push(Finding {
                table: table(events.table),
                role: "events",
                confidence: events.confidence(),
                evidence: evidence.collect(),
            });
        }
        if let Some(first) = self.sources.first() {
            for (role, path) in [("users", &first.events.user), ("products", &first.events.product)] {
                let (name, rows) = match &path.end {
                    Some((end, _)) => (table(*end), rows(*end)),
                    None => {
                        let holder = table(path.holder(first.events.table));
                        (format!("{holder}.{}", path.column), Some("no table of their own".to_owned()))
                    }
                };
                let evidence = rows.into_iter().chain(path.evidence.iter().cloned()).collect();
                findings.push(Finding { table: name, role, confidence: path.confidence(), evidence });
            }
            if let (Some(categories), Some((products, _))) = (&self.categories, &first.events.product.end) {
                let place = categories.table().unwrap_or(*products);
                let named = format!("named by `{}`", categories.label);
                let evidence = categories.evidence.iter().cloned().chain([named]).collect();
                let confidence = categories.confidence();
                findings.push(Finding { table: table(place), role: "categories", confidence, evidence });
            }
        }
        findings
    }

    /// Tables that play no part.
    pub fn others(&self) -> Vec<String> {
        let mut used: Vec<usize> = Vec::new();
        for source in &self.sources {
            let events = &source.events;
            used.push(events.table);
            for path in [&events.user, &events.product] {
                used.extend(path.via.iter().map(|link| link.key.table));
                used.extend(path.end.iter().map(|(end, _)| *end));
            }
        }
        if let Some(categories) = &self.categories {
            used.extend(categories.table());
            if let Place::Between { products, .. } = &categories.place {
                used.push(products.from);
            }
        }
        let tables = self.catalog.tables.iter().enumerate();
        tables.filter(|(place, _)| !used.contains(place)).map(|(_, table)| table.to_string()).collect()
    }
}
