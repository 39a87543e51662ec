//! Sizes as people write them: `100M`, `1.5GiB`, `512 kb`.

/// COMPAT(runc): go-units' RAMInBytes. All units are binary: a `k` is 1024 bytes, with or without `b` or `ib` behind it.
pub fn parse(text: &str) -> Option<i64> {
    let end = text.rfind(|letter: char| letter.is_ascii_digit() || matches!(letter, '.' | ' '))? + 1;
    let (number, unit) = text.split_at(end);
    scaled(number.strip_suffix(' ').unwrap_or(number), factor(unit)?)
}

fn factor(unit: &str) -> Option<i64> {
    const UNITS: [char; 5] = ['k', 'm', 'g', 't', 'p'];
    let unit = unit.to_ascii_lowercase();
    if unit.is_empty() || unit == "b" {
        return Some(1);
    }
    let letter = unit.chars().next()?;
    let power = UNITS.iter().zip(1_u32..).find_map(|(known, power)| (*known == letter).then_some(power))?;
    matches!(&unit[1..], "" | "b" | "ib").then(|| 1024_i64.pow(power))
}

/// Whole numbers exactly; a fraction loses what is less than a byte.
fn scaled(number: &str, factor: i64) -> Option<i64> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    // Digits behind these are less than a byte: 1024^5 is below 10^16.
    let fraction = &fraction[..fraction.len().min(16)];
    let digits = format!("0{whole}{fraction}").parse::<i128>().ok()?;
    let shift = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    i64::try_from(digits.checked_mul(i128::from(factor))? / shift).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("33554432", Some(32 << 20)),
            ("32M", Some(32 << 20)),
            ("32m", Some(32 << 20)),
            ("32MB", Some(32 << 20)),
            ("32MiB", Some(32 << 20)),
            ("32 mib", Some(32 << 20)),
            ("5b", Some(5)),
            ("5 B", Some(5)),
            ("4k", Some(4096)),
            ("1G", Some(1 << 30)),
            ("2t", Some(2 << 40)),
            ("3p", Some(3 << 50)),
            ("1.5k", Some(1536)),
            (".5k", Some(512)),
            ("1.k", Some(1024)),
            ("1.0009765625k", Some(1025)),
            ("0.1", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("0.00000000000000000000000001p", Some(0)),
            ("9223372036854775808", None),
            ("8192p", None),
            ("99999999999999999999999999999999999999999999", None),
            ("", None),
            (".", None),
            ("k", None),
            ("-1", None),
            ("-1k", None),
            ("1e3", None),
            ("1.2.3", None),
            ("5bb", None),
            ("5bib", None),
            ("5kk", None),
            ("5kbi", None),
            ("5kibi", None),
            ("5x", None),
            ("5  k", None),
            ("5ä", None),
            ("5kä", None),
            ("max", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
