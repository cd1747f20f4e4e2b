//! What the computed kinds share: who did what, what is near what, what is popular, and how products look.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::{
    compute,
    interactions::{Builder, Decay, Interactions},
    neighbours::Neighbours,
    object::Members,
    trend::{NO_CATEGORY, Trend},
};
use crate::{
    database::{Argument, Cell, Row, Value, moment},
    id::{Id, IdRef},
    job::{Events, Job, Kind, Of, Recommend, Sql, Trending},
    reader::{Columns, Reader, Split},
    record::{Failure, Meter},
};

/// Products asked for in one statement.
const PRODUCTS_A_STATEMENT: usize = 1000;

/// A model is built when a run finds the first key that is due, and lives as long as the run.
pub(super) struct Model {
    pub interactions: Interactions,
    pub trend: Trend,
    /// Of products or of users; absent for trending lists.
    pub neighbours: Option<Neighbours>,
    pub catalogue: Catalogue,
}

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

    /// The category of an item as JSON.
    pub fn category_json(&self, item: u32) -> &[u8] {
        self.category_json.get(item as usize).map_or(b"null", |json| json)
    }

    /// The members of an item's object.
    pub fn details(&self, item: u32) -> &[u8] {
        self.details.get(item as usize).and_then(Option::as_deref).unwrap_or_default()
    }
}

impl Model {
    /// Reads the events, builds the matrix, reads the products that occur in it.
    pub async fn load(job: &Job, reader: &Reader, now: DateTime<Utc>, meter: &Meter) -> Result<Option<Self>, Failure> {
        let kind = &job.kind;
        let by_category = job.has_categories();
        let (events, products, json) = match kind {
            Kind::Query(_) => return Ok(None),
            Kind::Trending(job) => (&job.events, &job.products, &job.json),
            Kind::Recommend(job) => (&job.events, &job.products, &job.json),
            Kind::Similar(job) => (&job.events, &job.products, &job.json),
        };
        let builder = read_events(events, reader, now).await?;
        let (history, popularity, longest) = match kind {
            Kind::Recommend(job) => {
                (Decay::half_life(job.half_life), Decay::half_life(job.trending_half_life), job.history)
            }
            Kind::Trending(job) => (Decay::NONE, Decay::half_life(job.half_life), u32::MAX),
            Kind::Similar(job) => (Decay::NONE, Decay::NONE, job.history),
            Kind::Query(_) => (Decay::NONE, Decay::NONE, u32::MAX),
        };
        let longest = longest as usize;
        let seconds = now.timestamp();
        let interactions =
            compute::on_threads(meter, move || builder.build(seconds, history, popularity, longest)).await?;
        // The members that the lists write themselves.
        let own: &[&str] = match kind {
            Kind::Trending(_) => &["product_id", "trend_score", "category"],
            _ => &["product_id", "id", "score"],
        };
        let of_users = matches!(kind, Kind::Similar(job) if job.of == Of::Users);
        let (catalogue, categories) = match products {
            Some(sql) if !of_users => {
                let wanted = Wanted { own, json, by_category };
                read_products(sql, &wanted, reader, now, &interactions).await?
            }
            _ => (Catalogue::default(), vec![NO_CATEGORY; interactions.items().len()]),
        };
        if let Kind::Trending(Trending { any_category, .. }) | Kind::Recommend(Recommend { any_category, .. }) = kind
            && by_category
            && catalogue.category(any_category).is_some()
        {
            tracing::warn!(
                "{}: products have the category `{any_category}`, which stands for all of them: it has no list of its own \
                 until `any_category` is another word",
                job.name
            );
        }
        let neighbours = match kind {
            Kind::Recommend(job) => Some((false, job.neighbours)),
            // Neighbours are found by dot product and shown by cosine, which may bring up one from further back.
            Kind::Similar(job) => Some((of_users, job.limit.max(50))),
            Kind::Trending(_) | Kind::Query(_) => None,
        };
        compute::on_threads(meter, move || {
            let mut interactions = interactions;
            if catalogue.described {
                interactions.hide(catalogue.details.iter().map(Option::is_none).collect());
            }
            let neighbours = neighbours.map(|(of_users, count)| match of_users {
                true => Neighbours::of_users(&interactions, count as usize),
                false => Neighbours::of_items(&interactions, count as usize),
            });
            let trend = Trend::new(&interactions, categories);
            Some(Self { interactions, trend, neighbours, catalogue })
        })
        .await
    }
}

struct EventColumns {
    user: usize,
    product: usize,
    at: Option<usize>,
    weight: Option<usize>,
}

impl EventColumns {
    fn find(columns: &Columns<'_>) -> Result<Self, String> {
        Ok(Self {
            user: columns.require("user_id")?,
            product: columns.require("product_id")?,
            at: columns.find("at"),
            weight: columns.find("weight"),
        })
    }
}

/// What each event of a statement is.
#[derive(Clone, Copy)]
struct Worth {
    weight: f32,
    purchase: bool,
}

async fn read_events(events: &[Events], reader: &Reader, now: DateTime<Utc>) -> Result<Builder, Failure> {
    let mut builder = Interactions::builder();
    for source in events {
        // Each statement fills builders of its own, because a passing error starts it again.
        let start = |columns: &Columns<'_>| Ok((EventColumns::find(columns)?, Interactions::builder()));
        let worth = Worth { weight: source.weight, purchase: source.purchase };
        let step = move |(columns, builder): &mut (EventColumns, Builder), row: &Row| {
            push_event(builder, columns, worth, now, row)
        };
        let split = Split { column: "user_id", connections: source.connections };
        for (_, read) in reader.fold_parts(&source.sql, &source.sql.arguments(now), &split, start, step).await? {
            builder.append(read);
        }
    }
    Ok(builder)
}

fn push_event(
    builder: &mut Builder,
    columns: &EventColumns,
    worth: Worth,
    now: DateTime<Utc>,
    row: &Row,
) -> Result<(), String> {
    let cell = |column: usize| row.cell(column).map_err(|error| error.message);
    let (user, product) = (cell(columns.user)?, cell(columns.product)?);
    let (Some(user), Some(product)) = (id_ref(&user), id_ref(&product)) else {
        // Somebody unknown did something, or something was done with nothing: no interaction.
        return Ok(());
    };
    let at = match columns.at {
        None => now.timestamp(),
        Some(column) => match row.unix_seconds(column) {
            Some(seconds) => seconds,
            None => unix_seconds(&cell(column)?)?,
        },
    };
    let weight = match columns.weight {
        None => 1.0,
        Some(column) => match cell(column)? {
            Cell::Null => 0.0,
            Cell::Int(number) => number as f32,
            Cell::Number(text) => text.parse().map_err(|_| format!("column `weight`: {text} is no number"))?,
            other => return Err(format!("column `weight`: {} is no number", other.text().unwrap_or_default())),
        },
    };
    builder.push(user, product, at, weight * worth.weight, worth.purchase);
    Ok(())
}

fn id_ref<'c>(cell: &'c Cell<'_>) -> Option<IdRef<'c>> {
    match cell {
        Cell::Int(number) => Some(IdRef::Int(*number)),
        Cell::Number(text) => Some(text.parse().map_or(IdRef::Text(text), IdRef::Int)),
        Cell::Text(text) | Cell::Json(text) => Some(IdRef::Text(text)),
        Cell::Bool(value) => Some(IdRef::Text(if *value { "true" } else { "false" })),
        Cell::Null => None,
    }
}

/// A moment: a timestamp or date as text (without offset in UTC), or Unix seconds.
fn unix_seconds(cell: &Cell<'_>) -> Result<i64, String> {
    let parsed = match cell {
        Cell::Int(seconds) => Some(*seconds),
        Cell::Number(text) => text.parse::<f64>().ok().map(|seconds| seconds as i64),
        Cell::Text(text) => parse_moment(text),
        _ => None,
    };
    parsed.ok_or_else(|| {
        let shown = cell.text().unwrap_or("NULL".into());
        if matches!(cell, Cell::Text(text) if text.parse::<f64>().is_ok()) {
            return format!(
                "column `at`: the text `{shown}` is no moment; Unix seconds are a number: give a CAST of it"
            );
        }
        format!("column `at`: {shown} is no moment; give a timestamp or Unix seconds")
    })
}

fn parse_moment(text: &str) -> Option<i64> {
    let zoned = || DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.timestamp());
    moment::unix_seconds(text).or_else(zoned).or_else(|| {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|day| NaiveDateTime::from(day).and_utc().timestamp())
    })
}

/// What is wanted of the products.
struct Wanted<'j> {
    /// Members that the lists write themselves.
    own: &'j [&'j str],
    /// Columns that hold JSON as text.
    json: &'j [String],
    /// The category is needed.
    by_category: bool,
}

struct ProductColumns {
    product: usize,
    category: Option<usize>,
    members: Members,
}

/// Reads the products that occur in the matrix, in batches when the statement asks for them by `:product_id`.
async fn read_products(
    sql: &Sql,
    wanted: &Wanted<'_>,
    reader: &Reader,
    now: DateTime<Utc>,
    interactions: &Interactions,
) -> Result<(Catalogue, Vec<u32>), Failure> {
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
                category: match wanted.by_category {
                    true => Some(columns.require("category")?),
                    false => columns.find("category"),
                },
                members: Members::new(columns, wanted.own, wanted.json)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_timestamps_dates_or_unix_seconds() {
        for (text, seconds) in [
            ("2011-11-01T00:00:00", 1_320_105_600),
            ("2011-11-01 00:00:00.123", 1_320_105_600),
            ("2011-11-01T00:00:00.5+00:00", 1_320_105_600),
            ("2011-11-01T01:00:00+01:00", 1_320_105_600),
            ("2011-11-01", 1_320_105_600),
        ] {
            assert_eq!(unix_seconds(&Cell::Text(text.into())).unwrap(), seconds, "{text}");
        }
        assert_eq!(unix_seconds(&Cell::Int(7)).unwrap(), 7);
        assert!(unix_seconds(&Cell::Text("yesterday".into())).unwrap_err().contains("is no moment"));
        assert!(unix_seconds(&Cell::Null).is_err());
        let told = unix_seconds(&Cell::Text("1791977160".into())).unwrap_err();
        assert_eq!(
            told,
            "column `at`: the text `1791977160` is no moment; Unix seconds are a number: give a CAST of it"
        );
    }
}
