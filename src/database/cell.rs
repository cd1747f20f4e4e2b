//! One value of one row, on its way from an engine's encoding to JSON.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Error;

/// A value, told apart as far as JSON tells values apart.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'r> {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// The text of a JSON number with all its digits: a big integer, a decimal, a finite float.
    Number(Cow<'r, str>),
    /// Text, and everything that JSON has no type for: dates, uuids, intervals, base64 of bytes, `NaN`.
    Text(Cow<'r, str>),
    /// Valid JSON without needless white space: json columns, arrays.
    Json(Cow<'r, str>),
}

impl<'r> Cell<'r> {
    /// Appends the value as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Cell::Null => out.extend_from_slice(b"null"),
            Cell::Bool(true) => out.extend_from_slice(b"true"),
            Cell::Bool(false) => out.extend_from_slice(b"false"),
            Cell::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Cell::Number(text) | Cell::Json(text) => out.extend_from_slice(text.as_bytes()),
            Cell::Text(text) if is_plain(text) => {
                out.push(b'"');
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
            // Writing to memory does not fail, so there is no error to lose.
            Cell::Text(text) => serde_json::to_writer(out, text).unwrap_or_default(),
        }
    }

    /// The value as plain text, as in a key; `None` for NULL.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Cell::Null => None,
            Cell::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Cell::Int(number) => Some(Cow::Owned(number.to_string())),
            Cell::Number(text) | Cell::Text(text) | Cell::Json(text) => Some(Cow::Borrowed(text)),
        }
    }

    /// The value of a column that holds JSON in an engine without a type for it (MariaDB, SQLite): text is checked and
    /// becomes JSON, anything else stays.
    pub fn into_json_column(self) -> Result<Cell<'r>, Error> {
        match self {
            Cell::Text(text) => match valid_json(&text) {
                Ok(()) => Ok(Cell::Json(compact_cow(text))),
                Err(reason) => Err(Error::data(format!("not JSON: {reason}"))),
            },
            other => Ok(other),
        }
    }

    /// Bytes as base64 text.
    pub(super) fn bytes(bytes: &[u8]) -> Cell<'static> {
        Cell::Text(STANDARD.encode(bytes).into())
    }

    /// JSON that is known to be valid.
    pub(super) fn json(text: &'r str) -> Cell<'r> {
        Cell::Json(compact(text))
    }
}

/// Whether a JSON string may hold the text as it is. Looks at every byte without a branch, which is many at a time.
fn is_plain(text: &str) -> bool {
    !text.bytes().fold(false, |special, byte| special | (byte < 0x20) | (byte == b'"') | (byte == b'\\'))
}

/// Whether a text is one JSON value, and if not, why.
pub(super) fn valid_json(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| ())
}

/// Cuts the white space between the tokens of valid JSON. Engines differ in it (`jsonb` and MySQL put a space behind
/// each comma), and a line break would end a JSON line.
pub(super) fn compact(json: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut copied, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in json.bytes().enumerate() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            quoted = true;
        } else if byte.is_ascii_whitespace() {
            out.push_str(&json[copied..at]);
            copied = at + 1;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

fn compact_cow(json: Cow<'_, str>) -> Cow<'_, str> {
    match json {
        Cow::Borrowed(json) => compact(json),
        Cow::Owned(json) => Cow::Owned(compact(&json).into_owned()),
    }
}
