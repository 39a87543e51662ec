//! Durations as Go programs write them: `5s`, `1m30s`, `1.5h`, `-2ms`.

use std::time::Duration;

/// Nanoseconds of each unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    // Two characters that look alike: micro sign and Greek mu.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// What Go's time.ParseDuration takes. One that is less than zero is zero; the error says what is wrong.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration {text:?}");
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, behind) = split(rest, |letter| letter.is_ascii_digit() || letter == '.');
        let (unit, behind) = split(behind, |letter| !letter.is_ascii_digit() && letter != '.');
        rest = behind;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        if unit.is_empty() {
            return Err(format!("missing unit in duration {text:?}"));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, scale) = known.ok_or_else(|| format!("unknown unit {unit:?} in duration {text:?}"))?;
        let nanoseconds = scaled(whole, fraction, *scale).ok_or_else(invalid)?;
        // Go's are signed.
        total = total.checked_add(nanoseconds).filter(|total| i64::try_from(*total).is_ok()).ok_or_else(invalid)?;
    }
    Ok(if is_negative { Duration::ZERO } else { Duration::from_nanos(total) })
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|letter| !belongs(letter)).unwrap_or(text.len()))
}

/// What is less than a nanosecond does not count.
fn scaled(whole: &str, fraction: &str, scale: u64) -> Option<u64> {
    let integer = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u64>().ok() };
    // As many digits as fit; the next ones are far less than a nanosecond, also of an hour.
    let fraction = &fraction[..fraction.len().min(18)];
    let power = 10_u128.pow(fraction.len().try_into().ok()?);
    let behind_the_point = u128::from(integer(fraction)?) * u128::from(scale) / power;
    integer(whole)?.checked_mul(scale)?.checked_add(behind_the_point.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_reads_them() {
        for (text, expected) in [
            ("5s", Ok(5_000_000_000)),
            ("100ms", Ok(100_000_000)),
            ("1m30s", Ok(90_000_000_000)),
            ("1.5h", Ok(5_400_000_000_000)),
            (".5s", Ok(500_000_000)),
            ("5.s", Ok(5_000_000_000)),
            ("0.25m", Ok(15_000_000_000)),
            ("1us", Ok(1_000)),
            ("1\u{b5}s", Ok(1_000)),
            ("3\u{3bc}s2ns", Ok(3_002)),
            ("+1s", Ok(1_000_000_000)),
            ("-1s", Ok(0)),
            ("0", Ok(0)),
            ("0.1234567890123s", Ok(123_456_789)),
            ("", Err("invalid duration \"\"")),
            ("-", Err("invalid duration \"-\"")),
            ("x", Err("invalid duration \"x\"")),
            (".s", Err("invalid duration \".s\"")),
            ("1..2s", Err("invalid duration \"1..2s\"")),
            ("5", Err("missing unit in duration \"5\"")),
            ("1m5", Err("missing unit in duration \"1m5\"")),
            ("5d", Err("unknown unit \"d\" in duration \"5d\"")),
            ("5 s", Err("unknown unit \" s\" in duration \"5 s\"")),
            ("300000000h", Err("invalid duration \"300000000h\"")),
            ("99999999999999999999s", Err("invalid duration \"99999999999999999999s\"")),
        ] {
            assert_eq!(parse(text), expected.map(Duration::from_nanos).map_err(str::to_owned), "{text:?}");
        }
    }
}
