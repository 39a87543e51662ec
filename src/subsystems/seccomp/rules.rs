//! The rules of one system call, put together as libseccomp does, so that a profile means here what it means under runc.
//!
//! - The first rule without conditions decides alone, wherever it stands.
//! - A rule whose conditions begin with another's adds nothing to it. With another action it is a contradiction, an
//!   error as in runc; except when it comes second: libseccomp drops it then, silently, and so do we.
//! - The rest is asked one after the other. For rules with one action the order is without meaning. For those with
//!   different ones it is libseccomp's: higher arguments first, then equality before `<`, `<=` before `>`, `>=`, then the
//!   narrower of two, then the profile's order.

use crate::config::seccomp::{Action, Condition, Test};

/// What happens with a system call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Whatever its arguments are.
    Always(Action),
    /// The first whose checks all hold; none: the default action.
    Ask(Vec<Alternative>),
}

/// An action, and when it is taken.
#[derive(Clone, Debug)]
pub(super) struct Alternative {
    /// At least one, by argument.
    pub checks: Vec<Check>,
    pub action: Action,
    /// What `checks` are ordered by.
    words: Vec<Word>,
}

impl PartialEq for Alternative {
    fn eq(&self, other: &Self) -> bool {
        self.action == other.action && self.checks == other.checks
    }
}

/// Another rule has another action for the same arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contradiction;

/// A condition, as it is made on an architecture: `(argument & mask) relation value`, or the opposite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub index: u8,
    pub relation: Relation,
    /// Without the upper half where arguments have 32 bits.
    pub mask: u64,
    /// Within `mask`.
    pub value: u64,
    /// Whether the relation must hold or must not.
    pub holds: bool,
}

/// What classic BPF can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    GreaterOrEqual,
    Greater,
}

impl Check {
    /// `None` for a condition that always holds: one with nothing in its mask, or only bits that the argument lacks.
    fn new(condition: Condition, wide: bool) -> Option<Self> {
        use Relation::{Equal, Greater, GreaterOrEqual};
        // The values of a 32-bit architecture lose their upper half, as in libseccomp: -1 is written with 64 bits.
        let all = if wide { u64::MAX } else { u64::from(u32::MAX) };
        let (relation, holds, mask, value) = match condition.test {
            Test::Equal(value) => (Equal, true, all, value),
            Test::NotEqual(value) => (Equal, false, all, value),
            Test::GreaterOrEqual(value) => (GreaterOrEqual, true, all, value),
            Test::Less(value) => (GreaterOrEqual, false, all, value),
            Test::Greater(value) => (Greater, true, all, value),
            Test::LessOrEqual(value) => (Greater, false, all, value),
            Test::Masked { mask, value } => (Equal, true, all & mask, value),
        };
        (mask != 0).then_some(Self { index: condition.index, relation, mask, value: value & mask, holds })
    }

    fn words(&self, wide: bool) -> Vec<Word> {
        let rank = match (self.relation, self.holds) {
            (Relation::Equal, _) => 2,
            (_, false) => 1,
            (_, true) => 0,
        };
        let word = |high, relation| {
            let half = |value| if high { high_half(value) } else { low_half(value) };
            let place = self.index * 2 + u8::from(high);
            Word { place, rank, relation, value: half(self.value), mask: half(self.mask) }
        };
        match (wide, self.relation) {
            (false, relation) => vec![word(false, relation)],
            (true, Relation::Equal) => vec![word(true, Relation::Equal), word(false, Relation::Equal)],
            (true, relation) => {
                vec![word(true, Relation::Greater), word(true, Relation::Equal), word(false, relation)]
            }
        }
    }
}

/// A comparison of half an argument: what libseccomp's order is made of.
#[derive(Clone, Copy, Debug)]
struct Word {
    /// Argument and half.
    place: u8,
    rank: u8,
    relation: Relation,
    value: u32,
    mask: u32,
}

impl Word {
    /// Whether both ask the same thing, perhaps to take opposite ways then.
    fn asks_same(&self, other: &Self) -> bool {
        let question = |word: &Self| (word.place, word.relation, word.value, word.mask);
        question(self) == question(other)
    }

    fn comes_before(&self, other: &Self) -> bool {
        if (self.place, self.rank) != (other.place, other.rank) {
            return (self.place, self.rank) > (other.place, other.rank);
        }
        // The narrower first: of "less than" the small one, of "greater than" the big one.
        if self.rank == 1 { self.value < other.value } else { self.value > other.value }
    }
}

impl Verdict {
    /// The verdict of a call that a first rule names.
    pub(super) fn new() -> Self {
        Self::Ask(Vec::new())
    }

    /// Adds a rule. Its conditions are of different arguments.
    pub(super) fn add(&mut self, conditions: &[Condition], action: Action, wide: bool) -> Result<(), Contradiction> {
        let Self::Ask(alternatives) = self else { return Ok(()) };
        let mut checks: Vec<_> = conditions.iter().filter_map(|condition| Check::new(*condition, wide)).collect();
        checks.sort_by_key(|check| check.index);
        if checks.is_empty() {
            *self = Self::Always(action);
            return Ok(());
        }
        for other in alternatives.iter() {
            if checks == other.checks && action != other.action {
                return Err(Contradiction);
            }
            if checks.starts_with(&other.checks) {
                return Ok(());
            }
            if other.checks.starts_with(&checks) && action != other.action {
                return Err(Contradiction);
            }
        }
        alternatives.retain(|other| !other.checks.starts_with(&checks));
        let words: Vec<_> = checks.iter().flat_map(|check| check.words(wide)).collect();
        alternatives.insert(position(alternatives, &words), Alternative { checks, action, words });
        Ok(())
    }
}

/// Where an alternative with these words belongs. Those that begin with the same words stand together.
fn position(alternatives: &[Alternative], words: &[Word]) -> usize {
    let mut at = 0;
    let mut end = alternatives.len();
    'words: for (depth, word) in words.iter().enumerate() {
        let same = |alternative: &Alternative| alternative.words.get(depth).is_some_and(|other| other.asks_same(word));
        while at < end {
            if same(&alternatives[at]) {
                end = at + alternatives[at..end].iter().take_while(|alternative| same(alternative)).count();
                continue 'words;
            }
            if alternatives[at].words.get(depth).is_some_and(|other| word.comes_before(other)) {
                return at;
            }
            at += 1;
        }
        return end;
    }
    end
}

#[expect(clippy::cast_possible_truncation, reason = "the half that is meant")]
pub(super) fn low_half(value: u64) -> u32 {
    value as u32
}

pub(super) fn high_half(value: u64) -> u32 {
    low_half(value >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when(index: u8, test: Test) -> Condition {
        Condition { index, test }
    }

    fn actions(rules: &[(&[Condition], Action)]) -> Result<Vec<Action>, Contradiction> {
        let mut verdict = Verdict::new();
        for (conditions, action) in rules {
            verdict.add(conditions, *action, true)?;
        }
        Ok(match verdict {
            Verdict::Always(action) => vec![action],
            Verdict::Ask(alternatives) => alternatives.iter().map(|alternative| alternative.action).collect(),
        })
    }

    const A: Action = Action::Errno(1);
    const B: Action = Action::Errno(2);
    const C: Action = Action::Allow;

    #[test]
    fn the_first_rule_without_conditions_decides_alone() {
        let when = when(0, Test::Equal(1));
        assert_eq!(actions(&[(&[when], A), (&[], B), (&[], C), (&[when], C)]), Ok(vec![B]));
        let nothing = Condition { index: 3, test: Test::Masked { mask: 0, value: 7 } };
        assert_eq!(actions(&[(&[when], A), (&[nothing], B)]), Ok(vec![B]));
    }

    #[test]
    fn of_two_that_overlap_the_one_of_the_higher_argument_then_the_narrower_is_asked_first() {
        let rows: &[(Condition, Condition)] = &[
            (when(1, Test::Equal(1)), when(0, Test::Equal(1))),
            (when(0, Test::NotEqual(1)), when(0, Test::Less(1))),
            (when(0, Test::Less(100)), when(0, Test::GreaterOrEqual(1))),
            (when(0, Test::Less(1)), when(0, Test::Less(100))),
            (when(0, Test::Greater(100)), when(0, Test::Greater(1))),
            (when(0, Test::Equal(1 << 40)), when(0, Test::Equal(1))),
        ];
        for (first, second) in rows {
            assert_eq!(actions(&[(&[*first], A), (&[*second], B)]), Ok(vec![A, B]), "{first:?} {second:?}");
            assert_eq!(actions(&[(&[*second], B), (&[*first], A)]), Ok(vec![A, B]), "{first:?} {second:?}");
        }
    }

    #[test]
    fn conditions_that_begin_with_others_add_nothing() {
        let (one, two) = (when(0, Test::Equal(1)), when(1, Test::Equal(2)));
        assert_eq!(actions(&[(&[one], A), (&[one, two], A)]), Ok(vec![A]));
        assert_eq!(actions(&[(&[one, two], A), (&[one], A)]), Ok(vec![A]));
        assert_eq!(actions(&[(&[one], A), (&[two, one], B)]), Ok(vec![A]));
        assert_eq!(actions(&[(&[one, two], B), (&[one], A)]), Err(Contradiction));
        assert_eq!(actions(&[(&[one], B), (&[one], A)]), Err(Contradiction));
        assert_eq!(actions(&[(&[one], A), (&[one], A)]), Ok(vec![A]));
    }
}
