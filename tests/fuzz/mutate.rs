//! New inputs from old ones.

use fastrand::Rng;

/// What inputs are made from.
pub struct Mutator {
    pub corpus: Vec<Vec<u8>>,
    pub words: &'static [&'static str],
}

/// Nearly all mistakes show in short inputs, and those are tried faster.
const LONGEST: usize = 1 << 16;

/// What programs trip over, whatever the format.
const NASTY: [&str; 40] = [
    "\0",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{200b}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "\u{fffd}",
    "é",
    "e\u{301}",
    "ß",
    "İ",
    "😀",
    "👨‍👩‍👧",
    "\u{10ffff}",
    "\r\n",
    "\n",
    "\t",
    "\\",
    "\\u0000",
    "\\x",
    "'",
    "\"",
    "`",
    "%",
    "{",
    "}",
    "[",
    "]",
    ":",
    "$",
    "#",
    "-1",
    "0",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e999",
];

impl Mutator {
    /// An input that was not there yet, most likely.
    pub fn next(&mut self, rng: &mut Rng) -> Vec<u8> {
        if rng.u8(..) < 40 {
            return self.of_words(rng);
        }
        let mut input = self.any(rng).to_vec();
        for _ in 0..1 << rng.u32(0..5) {
            self.mutate(&mut input, rng);
        }
        input.truncate(LONGEST);
        input
    }

    fn any(&self, rng: &mut Rng) -> &[u8] {
        &self.corpus[rng.usize(..self.corpus.len())]
    }

    fn of_words(&self, rng: &mut Rng) -> Vec<u8> {
        let between = ["", " ", "\n", ","][rng.usize(..4)];
        let words: Vec<&str> = (0..rng.usize(1..30)).map(|_| self.word(rng)).collect();
        words.join(between).into_bytes()
    }

    fn word(&self, rng: &mut Rng) -> &'static str {
        match rng.u8(..) {
            0..30 => NASTY[rng.usize(..NASTY.len())],
            _ => self.words[rng.usize(..self.words.len())],
        }
    }

    fn mutate(&self, input: &mut Vec<u8>, rng: &mut Rng) {
        let at = rng.usize(..=input.len());
        let piece = at..(at + rng.usize(..=16.min(input.len() - at))).min(input.len());
        match rng.u8(..12) {
            0 if at < input.len() => input[at] ^= 1 << rng.u32(..8),
            1 if at < input.len() => input[at] = rng.u8(..),
            2 => drop(input.drain(piece)),
            3 => drop(input.drain(at..(at + rng.usize(..=input.len() - at)).min(input.len()))),
            4 => {
                let word = self.word(rng);
                drop(input.splice(piece, word.bytes()));
            }
            5 | 6 => {
                let word = self.word(rng);
                drop(input.splice(at..at, word.bytes()));
            }
            7 => {
                // Once in a while often enough to be deep or long.
                let times = if rng.u8(..) < 16 { rng.usize(1..20_000) } else { rng.usize(1..8) };
                let repeated = input[piece].repeat(times);
                if repeated.len() <= LONGEST {
                    drop(input.splice(at..at, repeated));
                }
            }
            8 => {
                let other = self.any(rng);
                let from = rng.usize(..=other.len());
                let to = from + rng.usize(..=(other.len() - from).min(200));
                let other = other[from..to].to_vec();
                drop(input.splice(piece, other));
            }
            9 => {
                let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
                let (one, other) = (rng.usize(..lines.len()), rng.usize(..lines.len()));
                match rng.u8(..3) {
                    0 => lines.swap(one, other),
                    1 => lines.insert(one, lines[other]),
                    _ => drop(lines.remove(one)),
                }
                *input = lines.join(&b'\n');
            }
            10 => {
                // Another number in the place of one that stands there.
                let digit = |byte: &u8| byte.is_ascii_digit();
                if let Some(start) = input[at..].iter().position(digit).map(|start| at + start) {
                    let length = input[start..].iter().take_while(|byte| digit(byte)).count();
                    let number = match rng.u8(..4) {
                        0 => rng.u64(..).to_string(),
                        1 => (1_u64 << rng.u32(..64)).to_string(),
                        2 => "9".repeat(rng.usize(1..30)),
                        _ => rng.u8(..70).to_string(),
                    };
                    drop(input.splice(start..start + length, number.into_bytes()));
                }
            }
            _ => input.insert(at, rng.u8(..)),
        }
    }
}
