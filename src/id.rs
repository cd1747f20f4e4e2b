//! What users, products and categories are called.

use std::fmt;

use crate::database::{Cell, Value};

/// What a database calls a user, a product or a category.
///
/// The order is that of the variants: integers by value, then texts by their bytes. It breaks ties in every ranking, so
/// it must not depend on the engine, its collation or the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// An integer key.
    Int(i64),
    /// Anything else, a uuid for example.
    Text(Box<str>),
}

/// An [`Id`] that is only looked at, so that a row can be looked up without allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdRef<'a> {
    /// See [`Id::Int`].
    Int(i64),
    /// See [`Id::Text`].
    Text(&'a str),
}

impl Id {
    /// Borrows the id.
    pub fn as_ref(&self) -> IdRef<'_> {
        match self {
            Id::Int(value) => IdRef::Int(*value),
            Id::Text(text) => IdRef::Text(text),
        }
    }

    /// The id that a cell holds; `None` for NULL.
    pub fn from_cell(cell: &Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Int(number) => Some(Id::Int(*number)),
            // PostgreSQL sends whole numbers as text.
            Cell::Number(text) => Some(text.parse().map_or_else(|_| Id::Text((&**text).into()), Id::Int)),
            cell => cell.text().map(|text| Id::Text((&*text).into())),
        }
    }

    /// The same for a number and for its text: a user may be an integer in one table and a text in another.
    pub fn canonical(&self) -> Self {
        match self {
            Id::Text(text) => match text.parse::<i64>() {
                Ok(number) if itoa::Buffer::new().format(number) == &**text => Id::Int(number),
                _ => self.clone(),
            },
            Id::Int(_) => self.clone(),
        }
    }

    /// Appends the id as JSON: a number or a string.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Id::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
            Id::Text(text) => write_json_string(text, out),
        }
    }
}

fn write_json_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Int(value) => value.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

impl From<i64> for Id {
    fn from(value: i64) -> Self {
        Id::Int(value)
    }
}

impl From<&Id> for Value {
    fn from(id: &Id) -> Self {
        match id {
            Id::Int(number) => Value::Int(*number),
            Id::Text(text) => Value::Text(text.to_string()),
        }
    }
}

impl From<String> for Id {
    fn from(text: String) -> Self {
        Id::Text(text.into())
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Id::Text(text.into())
    }
}

impl From<i64> for IdRef<'_> {
    fn from(value: i64) -> Self {
        IdRef::Int(value)
    }
}

impl<'a> From<&'a str> for IdRef<'a> {
    fn from(text: &'a str) -> Self {
        IdRef::Text(text)
    }
}

impl<'a> From<&'a Id> for IdRef<'a> {
    fn from(id: &'a Id) -> Self {
        id.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_sort_by_value_and_before_texts_by_bytes() {
        let mut ids: Vec<Id> = vec!["b".into(), 10.into(), "a".into(), 9.into(), "B".into(), (-1).into(), "é".into()];
        ids.sort();
        let shown: Vec<String> = ids.iter().map(Id::to_string).collect();
        assert_eq!(shown, ["-1", "9", "10", "B", "a", "b", "é"]);
    }

    #[test]
    fn a_borrowed_id_sorts_like_an_owned_one() {
        let ids: Vec<Id> = vec![(-1).into(), 7.into(), "".into(), "7".into(), "a".into()];
        for a in &ids {
            for b in &ids {
                assert_eq!(a.cmp(b), a.as_ref().cmp(&b.as_ref()));
            }
        }
    }

    #[test]
    fn a_number_and_its_text_are_the_same_and_nothing_else_is() {
        for text in ["0", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(Id::from(text).canonical(), Id::Int(text.parse().unwrap()));
        }
        for text in ["", "01", "+1", "-0", " 1", "1 ", "1.0", "9223372036854775808", "١"] {
            assert_eq!(Id::from(text).canonical(), Id::from(text));
        }
    }

    #[test]
    fn json_is_what_serde_json_writes() {
        let text = "a\"b\\c\n\r\t\u{1}\u{1f}\u{7f}é€😀/";
        for id in [Id::from(text), Id::Int(i64::MIN), Id::Int(0), Id::from("")] {
            let mut out = Vec::new();
            id.write_json(&mut out);
            let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
            match &id {
                Id::Int(value) => assert_eq!(parsed, serde_json::json!(value)),
                Id::Text(text) => assert_eq!(parsed, serde_json::json!(&**text)),
            }
        }
    }
}
