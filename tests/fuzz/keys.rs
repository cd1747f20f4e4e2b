use std::time::Duration;

use warmd::{
    cache::{Keyspace, Overlong},
    job::KeyTemplate,
};

use crate::driver::{Target, fuzz, kind_of, seeds};

const WORDS: &[&str] = &[
    "{",
    "}",
    "{{",
    "}}",
    "{a}",
    "{b}",
    "{user_id}",
    "{é}",
    "{_}",
    "{1}",
    "{}",
    ":",
    "::",
    "rec",
    "a",
    "b",
    "ab",
    "x",
    "1",
    "10",
    "\n",
    " ",
    "-",
    "{a}{b}",
    "a{a}",
    "{a}a",
];

#[test]
fn a_key_holds_what_a_key_may_hold() {
    let target = Target {
        name: "a_key_holds_what_a_key_may_hold",
        seeds: seeds(include_str!("seeds/keys")),
        words: WORDS,
        slow: Duration::from_secs(1),
        lanes: 1,
    };
    // Two templates, then values, a line each.
    fuzz(target, |input| {
        let text = String::from_utf8_lossy(input);
        let mut lines = text.split('\n');
        let mut template = || KeyTemplate::parse(lines.next().unwrap_or_default());
        let (one, other) = match (template(), template()) {
            (Ok(one), Ok(other)) => (one, other),
            (Err((_, why)), _) | (_, Err((_, why))) => return Ok(kind_of(&why)),
        };
        let values: Vec<&str> = lines.collect();
        let mut told = String::new();
        let mut keys = Vec::new();
        for template in [&one, &other] {
            if KeyTemplate::parse(&template.to_string()).as_ref() != Ok(template) {
                return Err(format!("{template} is read as another template"));
            }
            if !template.shape().can_meet(&template.shape()) {
                return Err(format!("{template} does not meet itself"));
            }
            let value = |name: &str| {
                let place = name.bytes().map(usize::from).sum::<usize>();
                values.get(place % values.len().max(1)).copied()
            };
            match template.render(value) {
                Ok(key) => {
                    if key.is_empty() || key.contains(char::is_control) {
                        return Err(format!("the key {key:?}"));
                    }
                    for overlong in [Overlong::Md5, Overlong::Error] {
                        let keyspace = Keyspace { prefix: "p:".to_owned(), max_length: 50, overlong };
                        let key = keyspace.key(&key);
                        if key.is_ok_and(|key| key.chars().count() > 52 || !key.starts_with("p:")) {
                            return Err("an overlong key".to_owned());
                        }
                    }
                    keys.push(key);
                }
                Err(why) => told.extend(why.split_whitespace().last()),
            }
        }
        let is_plain = values.iter().all(|value| !value.is_empty() && !value.contains(':'));
        if is_plain && keys.len() == 2 && keys[0] == keys[1] && !one.shape().can_meet(&other.shape()) {
            return Err(format!("{one} and {other} both give {}", keys[0]));
        }
        let variables = one.variables().count().min(5);
        Ok(format!("{told} {variables} {} {}", keys.len(), one.shape().can_meet(&other.shape())))
    });
}
