//! JSON Schema of the files that people write, made of the types that read them, for editors that complete and check.
//!
//! Draft 7 without references: what editors for TOML understand. A schema knows what can be seen in one file alone; that
//! a statement is there and has its parameters, `warmd check` knows.

use schemars::{JsonSchema, Schema, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value};

/// The schema of a file that is read as a `T`.
pub fn of<T: JsonSchema>(title: &str) -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    let mut schema = Value::from(schema);
    without_null(&mut schema);
    schema
}

/// The schema of a text that a pattern describes.
pub(crate) fn text(pattern: &str, examples: &[&str]) -> Schema {
    json_schema!({ "type": "string", "pattern": pattern, "examples": examples })
}

/// TOML has no null: what may be absent is left out. Tables of defaults only repeat those of their entries.
fn without_null(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
                members.remove("default");
            }
            for list in ["type", "enum"] {
                if let Some(Value::Array(choices)) = members.get_mut(list) {
                    choices.retain(|choice| !choice.is_null() && choice != "null");
                    if let ("type", [only]) = (list, choices.as_slice()) {
                        let only = only.clone();
                        members.insert(list.to_owned(), only);
                    }
                }
            }
            only_choice(members);
            members.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// Of a choice between something and null, the something.
fn only_choice(members: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = members.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|of| of != "null"));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        members.remove("anyOf");
        for (name, value) in only {
            // What is said of the entry is nearer than what is said of its type.
            members.entry(name).or_insert(value);
        }
    }
}
