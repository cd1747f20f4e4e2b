//! What is said of tables on the command line.

use crate::{
    database::{Catalog, Table},
    problems::unknown,
};

/// Names of tables as they were written on the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The table of the users.
    pub users: Option<String>,
    /// The table of the products.
    pub products: Option<String>,
    /// The table of the events, with the column that says when behind a dot if wanted.
    pub events: Option<String>,
    /// The table of the categories.
    pub categories: Option<String>,
}

/// The same as places in a catalogue.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// The table of the users.
    pub users: Option<usize>,
    /// The table of the products.
    pub products: Option<usize>,
    /// The table of the events, and the column that says when.
    pub events: Option<(usize, Option<String>)>,
    /// The table of the categories.
    pub categories: Option<usize>,
}

impl Flags {
    /// Looks the names up.
    ///
    /// # Errors
    ///
    /// Names that the catalogue does not have, a line each, with the likely meant one.
    pub fn resolve(&self, catalog: &Catalog) -> Result<Hints, Vec<String>> {
        let mut wrong = Vec::new();
        let mut table = |flag: &str, name: &Option<String>| {
            let name = name.as_deref()?;
            let found = find(catalog, name);
            if found.is_none() {
                wrong.push(format!("--{flag}: {}", unknown("table", name, &names(catalog))));
            }
            found
        };
        let users = table("users", &self.users);
        let products = table("products", &self.products);
        let categories = table("categories", &self.categories);
        let events = self.events.as_deref().and_then(|name| match events(catalog, name) {
            Ok(events) => Some(events),
            Err(why) => {
                wrong.push(format!("--events: {why}"));
                None
            }
        });
        if wrong.is_empty() { Ok(Hints { users, products, events, categories }) } else { Err(wrong) }
    }
}

fn names(catalog: &Catalog) -> Vec<String> {
    catalog.tables.iter().map(ToString::to_string).collect()
}

/// A table by its name; PostgreSQL's with their schema, on the search path or not, or without where only one bears the
/// name.
fn find(catalog: &Catalog, name: &str) -> Option<usize> {
    let places = || catalog.tables.iter().enumerate();
    let only = |is: &dyn Fn(&str, &str) -> bool| {
        let mut found = places().filter(|(_, table)| is(&table.to_string(), &table.name)).map(|(place, _)| place);
        found.next().filter(|_| found.next().is_none())
    };
    let at_home =
        || places().find(|(_, table)| name.strip_suffix(&table.name).is_some_and(|rest| is_home(table, rest)));
    only(&|full, _| full == name)
        .or_else(|| at_home().map(|(place, _)| place))
        .or_else(|| only(&|_, short| short == name))
        .or_else(|| only(&|full, short| full.eq_ignore_ascii_case(name) || short.eq_ignore_ascii_case(name)))
}

/// Whether what stands before a table's name is its schema and a dot.
fn is_home(table: &Table, rest: &str) -> bool {
    !table.home.is_empty() && rest.strip_suffix('.') == Some(table.home.as_str())
}

/// A table, or a table and the column behind the last dot.
fn events(catalog: &Catalog, name: &str) -> Result<(usize, Option<String>), String> {
    if let Some(place) = find(catalog, name) {
        return Ok((place, None));
    }
    let Some((table, column)) = name.rsplit_once('.') else {
        return Err(unknown("table", name, &names(catalog)));
    };
    let place = find(catalog, table).ok_or_else(|| unknown("table", table, &names(catalog)))?;
    // The column may be one of a table on the way to the user: an order's date says when its lines were bought.
    let columns = || catalog.tables.iter().flat_map(|table| &table.columns).map(|column| &column.name);
    match columns().find(|known| known.eq_ignore_ascii_case(column)) {
        Some(column) => Ok((place, Some(column.clone()))),
        None => {
            let own: Vec<&String> = catalog.tables[place].columns.iter().map(|column| &column.name).collect();
            Err(unknown("column", column, &own))
        }
    }
}
