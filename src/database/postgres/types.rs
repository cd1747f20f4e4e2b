//! Types that are not built in: arrays, enums, domains, what extensions bring.

use std::collections::HashMap;

use sqlx::{
    AssertSqlSafe, Row as _, TypeInfo as _,
    postgres::{PgConnection, PgRow, PgTypeInfo},
};

use super::{Kind, oid};

/// What is known of types by OID; lasts as long as the session.
#[derive(Default)]
pub(super) struct Types(HashMap<u32, Known>);

struct Known {
    /// As it can stand in a cast.
    name: String,
    kind: Kind,
}

/// A row of `pg_type`.
struct Described {
    name: String,
    /// Between the elements of an array.
    delimiter: char,
    /// Of a domain, else 0.
    base: u32,
    /// Of an array, else 0.
    element: u32,
}

impl Types {
    /// How values of a type are read.
    pub fn kind(&self, oid: u32) -> Kind {
        Kind::built_in(oid).or_else(|| self.0.get(&oid).map(|known| known.kind.clone())).unwrap_or(Kind::Text)
    }

    /// A type's name as it can stand in a cast.
    pub fn name(&self, of: &PgTypeInfo) -> String {
        self.0.get(&oid(of)).map_or_else(|| of.name().to_owned(), |known| known.name.clone())
    }

    /// Looks up types, and what they are made of.
    pub async fn learn(&mut self, connection: &mut PgConnection, mut wanted: Vec<u32>) -> Result<(), sqlx::Error> {
        let mut found: HashMap<u32, Described> = HashMap::new();
        loop {
            wanted.retain(|oid| *oid != 0 && !self.0.contains_key(oid) && !found.contains_key(oid));
            if wanted.is_empty() {
                break;
            }
            let list = wanted.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            // An array type is one whose subscripts are elements: `name` and `point` also have an element type.
            let lookup = format!(
                "SELECT oid, pg_catalog.format_type(oid, NULL), typdelim, typbasetype, \
                 CASE WHEN typcategory = 'A' AND typlen = -1 THEN typelem ELSE 0 END \
                 FROM pg_catalog.pg_type WHERE oid IN ({list})"
            );
            let types = sqlx::raw_sql(AssertSqlSafe(lookup)).fetch_all(&mut *connection).await?;
            // A type that is gone is not looked for again.
            wanted.clear();
            for row in &types {
                let (base, element) = (number(row, 3)?, number(row, 4)?);
                wanted.extend([base, element].into_iter().filter(|oid| Kind::built_in(*oid).is_none()));
                let delimiter = text(row, 2)?.chars().next().unwrap_or(',');
                found.insert(number(row, 0)?, Described { name: text(row, 1)?.to_owned(), delimiter, base, element });
            }
        }
        for (oid, described) in &found {
            let known = Known { name: described.name.clone(), kind: self.kind_among(*oid, &found) };
            self.0.insert(*oid, known);
        }
        Ok(())
    }

    fn kind_among(&self, oid: u32, found: &HashMap<u32, Described>) -> Kind {
        match found.get(&oid) {
            Some(Described { element, delimiter, .. }) if *element != 0 => {
                Kind::Array(Box::new(self.kind_among(*element, found)), *delimiter)
            }
            Some(Described { base, .. }) if *base != 0 => self.kind_among(*base, found),
            _ => self.kind(oid),
        }
    }
}

fn text(row: &PgRow, index: usize) -> Result<&str, sqlx::Error> {
    row.try_get_raw(index)?.as_str().map_err(sqlx::Error::Decode)
}

fn number(row: &PgRow, index: usize) -> Result<u32, sqlx::Error> {
    text(row, index)?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
