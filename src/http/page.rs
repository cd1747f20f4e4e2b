//! The status page: files that are part of the program. They ask the API like any other client, and nobody else.

use axum::{
    body::Body,
    extract::{Path, rejection::PathRejection},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use super::failure;

const INDEX: &str = include_str!("page/index.html");

const HTML: &str = "text/html; charset=utf-8";

const CSS: &str = "text/css; charset=utf-8";

const JS: &str = "text/javascript; charset=utf-8";

/// What the page is made of: name, type, text.
const FILES: [(&str, &str, &str); 12] = [
    ("style.css", CSS, include_str!("page/style.css")),
    ("alerts.js", JS, include_str!("page/alerts.js")),
    ("api.js", JS, include_str!("page/api.js")),
    ("day.js", JS, include_str!("page/day.js")),
    ("detail.js", JS, include_str!("page/detail.js")),
    ("element.js", JS, include_str!("page/element.js")),
    ("jobs.js", JS, include_str!("page/jobs.js")),
    ("main.js", JS, include_str!("page/main.js")),
    ("panel.js", JS, include_str!("page/panel.js")),
    ("plot.js", JS, include_str!("page/plot.js")),
    ("runs.js", JS, include_str!("page/runs.js")),
    ("words.js", JS, include_str!("page/words.js")),
];

/// Nothing but these files runs, whatever a name or an error holds: no markup from strings (Trusted Types), nothing from
/// elsewhere, and no frame around it in which somebody could be led to press a button.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// The page itself.
pub(super) async fn index() -> Response {
    served(HTML, INDEX)
}

/// What it is made of.
pub(super) async fn file(name: Result<Path<String>, PathRejection>) -> Response {
    let found = name.ok().and_then(|Path(name)| FILES.iter().find(|(known, ..)| *known == name));
    match found {
        Some((_, kind, text)) => served(kind, text),
        None => failure(StatusCode::NOT_FOUND, "there is nothing at this path"),
    }
}

fn served(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_files_that_there_are_and_for_no_other() {
        let mut wanted: Vec<&str> = INDEX
            .split('"')
            .filter_map(|quoted| quoted.strip_prefix("/page/"))
            .chain(FILES.iter().flat_map(|(.., text)| text.split('\'').filter_map(|quoted| quoted.strip_prefix("./"))))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut known: Vec<&str> = FILES.iter().map(|(name, ..)| *name).collect();
        known.sort_unstable();
        assert_eq!(wanted, known);
    }

    #[test]
    fn the_page_is_small_and_makes_no_markup_from_strings() {
        let texts = FILES.iter().map(|(.., text)| *text).chain([INDEX]);
        let bytes: usize = texts.clone().map(str::len).sum();
        assert!(bytes < 72 << 10, "{bytes} bytes");
        for text in texts {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "http://"]
            {
                let of_svg = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!of_svg.contains(word), "{word}");
            }
        }
    }
}
