//! A page that is drawn again and again in its place.

use std::io::{self, IsTerminal, Write, stdout};

use anstream::{AutoStream, ColorChoice, adapter::strip_str};
use console::{Term, truncate_str};

/// The alternate screen of a terminal, until it is dropped: what was on the screen before is there again then.
pub(super) struct Screen(());

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

impl Screen {
    /// The screen of the terminal behind stdout, if there is one that can do it.
    pub fn enter() -> io::Result<Option<Self>> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        if !stdout().is_terminal() || is_dumb {
            return Ok(None);
        }
        put(ENTER)?;
        Ok(Some(Self(())))
    }

    /// Replaces what is there.
    pub fn draw(&self, page: &str) -> io::Result<()> {
        let page = match AutoStream::choice(&stdout()) {
            ColorChoice::Never => strip_str(page).to_string(),
            _ => page.to_owned(),
        };
        let (rows, columns) = Term::stdout().size_checked().unwrap_or((24, 80));
        put(&frame(&page, usize::from(rows), usize::from(columns)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = put(LEAVE);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut stdout = stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The page line by line over what is there, so that nothing flickers; what does not fit is cut off.
fn frame(page: &str, rows: usize, columns: usize) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let mut shown: Vec<String> =
        lines.iter().take(rows).map(|line| truncate_str(line, columns, "…").into_owned()).collect();
    if lines.len() > rows
        && let Some(last) = shown.last_mut()
    {
        *last = truncate_str(&format!("… and {} more lines", lines.len() + 1 - rows), columns, "").into_owned();
    }
    format!("\x1b[H{}\x1b[K\x1b[J", shown.join("\x1b[K\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_keeps_to_the_rows_and_columns_of_the_terminal() {
        assert_eq!(frame("a\nb", 3, 10), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(frame("a\nb\nc", 3, 10), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\nc\x1b[K\x1b[J");
        assert_eq!(frame("a\nb\nc\nd", 3, 80), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n… and 2 more lines\x1b[K\x1b[J");
        let painted = "\x1b[31mfailed\x1b[0m badly";
        assert_eq!(frame(painted, 1, 12), format!("\x1b[H{painted}\x1b[K\x1b[J"));
        assert_eq!(frame(painted, 1, 8), "\x1b[H\x1b[31mfailed\x1b[0m …\x1b[K\x1b[J");
        assert_eq!(frame("", 1, 8), "\x1b[H\x1b[K\x1b[J");
    }
}
