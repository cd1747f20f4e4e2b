use std::time::Duration;

use fastrand::Rng;
use warmd::database::{Engine, Statement};

use crate::driver::{Target, files, fuzz, kind_of, seeds};

const WORDS: &[&str] = &[
    "SELECT", "FROM", "WHERE", "IN", ":a", ":user_id", "(:a)", "'", "''", "\"", "`", "\\", "--", "-- ", "#", "/*",
    "*/", "/*/", "$", "$$", "$a$", "$1", "?", "@x", "@@", "::", ":", ":=", "[", "]", "[1:2]", "array[", "ARRAY", "(",
    ")", ",", ";", "E'", "e'\\'", "x", "1", "+", "->", "->>", "#>", "\n", " ", "\t", "é",
];

const ENGINES: [Engine; 3] = [Engine::Postgres, Engine::MySql, Engine::Sqlite];

#[test]
fn a_statement_is_taken_apart_or_refused() {
    let mut inputs = files("jobs", ".sql");
    inputs.extend(seeds(include_str!("seeds/statements")));
    let target = Target {
        name: "a_statement_is_taken_apart_or_refused",
        seeds: inputs,
        words: WORDS,
        slow: Duration::from_secs(1),
        lanes: 1,
    };
    fuzz(target, |input| {
        let text = String::from_utf8_lossy(input);
        let lines: Vec<Vec<char>> = text.split('\n').map(|line| line.chars().collect()).collect();
        let mut told = String::new();
        for engine in ENGINES {
            let statement = match Statement::parse(&text, engine) {
                Ok(statement) => statement,
                Err(((line, column), why)) => {
                    if line > lines.len() || column > lines[line - 1].len() + 1 {
                        return Err(format!("refused at {line}:{column}"));
                    }
                    told.push_str(&kind_of(&why));
                    continue;
                }
            };
            for parameter in statement.parameters() {
                let (line, column) = parameter.position;
                let there: String =
                    lines[line - 1][column - 1..].iter().take(1 + parameter.name.chars().count()).collect();
                if there != format!(":{}", parameter.name) {
                    return Err(format!("{parameter:?} where there is {there:?}"));
                }
            }
            // What cannot change the meaning changes nothing.
            for around in [format!("{text}\n;"), format!("{text}\n-- :z ' \" /*"), format!("/* :z ' */ {text}")] {
                let names = |statement: &Statement| -> Vec<String> {
                    statement.parameters().iter().map(|parameter| parameter.name.clone()).collect()
                };
                match Statement::parse(&around, engine) {
                    Ok(same) if names(&same) == names(&statement) => {}
                    other => return Err(format!("{engine}: {around:?} is {other:?}")),
                }
            }
            told.push_str(&format!("{} ", statement.parameters().len().min(5)));
        }
        Ok(told)
    });
}

/// Pieces that may stand beside each other in any order, and how many parameters each holds.
fn pieces(engine: Engine) -> Vec<(&'static str, &'static [&'static str])> {
    let mut pieces: Vec<(&str, &[&str])> = vec![
        (":a", &["a"]),
        ("(:b)", &["b"]),
        ("x IN (:c, :d)", &["c", "d"]),
        ("':n'", &[]),
        ("'it''s :n'", &[]),
        ("\":n\"", &[]),
        ("\"a\"\":n\"", &[]),
        ("/* :n ' \" ; */", &[]),
        ("-- :n ' \" /*\n", &[]),
        ("'--' , :e", &["e"]),
        ("'/*' , :f , '*/'", &["f"]),
        ("12", &[]),
        ("x", &[]),
        ("=", &[]),
        (",", &[]),
        ("é:g", &["g"]),
    ];
    pieces.extend::<Vec<(&str, &[&str])>>(match engine {
        Engine::Postgres => vec![
            ("'a\\'", &[]),
            ("E'\\':n'", &[]),
            ("$$:n ' $$", &[]),
            ("$t$ $$ :n $t$", &[]),
            ("a$b:h", &["h"]),
            ("y::text", &[]),
            (":i::text", &["i"]),
            ("z[1:n]", &[]),
            ("z[(:j):n]", &["j"]),
            ("ARRAY[:k, :l]", &["k", "l"]),
            ("/* /* :n */ :n */", &[]),
        ],
        Engine::MySql => vec![
            ("'a\\':n'", &[]),
            ("\"a\\\":n\"", &[]),
            ("`:n`", &[]),
            ("`a``:n`", &[]),
            ("# :n ' `\n", &[]),
            ("5--:m", &["m"]),
            ("@v:=1", &[]),
            ("/* /* :n */", &[]),
        ],
        Engine::Sqlite => {
            vec![("'a\\'", &[]), ("`:n`", &[]), ("[:n ' ]", &[]), ("[a'] , :o", &["o"]), ("/* /* :n */", &[])]
        }
    });
    pieces
}

#[test]
fn parameters_are_found_where_they_stand_and_nowhere_else() {
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    for _ in 0..20_000 {
        for engine in ENGINES {
            let pieces = pieces(engine);
            let chosen: Vec<_> = (0..rng.usize(1..12)).map(|_| pieces[rng.usize(..pieces.len())]).collect();
            let texts: Vec<&str> = chosen.iter().map(|(text, _)| *text).collect();
            let sql = format!("SELECT {}", texts.join([" ", "\n", " , "][rng.usize(..3)]));
            let expected: Vec<&str> = chosen.iter().flat_map(|(_, names)| names.iter().copied()).collect();
            let statement = Statement::parse(&sql, engine);
            let statement = statement.unwrap_or_else(|why| panic!("seed {seed}: {engine}: {sql:?}: {why:?}"));
            let found: Vec<&str> = statement.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
            assert_eq!(found, expected, "seed {seed}: {engine}: {sql:?}");
        }
    }
}
