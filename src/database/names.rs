//! Names as they stand in a statement.

use super::Engine;

/// Words that no engine here takes for a name, or that one of them does not. Quoting a name in vain does no harm, so
/// the engines share one list; sorted.
#[rustfmt::skip]
const RESERVED: [&str; 301] = [
    "abort", "accessible", "action", "add", "after", "all", "alter", "always", "analyse", "analyze", "and", "any",
    "array", "as", "asc", "asymmetric", "attach", "authorization", "autoincrement", "before", "begin", "between",
    "bigint", "binary", "blob", "both", "by", "call", "cascade", "case", "cast", "change", "char", "character",
    "check", "collate", "collation", "column", "commit", "concurrently", "condition", "conflict", "constraint",
    "continue", "convert", "create", "cross", "cube", "cume_dist", "current", "current_catalog", "current_date",
    "current_role", "current_schema", "current_time", "current_timestamp", "current_user", "cursor", "database",
    "databases", "day_hour", "dec", "decimal", "declare", "default", "deferrable", "deferred", "delayed", "delete",
    "dense_rank", "desc", "describe", "detach", "distinct", "distinctrow", "div", "do", "double", "drop", "each",
    "else", "elseif", "empty", "end", "escape", "except", "exclude", "exclusive", "exists", "exit", "explain", "fail",
    "false", "fetch", "filter", "first_value", "float", "following", "for", "force", "foreign", "freeze", "from",
    "full", "fulltext", "function", "generated", "get", "glob", "grant", "group", "grouping", "groups", "having",
    "high_priority", "if", "ignore", "ilike", "immediate", "in", "index", "indexed", "infile", "initially", "inner",
    "inout", "insensitive", "insert", "instead", "int", "integer", "intersect", "interval", "into", "is", "isnull",
    "join", "json_table", "key", "keys", "kill", "lag", "last_value", "lateral", "lead", "leading", "leave", "left",
    "like", "limit", "linear", "lines", "load", "localtime", "localtimestamp", "lock", "long", "longblob", "longtext",
    "loop", "master_bind", "match", "materialized", "mediumblob", "mediumint", "mediumtext", "minute_second", "mod",
    "modifies", "natural", "no", "not", "nothing", "notnull", "nth_value", "ntile", "null", "nulls", "numeric", "of",
    "offset", "on", "only", "optimize", "option", "or", "order", "others", "out", "outer", "over", "overlaps",
    "partition", "percent_rank", "placing", "plan", "pragma", "preceding", "precision", "primary", "procedure",
    "purge", "query", "raise", "range", "rank", "read", "real", "recursive", "references", "regexp", "reindex",
    "release", "rename", "repeat", "replace", "require", "resignal", "restrict", "return", "returning", "revoke",
    "right", "rlike", "rollback", "row", "row_number", "rowid", "rows", "savepoint", "schema", "schema_name",
    "schemas", "second_microsecond", "select", "session_user", "set", "show", "signal", "similar", "smallint", "some",
    "spatial", "specific", "sql", "sqlexception", "ssl", "starting", "stored", "straight_join", "symmetric", "system",
    "table", "tablesample", "temp", "temporary", "terminated", "then", "ties", "tinyblob", "tinyint", "tinytext",
    "to", "trailing", "transaction", "trigger", "true", "unbounded", "undo", "union", "unique", "unlock", "unsigned",
    "update", "usage", "use", "user", "using", "utc_date", "utc_time", "utc_timestamp", "vacuum", "values",
    "varbinary", "varchar", "varcharacter", "variadic", "varying", "verbose", "view", "virtual", "when", "where",
    "while", "window", "with", "without", "write", "xor", "year_month", "zerofill",
];

impl Engine {
    /// A table's or a column's name, in quotes where the engine would else take it for something different.
    pub fn quoted(self, name: &str) -> String {
        let is_plain = |byte: u8| match self {
            // Without quotes, large letters become small ones.
            Engine::Postgres => byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_',
            Engine::MySql | Engine::Sqlite => byte.is_ascii_alphanumeric() || byte == b'_',
        };
        let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if begins && name.bytes().all(is_plain) && RESERVED.binary_search(&&*name.to_ascii_lowercase()).is_err() {
            return name.to_owned();
        }
        let quote = if self == Engine::MySql { '`' } else { '"' };
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_need_it_are_quoted_and_each_engine_has_its_quotes() {
        for (engine, name, quoted) in [
            (Engine::Postgres, "order_items", "order_items"),
            (Engine::Postgres, "InvoiceLine", "\"InvoiceLine\""),
            (Engine::Postgres, "order", "\"order\""),
            (Engine::Postgres, "2024_sales", "\"2024_sales\""),
            (Engine::Postgres, "a\"b", "\"a\"\"b\""),
            (Engine::Postgres, "größe", "\"größe\""),
            (Engine::MySql, "InvoiceLine", "InvoiceLine"),
            (Engine::MySql, "Order", "`Order`"),
            (Engine::MySql, "a`b c", "`a``b c`"),
            (Engine::Sqlite, "InvoiceLine", "InvoiceLine"),
            (Engine::Sqlite, "Group", "\"Group\""),
            (Engine::Sqlite, "", "\"\""),
        ] {
            assert_eq!(engine.quoted(name), quoted);
        }
    }

    #[test]
    fn the_reserved_words_are_sorted_as_the_search_needs_them() {
        assert!(RESERVED.is_sorted());
    }
}
