//! Rows as JSON objects.

use std::borrow::Cow;

use crate::{
    database::{Cell, Row},
    reader::Columns,
};

/// The columns of a row that become members of an object.
pub(super) struct Members(Vec<Member>);

struct Member {
    column: usize,
    /// `"name":`
    label: Vec<u8>,
    /// The column holds JSON as text.
    json: bool,
}

impl Member {
    /// For messages: `"name": `
    fn name(&self) -> String {
        format!("{} ", String::from_utf8_lossy(&self.label))
    }
}

impl Members {
    /// All columns except those named in `not`; those in `json` hold JSON as text.
    pub fn new(columns: &Columns<'_>, not: &[&str], json: &[String]) -> Result<Self, String> {
        for name in json {
            columns.require(name)?;
        }
        let member = |(column, name): (usize, &String)| {
            let mut label = Vec::new();
            Cell::Text(Cow::Borrowed(name)).write_json(&mut label);
            label.push(b':');
            Member { column, label, json: json.contains(name) }
        };
        let wanted = columns.names().iter().enumerate().filter(|(_, name)| !not.contains(&name.as_str()));
        Ok(Self(wanted.map(member).collect()))
    }

    /// Appends a row as an object.
    pub fn write_object(&self, row: &Row, out: &mut Vec<u8>) -> Result<(), String> {
        out.push(b'{');
        self.write(row, out)?;
        out.push(b'}');
        Ok(())
    }

    /// Appends a row as members without braces: `"name":"Oak","price":1.00`.
    pub fn write(&self, row: &Row, out: &mut Vec<u8>) -> Result<(), String> {
        for (nth, member) in self.0.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&member.label);
            let cell = row.cell(member.column).map_err(|error| error.message)?;
            let cell = match member.json {
                true => cell.into_json_column().map_err(|error| format!("{}{}", member.name(), error.message))?,
                false => cell,
            };
            cell.write_json(out);
        }
        Ok(())
    }
}
