//! Colours, where somebody sees them. What is painted is printed with `anstream`, which takes the colours out again for
//! pipes and files.

use std::{
    ffi::OsString,
    io::{IsTerminal, stderr, stdout},
};

use anstyle::{AnsiColor, Style};
use clap::{ColorChoice, ValueEnum};

use crate::record::Outcome;

/// As it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Worth a look.
pub(super) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
/// Something for somebody to do.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// Beside what matters.
pub(super) const QUIET: Style = Style::new().dimmed();

/// Puts a choice in force for all that is printed from now on, help and log included. What `auto` means is said by
/// `NO_COLOR`, `CLICOLOR_FORCE` and `CLICOLOR`, in this order, and then by whether a terminal is there.
pub(super) fn choose(choice: ColorChoice) {
    let choice = match choice {
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
        // By the convention, zero forces nothing, which anstream does not know.
        ColorChoice::Auto if std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value == "0") => {
            match stdout().is_terminal() && stderr().is_terminal() {
                true => anstream::ColorChoice::Auto,
                false => anstream::ColorChoice::Never,
            }
        }
        ColorChoice::Auto => anstream::ColorChoice::Auto,
    };
    choice.write_global();
}

/// The choice on a command line that ended in help or an error, which is printed the way it says.
pub(super) fn wanted(words: impl Iterator<Item = OsString>) -> ColorChoice {
    let mut words = words.map(|word| word.to_string_lossy().into_owned()).take_while(|word| word != "--");
    let mut wanted = None;
    while let Some(word) = words.next() {
        match word.strip_prefix("--color=") {
            Some(choice) => wanted = Some(choice.to_owned()),
            None if word == "--color" => wanted = words.next(),
            None => {}
        }
    }
    wanted.and_then(|choice| ColorChoice::from_str(&choice, false).ok()).unwrap_or_default()
}

/// The text in a style.
pub(super) fn paint(style: Style, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}

/// An outcome in its colour.
pub(super) fn outcome(outcome: Outcome) -> String {
    let style = match outcome {
        Outcome::Ok => GOOD,
        Outcome::Partial | Outcome::Interrupted | Outcome::Skipped => DOUBTFUL,
        Outcome::Failed | Outcome::Refused => BAD,
    };
    paint(style, &outcome.to_string())
}

/// The word before what is no error yet.
pub(super) fn warning() -> String {
    paint(DOUBTFUL, "warning:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_choice_on_a_command_line_that_cannot_be_read_counts_up_to_the_end_of_options() {
        for (line, choice) in [
            ("warmd --help", ColorChoice::Auto),
            ("warmd --color never --help", ColorChoice::Never),
            ("warmd --color=always jobs --bogus", ColorChoice::Always),
            ("warmd --color always --color=never", ColorChoice::Never),
            ("warmd --color sometimes", ColorChoice::Auto),
            ("warmd --color", ColorChoice::Auto),
            ("warmd -- --color=always", ColorChoice::Auto),
        ] {
            assert_eq!(wanted(line.split(' ').map(OsString::from)), choice, "{line}");
        }
    }
}
