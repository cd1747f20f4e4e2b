//! Finds the named parameters of a statement, which means knowing everything in SQL that may hold a colon.

use super::Engine;

/// Where a statement's text ends, and the parameters in it.
pub(super) struct Scan {
    /// Byte offset of the first token.
    pub start: usize,
    /// Byte offset behind the last token: a closing `;`, and comments and space around it, are cut.
    pub end: usize,
    /// The byte range of each `:name`, colon included.
    pub parameters: Vec<std::ops::Range<usize>>,
}

/// A refused statement: byte offset and reason.
pub(super) type Refused = (usize, String);

/// What the last token was, as far as `[` depends on it.
#[derive(PartialEq)]
enum Before {
    /// An operator, or nothing.
    Operator,
    /// The keyword `array`: a `[` opens a list.
    ArrayKeyword,
    /// `[` or `,`: inside a list of lists, a `[` opens the next list.
    Separator,
    /// Anything with a value: a `[` opens a subscript.
    Operand,
}

/// An open bracket.
#[derive(PartialEq)]
enum Open {
    Parenthesis,
    /// `array[..]`: a colon starts a parameter.
    List,
    /// `a[1:n]`: a colon is the slice operator.
    Subscript,
}

/// Takes a statement apart; refuses what can never run.
pub(super) fn scan(sql: &str, engine: Engine) -> Result<Scan, Refused> {
    let mut lexer = Lexer { sql, at: 0, engine };
    let mut found = Scan { start: 0, end: 0, parameters: Vec::new() };
    let mut open = Vec::new();
    let mut before = Before::Operator;
    loop {
        lexer.skip_space()?;
        let start = lexer.at;
        let Some(c) = lexer.peek(0) else { break };
        if found.end == 0 {
            found.start = start;
        }
        let mut now = Before::Operator;
        match c {
            ';' => {
                if found.end == 0 {
                    return Err((start, "the statement is empty".to_owned()));
                }
                while lexer.peek(0) == Some(';') {
                    lexer.at += 1;
                    lexer.skip_space()?;
                }
                if lexer.peek(0).is_some() {
                    return Err((lexer.at, "text after the `;`: one statement a file".to_owned()));
                }
                break;
            }
            '\'' | '"' => {
                lexer.quoted(c, engine == Engine::MySql)?;
                now = Before::Operand;
            }
            '`' if engine != Engine::Postgres => {
                lexer.quoted(c, false)?;
                now = Before::Operand;
            }
            '[' if engine == Engine::Sqlite => {
                lexer.quoted(']', false)?;
                now = Before::Operand;
            }
            '[' if engine == Engine::Postgres => {
                let list =
                    before == Before::ArrayKeyword || before == Before::Separator && open.last() == Some(&Open::List);
                open.push(if list { Open::List } else { Open::Subscript });
                now = Before::Separator;
                lexer.at += 1;
            }
            '(' => {
                open.push(Open::Parenthesis);
                lexer.at += 1;
            }
            ')' | ']' => {
                open.pop();
                now = Before::Operand;
                lexer.at += 1;
            }
            ',' => {
                now = Before::Separator;
                lexer.at += 1;
            }
            ':' => match lexer.peek(1) {
                Some(':' | '=') => lexer.at += 2,
                _ if open.last() == Some(&Open::Subscript) => lexer.at += 1,
                Some(next) if starts_name(next) => {
                    lexer.at += 1;
                    lexer.word(false);
                    found.parameters.push(start..lexer.at);
                    now = Before::Operand;
                }
                Some(next) if next.is_ascii_digit() => return Err(positional(start)),
                _ => lexer.at += 1,
            },
            '?' if engine != Engine::Postgres => return Err(positional(start)),
            '@' | '$' if engine == Engine::Sqlite && lexer.peek(1).is_some_and(is_name) => {
                return Err(positional(start));
            }
            '$' if engine == Engine::Postgres => {
                if lexer.peek(1).is_some_and(|next| next.is_ascii_digit()) {
                    return Err(positional(start));
                }
                if !lexer.dollar_quoted()? {
                    lexer.at += 1;
                }
                now = Before::Operand;
            }
            c if is_name(c) => {
                lexer.word(true);
                let word = &sql[start..lexer.at];
                if engine == Engine::Postgres && word.eq_ignore_ascii_case("e") && lexer.peek(0) == Some('\'') {
                    lexer.quoted('\'', true)?;
                }
                now = if word.eq_ignore_ascii_case("array") { Before::ArrayKeyword } else { Before::Operand };
            }
            c => lexer.at += c.len_utf8(),
        }
        before = now;
        found.end = lexer.at;
    }
    if found.end == 0 {
        return Err((0, "the statement is empty".to_owned()));
    }
    Ok(found)
}

fn positional(at: usize) -> Refused {
    (at, "placeholders have names here: use `:name`".to_owned())
}

fn starts_name(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Lexer<'s> {
    sql: &'s str,
    at: usize,
    engine: Engine,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.sql[self.at..]
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest().chars().nth(ahead)
    }

    /// Moves behind the next occurrence of a pattern; to the end and false where there is none.
    fn skip_past(&mut self, pattern: &str) -> bool {
        let found = self.rest().find(pattern);
        self.at = found.map_or(self.sql.len(), |offset| self.at + offset + pattern.len());
        found.is_some()
    }

    /// Moves over a word or number; SQL words may hold a `$`, parameter names not.
    fn word(&mut self, dollar: bool) {
        let length = self.rest().find(|c| !(is_name(c) || dollar && c == '$'));
        self.at += length.unwrap_or(self.rest().len());
    }

    fn skip_space(&mut self) -> Result<(), Refused> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            // MySQL reads `5--3` as a subtraction: its comment needs white space behind the dashes.
            let dashes = self.rest().strip_prefix("--").is_some_and(|behind| {
                self.engine != Engine::MySql
                    || behind.chars().next().is_none_or(|c| c.is_whitespace() || c.is_control())
            });
            if dashes || self.engine == Engine::MySql && self.rest().starts_with('#') {
                self.skip_past("\n");
            } else if self.rest().starts_with("/*") {
                self.block_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    fn block_comment(&mut self) -> Result<(), Refused> {
        let start = self.at;
        let mut depth = 0;
        loop {
            if self.rest().starts_with("/*") && (depth == 0 || self.engine == Engine::Postgres) {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else if let Some(c) = self.peek(0) {
                self.at += c.len_utf8();
            } else {
                return Err((start, "the comment is not closed".to_owned()));
            }
        }
    }

    /// Moves over a quoted text; a doubled quote stands for itself, and so does one behind a backslash where those count.
    fn quoted(&mut self, quote: char, backslash: bool) -> Result<(), Refused> {
        let start = self.at;
        self.at += 1;
        while let Some(c) = self.peek(0) {
            self.at += c.len_utf8();
            if backslash && c == '\\' {
                self.at += self.peek(0).map_or(0, char::len_utf8);
            } else if c == quote {
                if quote != ']' && self.peek(0) == Some(quote) {
                    self.at += 1;
                } else {
                    return Ok(());
                }
            }
        }
        Err((start, "the quote is not closed".to_owned()))
    }

    /// Moves over `$tag$ .. $tag$`; false when the dollar starts none.
    fn dollar_quoted(&mut self) -> Result<bool, Refused> {
        let start = self.at;
        let behind = &self.rest()[1..];
        let Some(length) = behind.find(|c| !is_name(c)).filter(|&length| behind[length..].starts_with('$')) else {
            return Ok(false);
        };
        let tag = self.rest()[..length + 2].to_owned();
        self.at += tag.len();
        if self.skip_past(&tag) { Ok(true) } else { Err((start, format!("the {tag} quote is not closed"))) }
    }
}
