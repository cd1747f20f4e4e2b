//! For whom: target lists, and batches of their cross product.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    database::Row,
    id::Id,
    job::{Job, MAX_VALUE_CHARACTERS, TargetList},
    reader::{Columns, Reader},
    record::{Cause, Failure, Meter},
};

/// The lists behind the first are held in memory and crossed: more of them are a mistake in the order of the lists, or
/// of a statement without a limit.
const MOST_COMBINATIONS: usize = 100_000;

/// In bytes: a text of this size has more characters than a key may hold, whatever the characters.
const LONGEST_ID: usize = 4 * (MAX_VALUE_CHARACTERS + 1);

const TOO_MANY: &str = "the target lists behind the first have more than 100000 combinations; write the longest list \
    first, or limit the others";

/// One combination of target values, in the order of the job's lists. `None` stands for a NULL.
pub type Target = Box<[Option<Id>]>;

/// A restriction of a target list to given values: `--only user_id=42`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// The list.
    pub name: String,
    /// The values, which need not be in the list.
    pub values: Vec<Id>,
}

/// Values of the first list that are read before the first batch begins: some megabytes. A list that is held back keeps
/// its statement open, and with that the locks of a reader: whoever wants to change the table waits for the list, the
/// batches' statements wait for him, and the list waits for the batches. And what nobody has seen yet can be read again
/// after a passing error.
const READ_AHEAD: usize = 100_000;

/// Finds the targets of a job and sends them in batches of about `job.limits.batch` keys.
///
/// The first list is streamed, so that it may be long; the others are held in memory, and read at the same time. Values of
/// `also` come last.
pub async fn stream(
    job: &Job,
    reader: &Reader,
    now: DateTime<Utc>,
    only: &[Only],
    meter: &Meter,
    out: &mpsc::Sender<Vec<Target>>,
) -> Result<(), Failure> {
    let Some((first, rest)) = job.targets.split_first() else {
        return Ok(());
    };
    let (chunks, received) = mpsc::channel::<Vec<Option<Id>>>(1);
    let read = async {
        let chunks = chunks;
        match only_of(only, first) {
            Some(values) => _ = chunks.send(values.iter().cloned().map(Some).collect()).await,
            None => {
                if let Some(sql) = &first.sql {
                    let also: HashSet<Id> = first.also.iter().map(Id::canonical).collect();
                    let left = reader
                        .stream(
                            sql,
                            &sql.arguments(now),
                            |columns| Ok((Vec::new(), single_column(first, columns)?)),
                            |(values, column), row| {
                                let id = id(row, *column)?;
                                if !id.as_ref().is_some_and(|id| also.contains(&id.canonical())) {
                                    values.push(id);
                                }
                                Ok((values.len() == READ_AHEAD).then(|| std::mem::take(values)))
                            },
                            &chunks,
                        )
                        .await?;
                    let _ = chunks.send(left.0).await;
                }
                let _ = chunks.send(first.also.iter().cloned().map(Some).collect()).await;
            }
        }
        Ok(())
    };
    let cross = async {
        let mut received = received;
        let turns = Semaphore::new(job.limits.concurrency.get() as usize);
        let others = rest.iter().map(|list| read_whole(list, reader, now, only, &turns)).collect::<Vec<_>>();
        let others = try_join_all(others).await?;
        // Saturates instead of overflowing: what is too many stays too many.
        if others.iter().map(Vec::len).fold(1, usize::saturating_mul) > MOST_COMBINATIONS {
            return Err(Failure { cause: Cause::Statement, message: TOO_MANY.to_owned() });
        }
        let combinations = combinations(&others);
        let chunk = (job.limits.batch.get() as usize / combinations.len().max(1)).max(1);
        'all: while let Some(values) = received.recv().await {
            for values in values.chunks(chunk) {
                // One batch must not compute a key twice. In different batches the second finds the key of the first.
                let mut seen = HashSet::new();
                let is_new = |value: &&Option<Id>| seen.insert(value.as_ref().map(Id::canonical));
                let values: Vec<&Option<Id>> = values.iter().filter(is_new).collect();
                meter.targets.add(values.len());
                meter.keys.add(values.len() * combinations.len());
                let batch: Vec<Target> = values
                    .into_iter()
                    .flat_map(|value| {
                        combinations.iter().map(move |rest| std::iter::once(value).chain(rest).cloned().collect())
                    })
                    .collect();
                if !batch.is_empty() && out.send(batch).await.is_err() {
                    break 'all;
                }
            }
        }
        // When nobody takes batches any more, nothing needs to be read for them, and `received` goes.
        Ok(())
    };
    // What is wrong with one list is told at once, however long another takes.
    tokio::try_join!(read, cross).map(|_| ())
}

async fn read_whole(
    list: &TargetList,
    reader: &Reader,
    now: DateTime<Utc>,
    only: &[Only],
    turns: &Semaphore,
) -> Result<Vec<Option<Id>>, Failure> {
    // Never closed.
    let _turn = turns.acquire().await.ok();
    if let Some(values) = only_of(only, list) {
        return Ok(values.iter().cloned().map(Some).collect());
    }
    let mut values = Vec::new();
    if let Some(sql) = &list.sql {
        let start = |columns: &Columns<'_>| Ok((Vec::new(), single_column(list, columns)?));
        let step = |state: &mut (Vec<Option<Id>>, usize), row: &Row| {
            state.0.push(id(row, state.1)?);
            if state.0.len() > MOST_COMBINATIONS { Err(TOO_MANY.to_owned()) } else { Ok(()) }
        };
        values = reader.fold(sql, &sql.arguments(now), start, step).await?.0;
    }
    values.extend(list.also.iter().cloned().map(Some));
    let mut seen = HashSet::new();
    values.retain(|value| seen.insert(value.as_ref().map(Id::canonical)));
    Ok(values)
}

fn only_of<'o>(only: &'o [Only], list: &TargetList) -> Option<&'o [Id]> {
    only.iter().find(|only| only.name == list.name).map(|only| only.values.as_slice())
}

/// The column that holds the values: the one of the list's name, or the only one.
fn single_column(list: &TargetList, columns: &Columns<'_>) -> Result<usize, String> {
    match columns.names() {
        [_] => Ok(0),
        _ => columns.require(&list.name),
    }
}

fn id(row: &Row, column: usize) -> Result<Option<Id>, String> {
    let id = Id::from_cell(&row.cell(column).map_err(|error| error.message)?);
    Ok(id.map(|id| match id {
        // Too long for a key whatever follows, so what follows need not be held in memory.
        Id::Text(text) if text.len() > LONGEST_ID => Id::from(&text[..text.floor_char_boundary(LONGEST_ID)]),
        id => id,
    }))
}

/// The cross product of the lists behind the first; one empty combination when there are none.
fn combinations(lists: &[Vec<Option<Id>>]) -> Vec<Vec<Option<Id>>> {
    lists.iter().fold(vec![Vec::new()], |combinations, list| {
        combinations
            .iter()
            .flat_map(|start| {
                list.iter().map(move |value| start.iter().chain(std::iter::once(value)).cloned().collect())
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_crossed_in_the_order_written() {
        let list = |values: [i64; 2]| values.map(|value| Some(Id::Int(value))).to_vec();
        let crossed = combinations(&[list([1, 2]), list([3, 4])]);
        let shown: Vec<String> = crossed
            .iter()
            .map(|values| values.iter().flatten().map(Id::to_string).collect::<Vec<_>>().join("-"))
            .collect();
        assert_eq!(shown, ["1-3", "1-4", "2-3", "2-4"]);
        assert_eq!(combinations(&[]), [Vec::new()]);
    }
}
