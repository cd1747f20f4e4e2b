//! A row of PostgreSQL, copied out of the driver's hands: its rows hold on to what they came in, and each look at one of
//! their values costs as much as the copy.

use std::{mem, str, sync::Arc};

use sqlx::{Row as _, ValueRef as _, postgres::PgRow};

use super::decode::Kind;
use crate::database::{Cell, Error, moment};

/// Rows are handed on together, up to about so many bytes, and so many values.
const BYTES: usize = 56 << 10;
const VALUES: usize = 6_000;

/// Rows of one statement, one behind the other.
pub(super) struct Block {
    bytes: Vec<u8>,
    /// Where each value ends, and with [`NULL`] whether it is none.
    ends: Vec<u32>,
    kinds: Arc<[Kind]>,
}

/// The bit of an end that says so: a message of the server, and so a row, has less than 2^30 bytes.
const NULL: u32 = 1 << 31;

impl Block {
    pub fn new(kinds: &Arc<[Kind]>) -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), kinds: Arc::clone(kinds) }
    }

    /// Adds a row; the bytes of its values.
    pub fn push(&mut self, row: &PgRow) -> Result<usize, Error> {
        let before = self.bytes.len();
        for index in 0..self.kinds.len() {
            let value = row.try_get_raw(index).map_err(|error| unread(index, &error.to_string()))?;
            let mut null = NULL;
            if !value.is_null() {
                self.bytes.extend_from_slice(value.as_bytes().map_err(|error| unread(index, &error.to_string()))?);
                null = 0;
            }
            self.ends.push(self.bytes.len() as u32 | null);
        }
        Ok(self.bytes.len() - before)
    }

    /// Whether no row should be added any more.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BYTES || self.ends.len() >= VALUES
    }

    /// The rows so far; the next ones, which are likely to be as many, begin anew.
    pub fn take(&mut self) -> impl Iterator<Item = Row> + use<> {
        let next = Self {
            bytes: Vec::with_capacity(self.bytes.len()),
            ends: Vec::with_capacity(self.ends.len()),
            kinds: Arc::clone(&self.kinds),
        };
        let block = Arc::new(mem::replace(self, next));
        let rows = block.ends.len() / block.kinds.len().max(1);
        (0..rows).map(move |nth| Row { block: Arc::clone(&block), nth })
    }
}

/// One row of a block, which lives as long as one of its rows.
pub(in super::super) struct Row {
    block: Arc<Block>,
    nth: usize,
}

impl Row {
    /// The value of column `index` (from 0).
    pub fn cell(&self, index: usize) -> Result<Cell<'_>, Error> {
        let kind = self.block.kinds.get(index).ok_or_else(|| unread(index, "no such column"))?;
        let Some(bytes) = self.bytes(index) else { return Ok(Cell::Null) };
        let text = str::from_utf8(bytes).map_err(|error| unread(index, &error.to_string()))?;
        kind.cell(text).map_err(|reason| unread(index, &reason))
    }

    /// The moment in a column, in Unix seconds, where it is a timestamp in the ordinary form.
    pub fn unix_seconds(&self, index: usize) -> Option<i64> {
        // The session's time zone is UTC.
        let (Kind::Timestamp | Kind::TimestampTz) = self.block.kinds.get(index)? else { return None };
        moment::unix_seconds(str::from_utf8(self.bytes(index)?).ok()?)
    }

    /// The bytes of the row's values, as text.
    pub fn size(&self) -> usize {
        let first = self.nth * self.block.kinds.len();
        self.end(first + self.block.kinds.len()) - self.end(first)
    }

    /// The bytes of a value; none of NULL.
    fn bytes(&self, index: usize) -> Option<&[u8]> {
        let value = self.nth * self.block.kinds.len() + index;
        let is_null = self.block.ends[value] & NULL != 0;
        (!is_null).then(|| &self.block.bytes[self.end(value)..self.end(value + 1)])
    }

    /// Where the first so many values of the block end.
    fn end(&self, values: usize) -> usize {
        values.checked_sub(1).map_or(0, |last| (self.block.ends[last] & !NULL) as usize)
    }
}

fn unread(index: usize, reason: &str) -> Error {
    Error::data(format!("column {}: {reason}", index + 1))
}
