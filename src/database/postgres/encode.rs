//! From values to PostgreSQL's binary form, by the type that the server found for a parameter.

use chrono::{NaiveDate, NaiveDateTime};
use sqlx::{
    Arguments as _, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, types::Oid},
};

use crate::database::{Value, statement::Bind};

const BOOL: u32 = 16;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const DATE: u32 = 1082;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;
const JSONB: u32 = 3802;
/// name, text, json, unknown, char(n), varchar: their binary form is the text.
const TEXTS: [u32; 6] = [19, 25, 114, 705, 1042, 1043];

/// Whether there is an encoder for a type.
pub(super) fn knows(oid: u32) -> bool {
    let known = [BOOL, INT8, INT2, INT4, FLOAT4, FLOAT8, DATE, TIMESTAMP, TIMESTAMPTZ, NUMERIC, UUID, JSONB];
    known.contains(&oid) || TEXTS.contains(&oid)
}

/// Whether a bind is a moment; without a value, by the names that moments have in every job.
pub(super) fn is_moment(bind: &Bind<'_>) -> bool {
    bind.value.map_or(matches!(bind.name, "now" | "since"), |value| matches!(value, Value::Time(_)))
}

/// Whether a moment can be a value of a type.
pub(super) fn takes_moment(oid: u32) -> bool {
    matches!(oid, DATE | TIMESTAMP | TIMESTAMPTZ) || TEXTS.contains(&oid)
}

/// What a moment is where the statement leaves it open.
pub(super) fn moment_type() -> PgTypeInfo {
    PgTypeInfo::with_oid(Oid(TIMESTAMPTZ))
}

/// What a value is bound as for which there is no encoder.
pub(super) fn text_type() -> PgTypeInfo {
    <str as Type<Postgres>>::type_info()
}

/// Adds a value. `cast` names the type that the server will make of it where there is no encoder.
pub(super) fn add(
    values: &mut PgArguments,
    bind: &Bind<'_>,
    parameter: &PgTypeInfo,
    cast: Option<String>,
) -> Result<(), String> {
    let value = bind.value.ok_or("has no value")?;
    let encoded = match cast {
        Some(name) => {
            Encoded { bytes: as_text(value, &name)?.into_bytes(), kind: <str as Type<Postgres>>::type_info() }
        }
        None => Encoded { bytes: encode(value, parameter)?, kind: parameter.clone() },
    };
    values.add(encoded).map_err(|error| error.to_string())
}

/// Bytes in a type's binary form.
struct Encoded {
    bytes: Vec<u8>,
    kind: PgTypeInfo,
}

impl Type<Postgres> for Encoded {
    fn type_info() -> PgTypeInfo {
        text_type()
    }
}

impl Encode<'_, Postgres> for Encoded {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.kind.clone())
    }
}

/// The text that the server reads as a type that is not known here.
fn as_text(value: &Value, name: &str) -> Result<String, String> {
    match value {
        Value::Int(number) => Ok(number.to_string()),
        Value::Text(text) => Ok(text.clone()),
        Value::Time(_) => Err(format!("a moment, but the statement takes it as {name}: {TIME_HINT}")),
    }
}

const TIME_HINT: &str = "write CAST(:name AS timestamptz)";

fn encode(value: &Value, parameter: &PgTypeInfo) -> Result<Vec<u8>, String> {
    let oid = super::oid(parameter);
    let unfit = |shown: &str| format!("{shown} is not a value of type {parameter}");
    match value {
        Value::Int(number) => match oid {
            BOOL if matches!(number, 0 | 1) => Ok(vec![u8::from(*number == 1)]),
            INT8 => Ok(number.to_be_bytes().to_vec()),
            INT4 => i32::try_from(*number).map(|n| n.to_be_bytes().to_vec()).map_err(|_| unfit(&number.to_string())),
            INT2 => i16::try_from(*number).map(|n| n.to_be_bytes().to_vec()).map_err(|_| unfit(&number.to_string())),
            oid => from_text(&number.to_string(), oid).ok_or_else(|| unfit(&number.to_string())),
        },
        Value::Text(text) => match (from_text(text, oid), text.trim().parse::<i64>()) {
            (Some(bytes), _) => Ok(bytes),
            (None, Ok(number)) if matches!(oid, INT8 | INT4 | INT2) => encode(&Value::Int(number), parameter),
            _ => Err(unfit(&format!("{text:?}"))),
        },
        Value::Time(moment) => {
            let local = moment.naive_utc();
            match oid {
                TIMESTAMPTZ | TIMESTAMP => timestamp(local).ok_or_else(|| unfit(&moment.to_string())),
                DATE => date(local.date()).ok_or_else(|| unfit(&moment.to_string())),
                oid if TEXTS.contains(&oid) => Ok(moment.to_rfc3339().into_bytes()),
                _ => Err(format!("a moment, but the statement takes it as {parameter}: {TIME_HINT}")),
            }
        }
    }
}

fn from_text(text: &str, oid: u32) -> Option<Vec<u8>> {
    let trimmed = text.trim();
    match oid {
        BOOL => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "true" | "yes" | "on" | "1" => Some(vec![1]),
            "f" | "false" | "no" | "off" | "0" => Some(vec![0]),
            _ => None,
        },
        FLOAT8 => Some(trimmed.parse::<f64>().ok()?.to_be_bytes().to_vec()),
        FLOAT4 => Some(trimmed.parse::<f32>().ok()?.to_be_bytes().to_vec()),
        NUMERIC => numeric(trimmed),
        UUID => Some(uuid::Uuid::try_parse(trimmed).ok()?.as_bytes().to_vec()),
        JSONB => {
            crate::database::cell::valid_json(text).ok()?;
            Some([b"\x01", text.as_bytes()].concat())
        }
        DATE => date(trimmed.parse().ok()?),
        TIMESTAMP => timestamp(local_time(trimmed)?),
        // Without a zone it is UTC, as for the session.
        TIMESTAMPTZ => match chrono::DateTime::parse_from_rfc3339(&trimmed.replacen(' ', "T", 1)) {
            Ok(moment) => timestamp(moment.naive_utc()),
            Err(_) => timestamp(local_time(trimmed)?),
        },
        oid if TEXTS.contains(&oid) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

fn local_time(text: &str) -> Option<NaiveDateTime> {
    let with_t = text.replacen(' ', "T", 1);
    let time = NaiveDateTime::parse_from_str(&with_t, "%Y-%m-%dT%H:%M:%S%.f");
    let time = time.or_else(|_| NaiveDateTime::parse_from_str(&with_t, "%Y-%m-%dT%H:%M"));
    time.ok().or_else(|| text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0))
}

/// Days since 2000-01-01.
fn date(date: NaiveDate) -> Option<Vec<u8>> {
    let days = (date - NaiveDate::from_ymd_opt(2000, 1, 1)?).num_days();
    Some(i32::try_from(days).ok()?.to_be_bytes().to_vec())
}

/// Microseconds since 2000-01-01.
fn timestamp(moment: NaiveDateTime) -> Option<Vec<u8>> {
    let epoch = NaiveDate::from_ymd_opt(2000, 1, 1)?.and_hms_opt(0, 0, 0)?;
    Some((moment - epoch).num_microseconds()?.to_be_bytes().to_vec())
}

/// Digits in base 10000, with the place of the first one, the sign, and the digits behind the decimal point.
fn numeric(text: &str) -> Option<Vec<u8>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok().filter(|e| e.abs() < 1000)?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Move the point by the exponent, with zeros where digits are missing.
    let all = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let length = i32::try_from(all.len()).ok()?;
    let all = format!("{}{all}{}", zeros(-point), zeros(point - length));
    let point = usize::try_from(point.max(0)).ok()?;
    let (whole, fraction) = all.split_at(point);
    let scale = fraction.len();
    // Groups of four on both sides of the point.
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let groups = format!("{whole}{fraction}");
    let groups: Option<Vec<u16>> =
        groups.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).ok()?.parse().ok()).collect();
    let groups = groups?;
    let leading = groups.iter().take_while(|&&group| group == 0).count();
    let trailing = groups[leading..].iter().rev().take_while(|&&group| group == 0).count();
    let kept = &groups[leading..groups.len() - trailing];
    let weight =
        if kept.is_empty() { 0 } else { i32::try_from(whole.len() / 4).ok()? - 1 - i32::try_from(leading).ok()? };
    let mut bytes = Vec::new();
    bytes.extend(u16::try_from(kept.len()).ok()?.to_be_bytes());
    bytes.extend(i16::try_from(weight).ok()?.to_be_bytes());
    bytes.extend(if negative && !kept.is_empty() { 0x4000_u16 } else { 0 }.to_be_bytes());
    bytes.extend(u16::try_from(scale).ok().filter(|scale| *scale < 0x4000)?.to_be_bytes());
    bytes.extend(kept.iter().flat_map(|group| group.to_be_bytes()));
    Some(bytes)
}
