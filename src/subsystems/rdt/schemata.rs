//! What the lines of a group's `schemata` mean: `L3:0=7f0;1=1f`.

/// What of `asked` a group does not have whose schemata are `has`: what it has instead.
///
/// The same value can be written in several ways (order, leading zeros, blanks), so that texts cannot be compared.
/// `step` says to which multiples the kernel rounds a percentage of that resource.
pub fn difference(asked: &str, has: &str, step: impl Fn(&str) -> Option<u64>) -> Option<String> {
    for (resource, values) in asked.lines().map(parse) {
        let Some((_, there)) = has.lines().map(parse).find(|(name, _)| *name == resource) else {
            return Some(format!("no {resource}"));
        };
        for (domain, value) in values {
            let found = there.iter().find(|(known, _)| number(known, 10) == number(domain, 10));
            match found {
                Some((_, found)) if is_same(resource, value, found, &step) => {}
                Some((_, found)) => return Some(format!("{resource}:{domain}={found}")),
                None => return Some(format!("no {resource}:{domain}")),
            }
        }
    }
    None
}

/// The resource, and its domains with their values.
fn parse(line: &str) -> (&str, Vec<(&str, &str)>) {
    let in_two = |text, separator| {
        let (before, behind) = str::split_once(text, separator).unwrap_or((text, ""));
        (before.trim(), behind.trim())
    };
    let (resource, values) = in_two(line, ':');
    let values = values.split(';').map(str::trim).filter(|value| !value.is_empty());
    (resource, values.map(|value| in_two(value, '=')).collect())
}

fn is_same(resource: &str, asked: &str, found: &str, step: impl Fn(&str) -> Option<u64>) -> bool {
    // Bandwidth, also that of slow memory, is a decimal number; everything else is a bit mask.
    if !matches!(resource, "MB" | "SMBA") {
        return asked == found || number(asked, 16).is_some_and(|asked| Some(asked) == number(found, 16));
    }
    match (number(asked, 10), number(found, 10)) {
        (Some(asked), Some(found)) => {
            // KERNEL: bw_validate() rounds up.
            let rounded = step(resource).filter(|_| asked <= 100).and_then(|step| asked.checked_next_multiple_of(step));
            asked == found || rounded == Some(found)
        }
        _ => asked == found,
    }
}

fn number(text: &str, radix: u32) -> Option<u64> {
    u64::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel writes them.
    const HAS: &str = "    MB:0= 20;1=100\n    L3:0=7f0;1=01f\nL3CODE:0=f\n    L2:0=uninitialized\n  SMBA:0=2050\n";

    #[test]
    fn the_same_in_other_words() {
        for asked in [
            "L3:0=7f0;1=1f\n",
            "L3:1=001F;0=7F0;\n",
            "L3:0=7f0\n",
            " L3 : 00 = 7f0 \n",
            "MB:1=100;0=20\n",
            // Rounded to tens.
            "MB:0=11\n",
            "MB:0=020\n",
            "L3CODE:0=f\nMB:0=20\n",
            "L2:0=uninitialized\n",
            "SMBA:0=2050\n",
        ] {
            assert_eq!(difference(asked, HAS, |_| Some(10)), None, "{asked:?}");
        }
    }

    #[test]
    fn something_else() {
        for (asked, found) in [
            ("L3:0=7f1\n", "L3:0=7f0"),
            ("L3:0=7f0;1=20\n", "L3:1=01f"),
            ("L3:2=f\n", "no L3:2"),
            ("L3DATA:0=f\n", "no L3DATA"),
            ("MB:0=21\n", "MB:0=20"),
            ("MB:0=10\n", "MB:0=20"),
            // No hexadecimal number: 0x20 is 32.
            ("MB:0=32\n", "MB:0=20"),
            ("MB:0=all\n", "MB:0=20"),
            // More than a percentage is not rounded.
            ("SMBA:0=2041\n", "SMBA:0=2050"),
            ("L3:0=f0;0=7f0\n", "L3:0=7f0"),
            ("L2:0=f\n", "L2:0=uninitialized"),
            ("L3:0=7f0\nnonsense\n", "no nonsense"),
        ] {
            assert_eq!(difference(asked, HAS, |_| Some(10)).as_deref(), Some(found), "{asked:?}");
        }
        assert_eq!(difference("MB:0=11\n", HAS, |_| None).as_deref(), Some("MB:0=20"));
        assert_eq!(difference("MB:0=20\n", HAS, |_| None), None);
        assert_eq!(difference("MB:0=11\n", HAS, |_| Some(0)).as_deref(), Some("MB:0=20"));
    }
}
