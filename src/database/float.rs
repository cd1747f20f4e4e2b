//! Floating point numbers as PostgreSQL prints them, so that all engines give the same bytes.

use super::Cell;

/// The fewest digits that read back as the same number.
pub(super) fn float8(number: f64) -> Cell<'static> {
    let gap = number.next_up() - number;
    let scientific = |digits: Option<usize>| match digits {
        Some(digits) => format!("{number:.digits$e}"),
        None => format!("{number:e}"),
    };
    written(number, gap, number.to_string(), scientific, 15)
}

/// The same in single precision.
pub(super) fn float4(number: f32) -> Cell<'static> {
    let gap = f64::from(number.next_up()) - f64::from(number);
    let scientific = |digits: Option<usize>| match digits {
        Some(digits) => format!("{number:.digits$e}"),
        None => format!("{number:e}"),
    };
    written(number.into(), gap, number.to_string(), scientific, 6)
}

/// Plain notation below 1e`largest`. `scientific` gives the shortest digits, or the number rounded to that many digits
/// behind the point; `gap` is the distance to the next number.
fn written(
    number: f64,
    gap: f64,
    plain: String,
    scientific: impl Fn(Option<usize>) -> String,
    largest: i32,
) -> Cell<'static> {
    if number.is_nan() {
        return Cell::Text("NaN".into());
    }
    if number.is_infinite() {
        return Cell::Text(if number > 0.0 { "Infinity" } else { "-Infinity" }.into());
    }
    let shortest = scientific(None);
    let Some((mantissa, exponent)) = parts(&shortest) else {
        return Cell::Number(plain.into());
    };
    if (-4..largest).contains(&exponent) {
        return Cell::Number(plain.into());
    }
    // Where several numbers are equally short, PostgreSQL takes the nearest, and of two equally near ones the even one,
    // as exact rounding does; and it leaves out those in the middle between two floating point numbers. This begins at
    // 2^50, or 2^21 in single precision: smaller numbers have more binary digits behind the point than such a tie has.
    let mut digits = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    // The numbers on the two sides of a power of two are not equally far, so the nearest may be another's.
    let power_of_two = number.to_bits().trailing_zeros() >= f64::MANTISSA_DIGITS - 1;
    let mut found = if power_of_two { shortest.clone() } else { scientific(Some(digits)) };
    while parts(&found).is_some_and(|(mantissa, exponent)| is_middle(number.abs(), gap, mantissa, exponent)) {
        digits += 1;
        found = scientific(Some(digits));
    }
    let (mantissa, exponent) = parts(&found).unwrap_or((mantissa, exponent));
    let sign = if exponent < 0 { '-' } else { '+' };
    Cell::Number(format!("{mantissa}e{sign}{:02}", exponent.abs()).into())
}

fn parts(scientific: &str) -> Option<(&str, i32)> {
    let (mantissa, exponent) = scientific.split_once('e')?;
    Some((mantissa, exponent.parse().ok()?))
}

/// Whether a decimal lies in the middle between a number and one of its neighbours. For whole numbers that can be
/// counted out; above 2^127 the middle has more factors of two than so few digits can have.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
fn is_middle(number: f64, gap: f64, mantissa: &str, exponent: i32) -> bool {
    if !(1.0..2_f64.powi(127)).contains(&gap) || number >= 2_f64.powi(127) {
        return false;
    }
    let digits = mantissa.replace(['-', '.'], "");
    let zeros = usize::try_from(exponent + 1).unwrap_or(0).saturating_sub(digits.len());
    let Ok(decimal) = format!("{digits}{}", "0".repeat(zeros)).parse::<u128>() else {
        return false;
    };
    let (number, gap) = (number as u128, gap as u128);
    // Below a power of two, the neighbour is half as far.
    let gap = if number.is_power_of_two() && decimal < number { gap / 2 } else { gap };
    decimal.abs_diff(number) * 2 == gap
}
