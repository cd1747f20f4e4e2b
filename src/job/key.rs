//! Key templates: `user_recommendations:{user_id}:{category}:10`.

use std::fmt;

/// A parsed template; `{name}` is a variable, `{{` and `}}` are literal braces (Redis Cluster hash tags).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(String),
}

/// Longer values are no identifiers; Redis itself would take 512 MB.
pub const MAX_VALUE_CHARACTERS: usize = 4096;

/// Longer templates are mistakes, and are compared with those of all other jobs.
const MAX_TEMPLATE_BYTES: usize = 1024;

impl KeyTemplate {
    /// Reads a template; an error has the byte offset of its cause.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err((0, format!("the key is longer than {MAX_TEMPLATE_BYTES} bytes")));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text.char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            match c {
                '{' | '}' if rest.next_if(|(_, next)| *next == c).is_some() => literal.push(c),
                '{' => {
                    let Some(length) = text[at..].find('}') else {
                        return Err((at, "`{` is never closed; write `{{` for a literal brace".to_owned()));
                    };
                    let name = &text[at + 1..at + length];
                    let identifier = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
                    if !identifier {
                        let why = format!("`{{{name}}}` is no variable; write `{{{{` and `}}}}` for literal braces");
                        return Err((at, why));
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Variable(name.to_owned()));
                    while rest.next_if(|(next, _)| *next <= at + length).is_some() {}
                }
                '}' => return Err((at, "`}` was never opened; write `}}` for a literal brace".to_owned())),
                c if c.is_control() => return Err((at, "a key has no control characters".to_owned())),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        if parts.is_empty() { Err((0, "the key is empty".to_owned())) } else { Ok(Self { parts }) }
    }

    /// The variables' names, in order, each as often as it stands there.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Puts a value that is the same for every key in the place of a variable.
    pub fn fix(&mut self, variable: &str, value: &str) {
        for part in &mut self.parts {
            if *part == Part::Variable(variable.to_owned()) {
                *part = Part::Literal(value.to_owned());
            }
        }
    }

    /// The key for one target; `value` gives each variable's text, or `None` for NULL.
    pub fn render<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, String> {
        let mut key = String::with_capacity(64);
        for part in &self.parts {
            match part {
                Part::Literal(text) => key.push_str(text),
                Part::Variable(name) => {
                    let Some(text) = value(name) else {
                        return Err(format!("`{name}` is NULL"));
                    };
                    if text.chars().any(char::is_control) {
                        return Err(format!("`{name}` has control characters: {:?}", start_of(text)));
                    }
                    if text.len() > MAX_VALUE_CHARACTERS && text.chars().count() > MAX_VALUE_CHARACTERS {
                        return Err(format!("`{name}` is longer than {MAX_VALUE_CHARACTERS} characters"));
                    }
                    key.push_str(text);
                }
            }
        }
        if key.is_empty() { Err("the key is empty".to_owned()) } else { Ok(key) }
    }

    /// What all keys of the template have in common.
    pub fn shape(&self) -> Shape {
        let mut segments = vec![Vec::new()];
        for part in &self.parts {
            match part {
                Part::Variable(_) => {
                    if let Some(last) = segments.last_mut() {
                        last.extend([Symbol::One, Symbol::Many]);
                    }
                }
                Part::Literal(text) => {
                    for c in text.chars() {
                        match (c, segments.last_mut()) {
                            (':', _) => segments.push(Vec::new()),
                            (c, Some(last)) => last.push(Symbol::Char(c)),
                            (_, None) => {}
                        }
                    }
                }
            }
        }
        Shape(segments)
    }
}

/// The keys that a template can give, segment by segment.
pub struct Shape(Vec<Vec<Symbol>>);

impl Shape {
    /// Whether some values could make both templates give the same key.
    ///
    /// Variables are taken to hold no `:`, the field's separator: ids that do hold one are found by `warmd plan`, which
    /// compares the keys themselves.
    pub fn can_meet(&self, other: &Self) -> bool {
        let pairs = || self.0.iter().zip(&other.0);
        // Among thousands of jobs, nearly all pairs differ in a segment without variables, which is seen at once.
        self.0.len() == other.0.len()
            && pairs().all(|(a, b)| may_meet(a, b))
            && pairs().all(|(a, b)| patterns_meet(a, b))
    }
}

/// As much of a value as a message needs.
fn start_of(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::Variable(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// A piece of a segment's pattern: a character, any one character, any number of characters.
#[derive(Clone, Copy, PartialEq)]
enum Symbol {
    Char(char),
    One,
    Many,
}

/// False where two patterns without variables differ, or the beginnings of two others do.
fn may_meet(a: &[Symbol], b: &[Symbol]) -> bool {
    for (a, b) in a.iter().zip(b) {
        match (a, b) {
            (Symbol::Char(x), Symbol::Char(y)) if x == y => {}
            (Symbol::Char(_), Symbol::Char(_)) => return false,
            _ => return true,
        }
    }
    a.len() == b.len() || a.contains(&Symbol::Many) || b.contains(&Symbol::Many)
}

/// Whether a text exists that both patterns match: the product of the two automata, from the end to the start.
fn patterns_meet(a: &[Symbol], b: &[Symbol]) -> bool {
    let mut meets = vec![vec![false; b.len() + 1]; a.len() + 1];
    for i in (0..=a.len()).rev() {
        for j in (0..=b.len()).rev() {
            meets[i][j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some(Symbol::Many), None) => meets[i + 1][j],
                (None, Some(Symbol::Many)) => meets[i][j + 1],
                (None, Some(_)) | (Some(_), None) => false,
                (Some(Symbol::Many), Some(_)) | (Some(_), Some(Symbol::Many)) => meets[i + 1][j] || meets[i][j + 1],
                (Some(Symbol::Char(x)), Some(Symbol::Char(y))) => x == y && meets[i + 1][j + 1],
                (Some(_), Some(_)) => meets[i + 1][j + 1],
            };
        }
    }
    meets[0][0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(template: &str, values: &[(&str, &str)]) -> Result<String, String> {
        let template = KeyTemplate::parse(template).unwrap();
        template.render(|name| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    #[test]
    fn variables_and_literal_braces_are_rendered() {
        assert_eq!(key("u:{id}:{c}", &[("id", "7"), ("c", "a b")]).unwrap(), "u:7:a b");
        assert_eq!(key("{{tag}}:{id}", &[("id", "é")]).unwrap(), "{tag}:é");
        assert_eq!(KeyTemplate::parse("{{tag}}:{id}").unwrap().to_string(), "{{tag}}:{id}");
    }

    #[test]
    fn values_that_would_break_the_key_are_refused() {
        assert_eq!(key("u:{id}", &[]).unwrap_err(), "`id` is NULL");
        assert_eq!(key("u:{id}", &[("id", "a\nb")]).unwrap_err(), "`id` has control characters: \"a\\nb\"");
        let long = "x".repeat(5000);
        assert_eq!(key("u:{id}", &[("id", &long)]).unwrap_err(), "`id` is longer than 4096 characters");
        assert_eq!(key("{id}", &[("id", "")]).unwrap_err(), "the key is empty");
    }

    #[test]
    fn broken_templates_are_refused_at_their_place() {
        assert_eq!(KeyTemplate::parse("a{b").unwrap_err().0, 1);
        assert_eq!(KeyTemplate::parse("ab}").unwrap_err().0, 2);
        assert_eq!(
            KeyTemplate::parse("a{b c}").unwrap_err(),
            (1, "`{b c}` is no variable; write `{{` and `}}` for literal braces".to_owned())
        );
        assert_eq!(KeyTemplate::parse("").unwrap_err().1, "the key is empty");
    }

    #[test]
    fn templates_that_can_give_the_same_key_are_found() {
        let meet = |a: &str, b: &str| {
            let (a, b) = (KeyTemplate::parse(a).unwrap(), KeyTemplate::parse(b).unwrap());
            assert_eq!(a.shape().can_meet(&b.shape()), b.shape().can_meet(&a.shape()));
            a.shape().can_meet(&b.shape())
        };
        assert!(meet("rec:{user}", "rec:{id}"));
        assert!(meet("rec:{user}:10", "rec:7:{limit}"));
        assert!(meet("a{x}c", "ab{y}"));
        assert!(meet("{a}{b}", "xy"));
        assert!(!meet("{a}{b}", "x"));
        assert!(!meet("rec:{user}", "trend:{id}"));
        assert!(!meet("rec:{user}", "rec:{user}:{category}"));
        assert!(!meet("rec:{user}:10", "rec:{user}:20"));
    }
}
