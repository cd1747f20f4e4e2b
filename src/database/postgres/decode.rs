//! From PostgreSQL's text form to cells.

use std::borrow::Cow;

use crate::database::Cell;

/// What a type's text form means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Bool,
    Int,
    /// Text of a number, or `NaN`, `Infinity`, `-Infinity`.
    Number,
    Bytes,
    Json,
    Timestamp,
    TimestampTz,
    /// Elements behind a comma, or behind a semicolon where they hold commas themselves.
    Array(Box<Kind>, char),
    Text,
}

impl Kind {
    /// Types that need no look into `pg_type`.
    pub fn built_in(oid: u32) -> Option<Self> {
        Some(match oid {
            16 => Kind::Bool,
            20 | 21 | 23 | 26 => Kind::Int,
            700 | 701 | 1700 => Kind::Number,
            17 => Kind::Bytes,
            114 | 3802 => Kind::Json,
            1114 => Kind::Timestamp,
            1184 => Kind::TimestampTz,
            // The lists of system tables, which are written without braces.
            22 | 30 => Kind::Text,
            // "char", name, text, unknown, char(n), varchar, date, time, timetz, interval, uuid, inet, cidr, money, xml
            18 | 19 | 25 | 705 | 1042 | 1043 | 1082 | 1083 | 1266 | 1186 | 2950 | 869 | 650 | 790 | 142 => Kind::Text,
            _ => return None,
        })
    }

    /// What a value is.
    pub fn cell<'r>(&self, text: &'r str) -> Result<Cell<'r>, String> {
        Ok(match self {
            Kind::Bool => Cell::Bool(text == "t"),
            Kind::Int => Cell::Int(text.parse().map_err(|error| format!("{text}: {error}"))?),
            // PostgreSQL writes numbers as JSON does, with the exception of these names.
            Kind::Number if text.ends_with(|last: char| last.is_ascii_digit()) => Cell::Number(text.into()),
            Kind::Number | Kind::Text => Cell::Text(text.into()),
            Kind::Bytes => Cell::bytes(&hex(text).ok_or("bytes are not in the hex form")?),
            Kind::Json => Cell::json(text),
            Kind::Timestamp => Cell::Text(timestamp(text)),
            // The session's time zone is UTC.
            Kind::TimestampTz => match text.strip_suffix("+00") {
                Some(local) => Cell::Text(format!("{}+00:00", timestamp(local)).into()),
                None => Cell::Text(timestamp(text)),
            },
            Kind::Array(element, delimiter) => {
                let mut json = Vec::new();
                array(text, element, *delimiter, &mut json)?;
                Cell::Json(String::from_utf8(json).map_err(|error| error.to_string())?.into())
            }
        })
    }
}

/// `2026-03-29 00:30:00.5` with a `T`; `infinity` has no time of day.
fn timestamp(text: &str) -> Cow<'_, str> {
    if text.contains(' ') { Cow::Owned(text.replacen(' ', "T", 1)) } else { Cow::Borrowed(text) }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Writes an array's text form as JSON: `[0:1]={1,NULL}`, `{{a,"b \"c\""},{d,e}}`.
fn array(text: &str, element: &Kind, delimiter: char, json: &mut Vec<u8>) -> Result<(), String> {
    let malformed = || format!("malformed array {text}");
    // JSON arrays begin at 0, so bounds of its own are not told.
    let body = match text.strip_prefix('[') {
        Some(_) => text.split_once('=').ok_or_else(malformed)?.1,
        None => text,
    };
    let mut chars = body.chars().peekable();
    // Between elements the server writes nothing but the delimiter.
    while let Some(c) = chars.next() {
        match c {
            '{' => json.push(b'['),
            '}' => json.push(b']'),
            c if c == delimiter => json.push(b','),
            '"' => {
                let mut quoted = String::new();
                loop {
                    match chars.next().ok_or_else(malformed)? {
                        '"' => break,
                        '\\' => quoted.push(chars.next().ok_or_else(malformed)?),
                        c => quoted.push(c),
                    }
                }
                element.cell(&quoted)?.write_json(json);
            }
            first => {
                let mut plain = String::from(first);
                while let Some(c) = chars.next_if(|&c| c != delimiter && c != '}') {
                    plain.push(c);
                }
                // Text that reads NULL is quoted.
                if plain == "NULL" { Cell::Null } else { element.cell(&plain)? }.write_json(json);
            }
        }
    }
    Ok(())
}
