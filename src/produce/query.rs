//! Rows become values.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    ops::Range,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rustc_hash::FxHasher;
use tokio::sync::mpsc;

use super::{Produced, object::Members, refuse_over};
use crate::{
    database::{Argument, Cell, Row, Value},
    job::{Each, Job, Query},
    reader::{Columns, Reader},
    record::{Failure, Meter},
    targets::{Only, Target},
};

/// A key and its value, from a statement that needs no targets.
pub struct Exploded {
    /// What the key template gave, or why it gave nothing.
    pub key: Result<String, String>,
    /// The value, a part of the memory that its batch shares.
    pub value: Bytes,
}

/// The values of some targets, by one statement.
pub(super) async fn for_targets(
    job: &Job,
    query: &Query,
    reader: &Reader,
    now: DateTime<Utc>,
    largest: usize,
    targets: &[Target],
) -> Result<Vec<Produced>, Failure> {
    let mut arguments = query.sql.arguments(now);
    let names: Vec<&str> = job.targets.iter().map(|list| list.name.as_str()).collect();
    for (list, name) in names.iter().enumerate().filter(|(_, name)| query.sql.uses(name)) {
        arguments.insert((*name).to_owned(), Argument::Many(distinct(targets, list)));
    }
    // Targets are found again by text, because a user's id may be an integer in one table and a decimal in another.
    let index: HashMap<String, usize> = targets
        .iter()
        .enumerate()
        .map(|(index, target)| {
            (joined(target.iter().map(|id| id.as_ref().map(|id| Cow::Owned(id.to_string())))), index)
        })
        .collect();
    let start = |columns: &Columns<'_>| {
        let keys = names.iter().map(|name| columns.require(name)).collect::<Result<Vec<_>, _>>()?;
        Ok((keys, Members::new(columns, &names, &query.json)?, vec![Produced::Empty; targets.len()]))
    };
    let closing = usize::from(query.each == Each::List);
    let (_, _, mut produced) = reader
        .fold(&query.sql, &arguments, start, |(keys, values, produced), row| {
            let cells = keys.iter().map(|key| row.cell(*key)).collect::<Result<Vec<_>, _>>().map_err(|e| e.message)?;
            // A statement may return more than it was asked for.
            if let Some(&target) = index.get(&joined(cells.iter().map(Cell::text))) {
                gather(&mut produced[target], query.each, |out| {
                    values.write_object(row, out)?;
                    refuse_over(largest, out.len() + closing)
                });
            }
            Ok(())
        })
        .await?;
    if query.each == Each::List {
        for value in &mut produced {
            if let Produced::Value(list) = value {
                list.push(b']');
            }
        }
    }
    Ok(produced)
}

/// Takes one more row into a target's value. A list stays open until all rows were seen.
fn gather(value: &mut Produced, each: Each, write: impl FnOnce(&mut Vec<u8>) -> Result<(), String>) {
    let result = match (each, &mut *value) {
        (Each::Row, Produced::Empty) => {
            let mut out = Vec::new();
            write(&mut out).map(|()| out)
        }
        (Each::Row, Produced::Value(_)) => Err(SECOND_ROW.to_owned()),
        (Each::List, Produced::Empty) => {
            let mut out = vec![b'['];
            write(&mut out).map(|()| out)
        }
        (Each::List, Produced::Value(list)) => {
            let mut out = std::mem::take(list);
            out.push(b',');
            write(&mut out).map(|()| out)
        }
        (_, Produced::Failed(_)) => return,
    };
    *value = result.map_or_else(Produced::Failed, Produced::Value);
}

const SECOND_ROW: &str = "a second row for the same key; gather rows with each = \"list\", or make the key finer";

fn distinct(targets: &[Target], list: usize) -> Vec<Value> {
    let mut seen = HashSet::new();
    let ids = targets.iter().filter_map(|target| target[list].as_ref()).filter(|id| seen.insert(*id));
    ids.map(Value::from).collect()
}

fn joined<'c>(texts: impl Iterator<Item = Option<Cow<'c, str>>>) -> String {
    texts.fold(String::new(), |mut joined, text| {
        joined.push_str(text.as_deref().unwrap_or("\0"));
        joined.push('\u{1f}');
        joined
    })
}

/// How many keys back a key is recognised at least when it comes again, and twice as many at most. Bounded, because a
/// statement may give any number.
const REMEMBERED: usize = 1 << 16;

/// A batch of exploded values ends at this size.
const BATCH_BYTES: usize = 512 << 10;

/// Which values are asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub only: &'a [Only],
    /// In bytes.
    pub largest: usize,
}

/// Runs the statement of a job without targets and sends a value a key.
///
/// The rows of a list must come one after the other. When a list's key comes back, the run ends; when a row's does, that
/// row is an error of its key.
pub(super) async fn explode(
    job: &Job,
    query: &Query,
    reader: &Reader,
    now: DateTime<Utc>,
    wanted: Wanted<'_>,
    meter: &Meter,
    out: &mpsc::Sender<Vec<Exploded>>,
) -> Result<(), Failure> {
    let chunk = job.limits.batch.get() as usize;
    let state = reader
        .stream(
            &query.sql,
            &query.sql.arguments(now),
            |columns| Explosion::new(job, query, wanted.only, columns),
            |state, row| {
                state.take(job, query, wanted, row)?;
                let full = state.done.len() >= chunk || state.whole_bytes() >= BATCH_BYTES;
                Ok(full.then(|| state.send(meter)))
            },
            out,
        )
        .await?;
    let mut state = state;
    state.close(query.each);
    if !state.done.is_empty() {
        let _ = out.send(state.send(meter)).await;
    }
    Ok(())
}

struct Explosion {
    /// Columns of the key's variables.
    keys: Vec<(String, usize)>,
    values: Members,
    /// The values of this batch, one behind the other, instead of an allocation for each.
    bytes: Vec<u8>,
    /// The list that rows are being gathered for; its value ends where `bytes` does.
    open: Option<Open>,
    done: Vec<Part>,
    recent: Hashes,
    /// What was recent before `recent` became full.
    older: Hashes,
}

/// A list that rows are being gathered for.
struct Open {
    key: Result<String, String>,
    /// Where its value begins.
    start: usize,
    /// Why it will not be written; the rest of its rows is passed over.
    failed: Option<String>,
}

/// A key, and where its value stands.
struct Part {
    key: Result<String, String>,
    value: Range<usize>,
}

type Hashes = HashSet<u64, BuildHasherDefault<FxHasher>>;

impl Explosion {
    fn new(job: &Job, query: &Query, only: &[Only], columns: &Columns<'_>) -> Result<Self, String> {
        let names: Vec<&str> = job.key.variables().collect();
        let column = |name: &str| Ok((name.to_owned(), columns.require(name)?));
        let keys = names.iter().map(|name| column(name)).collect::<Result<Vec<_>, String>>()?;
        for only in only {
            if !names.contains(&only.name.as_str()) {
                return Err(crate::problems::unknown("target", &only.name, &names));
            }
        }
        Ok(Self {
            keys,
            values: Members::new(columns, &names, &query.json)?,
            bytes: Vec::new(),
            open: None,
            done: Vec::new(),
            recent: Hashes::default(),
            older: Hashes::default(),
        })
    }

    fn take(&mut self, job: &Job, query: &Query, wanted: Wanted<'_>, row: &Row) -> Result<(), String> {
        let cells = self.keys.iter().map(|(_, index)| row.cell(*index)).collect::<Result<Vec<_>, _>>();
        let cells = cells.map_err(|error| error.message)?;
        let texts: Vec<Option<Cow<'_, str>>> = cells.iter().map(Cell::text).collect();
        let text = |name: &str| {
            let at = self.keys.iter().position(|(key, _)| key == name)?;
            texts[at].as_deref()
        };
        let Wanted { only, largest } = wanted;
        let is_in = |only: &Only| only.values.iter().any(|value| text(&only.name) == Some(value.to_string().as_str()));
        if !only.iter().all(is_in) {
            return Ok(());
        }
        let key = job.key.render(text).map_err(|why| format!("a row for {}: {why}", job.key));
        match (query.each, &mut self.open) {
            (Each::List, Some(open)) if open.key == key => {
                if open.key.is_ok() && open.failed.is_none() {
                    self.bytes.push(b',');
                    self.append(row, query.each, largest);
                }
            }
            (each, _) => {
                self.close(each);
                let (key, failed) = match key.map(|key| (self.is_new(&key), key)) {
                    Ok((false, key)) if each == Each::List => {
                        // Part of its list is written already; the rest of the rows would not make it whole.
                        return Err(format!("the rows of {key} do not come one after the other; add ORDER BY"));
                    }
                    Ok((false, key)) => (Ok(key), Some(SECOND_ROW.to_owned())),
                    Ok((true, key)) => (Ok(key), None),
                    Err(why) => (Err(why), None),
                };
                let is_wanted = key.is_ok() && failed.is_none();
                self.open = Some(Open { key, start: self.bytes.len(), failed });
                if is_wanted {
                    if each == Each::List {
                        self.bytes.push(b'[');
                    }
                    self.append(row, each, largest);
                }
                if each == Each::Row {
                    self.close(each);
                }
            }
        }
        Ok(())
    }

    /// Writes a row to the value that is being gathered; one that fails gives its room back.
    fn append(&mut self, row: &Row, each: Each, largest: usize) {
        let Some(open) = &mut self.open else { return };
        let written = self.values.write_object(row, &mut self.bytes);
        let size = self.bytes.len() - open.start + usize::from(each == Each::List);
        if let Err(why) = written.and_then(|()| refuse_over(largest, size)) {
            open.failed = Some(why);
            self.bytes.truncate(open.start);
        }
    }

    /// Ends the value that is being gathered.
    fn close(&mut self, each: Each) {
        if let Some(Open { key, start, failed }) = self.open.take() {
            let key = match (key, failed) {
                (Ok(key), Some(why)) => Err(format!("{key}: {why}")),
                (key, _) => key,
            };
            if each == Each::List && key.is_ok() {
                self.bytes.push(b']');
            }
            self.done.push(Part { key, value: start..self.bytes.len() });
        }
    }

    /// Of the values that are not being gathered any more.
    fn whole_bytes(&self) -> usize {
        self.done.last().map_or(0, |part| part.value.end)
    }

    /// Takes the values that are whole; one that is being gathered stays.
    fn send(&mut self, meter: &Meter) -> Vec<Exploded> {
        meter.targets.add(self.done.len());
        meter.keys.add(self.done.len());
        let end = self.whole_bytes();
        // The next batch is likely to need as much room.
        let mut rest = Vec::with_capacity(end + end / 8);
        rest.extend_from_slice(&self.bytes[end..]);
        if let Some(open) = &mut self.open {
            open.start = 0;
        }
        self.bytes.truncate(end);
        let bytes = Bytes::from(std::mem::replace(&mut self.bytes, rest));
        let exploded = |part: Part| Exploded { key: part.key, value: bytes.slice(part.value) };
        std::mem::take(&mut self.done).into_iter().map(exploded).collect()
    }

    /// Whether a key comes for the first time, as far back as keys are remembered.
    fn is_new(&mut self, key: &str) -> bool {
        // A good hash, because a collision would fail an innocent key.
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        if self.older.contains(&hash) || !self.recent.insert(hash) {
            return false;
        }
        if self.recent.len() >= REMEMBERED {
            // Swapped, so that the room of both is used again.
            std::mem::swap(&mut self.recent, &mut self.older);
            self.recent.clear();
        }
        true
    }
}
