//! How products look, by the statement that describes them.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{events::id_ref, interactions::Interactions, object::Members, trend::NO_CATEGORY};
use crate::{
    database::{Argument, Row, Value},
    id::Id,
    job::Sql,
    reader::{Columns, Reader},
    record::Failure,
};

/// Products asked for in one statement.
const PRODUCTS_A_STATEMENT: usize = 1000;

/// Products as their statement describes them, by the index of the item.
#[derive(Default)]
pub(super) struct Catalogue {
    /// Indices by the category's text.
    categories: HashMap<String, u32>,
    /// The category of each item as JSON.
    category_json: Vec<Arc<[u8]>>,
    /// The members of each item's object; `None` for a product that its statement does not know.
    details: Vec<Option<Box<[u8]>>>,
    /// Without a statement there is nothing to describe, and every item may be shown.
    described: bool,
}

impl Catalogue {
    /// The index of a category, if any product has it.
    pub fn category(&self, id: &Id) -> Option<u32> {
        self.categories.get(&id.to_string()).copied()
    }

    /// Per item, whether the statement does not know it; nothing without a statement.
    pub fn unknown(&self) -> Option<Vec<bool>> {
        self.described.then(|| self.details.iter().map(Option::is_none).collect())
    }

    /// The category of an item as JSON.
    pub fn category_json(&self, item: u32) -> &[u8] {
        self.category_json.get(item as usize).map_or(b"null", |json| json)
    }

    /// The members of an item's object.
    pub fn details(&self, item: u32) -> &[u8] {
        self.details.get(item as usize).and_then(Option::as_deref).unwrap_or_default()
    }
}

/// How products are described.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Description {
    /// One row a product.
    pub sql: Sql,
    /// Members that the lists write themselves.
    pub own: &'static [&'static str],
    /// Columns that hold JSON as text.
    pub json: Vec<String>,
    /// The category is needed.
    pub by_category: bool,
}

struct ProductColumns {
    product: usize,
    category: Option<usize>,
    members: Members,
}

impl Description {
    /// Reads the products that occur in the matrix, in batches when the statement asks for them by `:product_id`. Besides
    /// what is known of them, gives the category of each item.
    pub async fn read(
        &self,
        reader: &Reader,
        now: DateTime<Utc>,
        interactions: &Interactions,
    ) -> Result<(Catalogue, Vec<u32>), Failure> {
        let Self { sql, own, json, by_category } = self;
        let items = interactions.items();
        let mut catalogue = Catalogue {
            categories: HashMap::new(),
            category_json: vec![Arc::from(b"null".as_slice()); items.len()],
            details: vec![None; items.len()],
            described: true,
        };
        let mut category_of = vec![NO_CATEGORY; items.len()];
        let batches: Vec<&[Id]> = match sql.uses("product_id") {
            true => items.chunks(PRODUCTS_A_STATEMENT).collect(),
            false => vec![items],
        };
        let mut json_of_category: Vec<Arc<[u8]>> = Vec::new();
        for batch in batches {
            let mut arguments = sql.arguments(now);
            if sql.uses("product_id") {
                let ids = batch.iter().map(Value::from).collect();
                arguments.insert("product_id".to_owned(), Argument::Many(ids));
            }
            let start = |columns: &Columns<'_>| {
                let columns = ProductColumns {
                    product: columns.require("product_id")?,
                    category: match by_category {
                        true => Some(columns.require("category")?),
                        false => columns.find("category"),
                    },
                    members: Members::new(columns, own, json)?,
                };
                Ok((columns, Vec::new()))
            };
            let step = |(columns, rows): &mut (ProductColumns, Vec<_>), row: &Row| {
                let product = row.cell(columns.product).map_err(|error| error.message)?;
                // The statement may know more products than anybody had to do with.
                let Some(item) = id_ref(&product).and_then(|id| interactions.item(id)) else {
                    return Ok(());
                };
                let category = columns.category.map(|column| row.cell(column)).transpose().map_err(|e| e.message)?;
                let category = category.and_then(|cell| {
                    let mut json = Vec::new();
                    cell.write_json(&mut json);
                    Some((cell.text()?.into_owned(), json))
                });
                let mut details = Vec::new();
                columns.members.write(row, &mut details)?;
                rows.push((item, category, details.into_boxed_slice()));
                Ok(())
            };
            let (_, rows) = reader.fold(sql, &arguments, start, step).await?;
            for (item, category, details) in rows {
                catalogue.details[item as usize] = Some(details);
                if let Some((category, json)) = category {
                    let next = catalogue.categories.len() as u32;
                    let index = *catalogue.categories.entry(category).or_insert(next);
                    if index == next {
                        json_of_category.push(json.into());
                    }
                    category_of[item as usize] = index;
                    catalogue.category_json[item as usize] = Arc::clone(&json_of_category[index as usize]);
                }
            }
        }
        Ok((catalogue, category_of))
    }
}
