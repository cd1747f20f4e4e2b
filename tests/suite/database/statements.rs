//! Finding parameters in SQL.

use warmd::database::{Engine, Engine::MySql, Engine::Postgres, Engine::Sqlite, Statement};

const ALL: [Engine; 3] = [Postgres, MySql, Sqlite];

fn names(sql: &str, engine: Engine) -> String {
    let statement = Statement::parse(sql, engine).unwrap_or_else(|(place, reason)| panic!("{sql}: {place:?} {reason}"));
    statement.parameters().iter().map(|parameter| parameter.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn refusal(sql: &str, engine: Engine) -> ((usize, usize), String) {
    match Statement::parse(sql, engine) {
        Ok(_) => panic!("{sql} was taken"),
        Err(refused) => refused,
    }
}

#[test]
fn parameters_are_found_where_sql_can_have_a_value_and_nowhere_else() {
    let everywhere = [
        ("select :a, :b, :a", "a b a"),
        ("select ':no', 'it''s :no', :yes", "yes"),
        ("select \":no\", \"a\"\":no\", :yes", "yes"),
        ("select 1 -- :no\n, :yes", "yes"),
        ("select 1 /* :no \n 'x */ , :yes", "yes"),
        ("select 1-:yes", "yes"),
        ("select (:a)+:b, x>=:c", "a b c"),
        ("select :näme_1", "näme_1"),
        ("select 'ä:no', :yes", "yes"),
        ("select :a;", "a"),
        ("-- first\nselect :a ; -- last :no\n/* :no */ ;\n", "a"),
    ];
    for engine in ALL {
        for (sql, expected) in everywhere {
            assert_eq!(names(sql, engine), expected, "{engine}: {sql}");
        }
    }
    let of_one = [
        (Postgres, "select :a::text, x::int", "a"),
        (Postgres, "select a[1:n], b[:n], c[1:2][3:n], (d)[x:n], :yes", "yes"),
        (Postgres, "select a[(:x):(:y)], a[f(:z)]", "x y z"),
        (Postgres, "select array[:a, :b], ARRAY [[:c, 1], [:d, :e]], a[array[:f][1]:n]", "a b c d e f"),
        (Postgres, "select (array[:a])[1:n]", "a"),
        (Postgres, "select $$ :no $$, $tag$ $$ :no $tag$, :yes", "yes"),
        (Postgres, "select E'\\':no', e'\\\\', :yes", "yes"),
        (Postgres, "select 'c:\\', :yes", "yes"),
        (Postgres, "select U&'\\0041:no', x'ff', :yes", "yes"),
        (Postgres, "select /* a /* :no */ :no */ :yes", "yes"),
        (Postgres, "select data ? 'k', data ?| array[:k], a$1, f(x := :y)", "k y"),
        (Postgres, "select 1 --:no", ""),
        (Postgres, "select 5 # :yes", "yes"),
        (MySql, "select 'it\\'s :no', \"\\\":no\", `:no`, :yes", "yes"),
        (MySql, "select 5--:yes", "yes"),
        (MySql, "select 1 # :no\n, :yes", "yes"),
        (MySql, "select @a := :yes, @b", "yes"),
        (MySql, "select /* a /* :no */ :yes", "yes"),
        (Sqlite, "select [a:no], `:no`, 'c:\\', :yes", "yes"),
    ];
    for (engine, sql, expected) in of_one {
        assert_eq!(names(sql, engine), expected, "{engine}: {sql}");
    }
}

#[test]
fn a_position_is_a_line_and_a_column_in_characters() {
    let statement = Statement::parse("select 'ä', :a,\r\n\tx -- ü\n  , :b", Postgres).unwrap();
    let positions: Vec<_> = statement.parameters().iter().map(|parameter| parameter.position).collect();
    assert_eq!(positions, [(1, 13), (3, 5)]);
}

#[test]
fn what_can_never_run_is_refused_with_the_place_and_the_reason() {
    let positional = "placeholders have names here: use `:name`";
    let cases = [
        (MySql, "select ?", (1, 8), positional),
        (Sqlite, "select ?1", (1, 8), positional),
        (Sqlite, "select @x", (1, 8), positional),
        (Sqlite, "select $x", (1, 8), positional),
        (Postgres, "select\n $1", (2, 2), positional),
        (Postgres, "select :1", (1, 8), positional),
        (Postgres, "select 1; select 2", (1, 11), "text after the `;`: one statement a file"),
        (MySql, "select 1; ; drop table x", (1, 13), "text after the `;`: one statement a file"),
        (Postgres, "", (1, 1), "the statement is empty"),
        (Sqlite, " -- nothing\n ", (1, 1), "the statement is empty"),
        (MySql, " ; ", (1, 2), "the statement is empty"),
        (Postgres, "select 'abc", (1, 8), "the quote is not closed"),
        (Sqlite, "select [abc", (1, 8), "the quote is not closed"),
        (MySql, "select 'abc\\'", (1, 8), "the quote is not closed"),
        (Postgres, "select /* /* */ 1", (1, 8), "the comment is not closed"),
        (Postgres, "select $a$ b $$", (1, 8), "the $a$ quote is not closed"),
        (Postgres, "select $a$", (1, 8), "the $a$ quote is not closed"),
    ];
    for (engine, sql, place, reason) in cases {
        assert_eq!(refusal(sql, engine), (place, reason.to_owned()), "{engine}: {sql}");
    }
}

#[test]
fn the_scheme_of_a_url_names_the_engine() {
    for (url, engine) in [
        ("postgres://h/d", Postgres),
        ("postgresql://h/d", Postgres),
        ("mysql://h/d", MySql),
        ("mariadb://h/d", MySql),
        ("sqlite:shop.db", Sqlite),
    ] {
        assert_eq!(url.parse::<Engine>().unwrap(), engine);
    }
    let error = "hunter2@db".parse::<Engine>().unwrap_err();
    assert!(!error.message.contains("hunter2"), "{error}");
}
