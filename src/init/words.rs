//! What names say: taken apart into words, and compared with those that shops use.

use super::vocabulary::{CATEGORIES, EVENTS, FILLERS, GLANCES, INTEREST, NO_EVENTS, NO_USERS, PRODUCTS, USERS, Word};

/// Says how much a name, taken apart, is like those of something; 0.0 to 1.0, or negative for what only seems to be.
pub(super) type Likeness = fn(&[String]) -> f32;

/// A name's words in lower-case letters and in the singular: `InvoiceLines` and `invoice_lines` are `invoice`, `line`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    let mut letters = name.chars().peekable();
    while let Some(c) = letters.next() {
        if c.is_alphanumeric() {
            let begins = !before.is_alphanumeric()
                || c.is_uppercase()
                    && (before.is_lowercase() || letters.peek().is_some_and(|next| next.is_lowercase()));
            // `OrderIDs`: capitals that stand together are one word, but for the last before a small letter.
            let plural = letters.peek() == Some(&'s') && before.is_uppercase();
            if begins && !(plural && before.is_alphanumeric()) {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    words.iter().map(|word| singular(word)).collect()
}

/// The singular of an English noun, as far as names of tables go.
fn singular(word: &str) -> String {
    match word {
        "people" | "persons" => return "person".to_owned(),
        "movies" => return "movie".to_owned(),
        "ids" => return "id".to_owned(),
        "series" | "news" => return word.to_owned(),
        _ => {}
    }
    if word.len() < 4 || ["ss", "us", "is"].iter().any(|ending| word.ends_with(ending)) {
        return word.to_owned();
    }
    let endings = [("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", "")];
    let cut = |(ending, instead): &(&str, &str)| word.strip_suffix(ending).map(|stem| format!("{stem}{instead}"));
    endings.iter().find_map(cut).unwrap_or_else(|| word.to_owned())
}

/// What a table's name says that it holds: its words without those of the program that made it.
pub(super) fn subject(table: &str) -> Vec<String> {
    let all = words(table);
    // `sales_order` is an order, and `product_sales` are sales.
    let is_filler = |(nth, word): &(usize, &String)| FILLERS.contains(&word.as_str()) || *nth == 0 && *word == "sale";
    let telling: Vec<String> =
        all.iter().enumerate().filter(|word| !is_filler(word)).map(|(_, word)| word.clone()).collect();
    if telling.is_empty() { all } else { telling }
}

/// What the name of a column that holds another table's key says of that table: `customer_id` is `customer`. `None` when
/// it does not look like such a column.
pub(super) fn referred(column: &str) -> Option<Vec<String>> {
    let mut words = words(column);
    let last = words.pop()?;
    (["id", "uuid", "key", "fk", "ref", "no", "code"].contains(&last.as_str()) && !words.is_empty()).then_some(words)
}

/// How much a name is like one of somebody who does something; negative for others who act in a shop.
pub(super) fn like_users(words: &[String]) -> f32 {
    if has(words, &NO_USERS) { -1.0 } else { likeness(words, &USERS) }
}

/// How much a name is like one of what a shop has to offer. What is ordered and looked at bears its name, too.
pub(super) fn like_products(words: &[String]) -> f32 {
    let is_event = words.iter().any(|word| EVENTS.iter().any(|(event, says)| word == event && *says > 0.75));
    if is_event || has(words, &NO_EVENTS) { 0.0 } else { likeness(words, &PRODUCTS) }
}

/// How much a name is like one of events; negative for what only looks like them.
pub(super) fn like_events(words: &[String]) -> f32 {
    if has(words, &NO_EVENTS) { -1.0 } else { likeness(words, &EVENTS) }
}

/// How much a name is like one of what products are sorted by.
pub(super) fn like_categories(words: &[String]) -> f32 {
    likeness(words, &CATEGORIES)
}

/// Whether events of this name are glances.
pub(super) fn are_glances(words: &[String]) -> bool {
    words.iter().any(|word| GLANCES.iter().any(|glance| is_or_ends(word, glance)))
}

/// The word by which events of this name tell of interest.
pub(super) fn interest(words: &[String]) -> Option<&'static str> {
    INTEREST.into_iter().find(|sign| words.iter().any(|word| is_or_ends(word, sign)))
}

fn has(words: &[String], list: &[&str]) -> bool {
    words.iter().any(|word| list.contains(&word.as_str()))
}

/// The last word says what a thing is, those before it less.
fn likeness(words: &[String], known: &[Word]) -> f32 {
    let says = |word: &String| {
        let says = known.iter().filter(|(known, _)| is_or_ends(word, known)).map(|(_, says)| *says);
        says.fold(0.0, f32::max)
    };
    let head = words.last().map_or(0.0, says);
    let others = words.iter().rev().skip(1).map(says).fold(0.0, f32::max);
    head.max(0.4 * others)
}

/// `orderitem` is an item; short words end too many others.
fn is_or_ends(word: &str, known: &str) -> bool {
    word == known || known.len() > 3 && word.len() > known.len() + 2 && word.ends_with(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_however_they_are_written() {
        for (name, expected) in [
            ("invoice_lines", "invoice line"),
            ("InvoiceLineId", "invoice line id"),
            ("customerID", "customer id"),
            ("OrderIDs", "order id"),
            ("CUSTOMERS", "customer"),
            ("HTTPRequests", "http request"),
            ("Product Categories", "product category"),
            ("addresses", "address"),
            ("movies", "movie"),
            ("boxes", "box"),
            ("status", "status"),
            ("", ""),
        ] {
            assert_eq!(words(name).join(" "), expected, "{name}");
        }
    }

    #[test]
    fn the_words_of_the_program_that_made_a_table_do_not_count() {
        for (name, expected) in [
            ("catalog_product_entity", "product"),
            ("wp_wc_customer_lookup", "customer"),
            ("sales_order_item", "order item"),
            ("sales", "sale"),
            ("book_sales", "book sale"),
            ("dim_customer", "customer"),
        ] {
            assert_eq!(subject(name).join(" "), expected, "{name}");
        }
        assert_eq!(referred("customer_id").unwrap(), ["customer"]);
        assert_eq!(referred("ProductKey").unwrap(), ["product"]);
        assert_eq!(referred("id"), None);
        assert_eq!(referred("created_at"), None);
    }

    #[test]
    fn a_name_is_like_what_its_last_word_says() {
        let words = |name| words(name);
        assert!(like_users(&words("customers")) > like_users(&words("customer_groups")));
        assert!(like_users(&words("admin_user")) < 0.0);
        assert!(like_products(&words("order_items")) == 0.0 && like_products(&words("items")) > 0.5);
        assert!(like_events(&words("shop_orderitem")) > 0.5 && like_events(&words("order_refunds")) < 0.0);
        assert!(
            are_glances(&words("page_views")) && are_glances(&words("pageviews")) && !are_glances(&words("orders"))
        );
        assert!(like_categories(&words("genre")) > like_categories(&words("media_type")));
    }
}
