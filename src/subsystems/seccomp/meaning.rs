//! What a profile means, and what a program does: each told without the other, and compared. For the tests, and for the
//! fuzz target of the compiler, which is the one outside for whom this module is open (`cfg(fuzzing)`).

use std::collections::BTreeMap;

use oci_spec::runtime::Arch;

use super::Instruction;
use super::abi::{Abi, X32_BIT};
use super::plan::{Newer, compile_for};
use super::rules::{high_half, low_half};
use crate::config::seccomp::{Action, Condition, Rule, Seccomp, Test};

/// A call, as `struct seccomp_data` shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub audit: u32,
    pub number: u32,
    pub arguments: [u64; 6],
}

/// Where the arguments begin in `struct seccomp_data`, and where they end.
const ARGUMENTS: u32 = 16;
const END: u32 = 64;

impl Call {
    fn word(&self, offset: u32, big_endian: bool) -> Option<u32> {
        match offset {
            0 => Some(self.number),
            4 => Some(self.audit),
            ARGUMENTS..END => {
                let argument = self.arguments[usize::try_from(offset - ARGUMENTS).ok()? / 8];
                let upper = (offset % 8 == 4) != big_endian;
                Some(if upper { high_half(argument) } else { low_half(argument) })
            }
            _ => None,
        }
    }
}

/// Instructions that the compilers use: theirs is a subset of what the kernel takes.
mod code {
    pub const LOAD: u16 = 0x20;
    pub const AND: u16 = 0x54;
    pub const EQUAL: u16 = 0x15;
    pub const GREATER: u16 = 0x25;
    pub const GREATER_OR_EQUAL: u16 = 0x35;
    pub const JUMP: u16 = 0x05;
    pub const RETURN: u16 = 0x06;
}

/// What the kernel's own check would find: loads of words that there are, jumps forward to what there is, an end.
fn check(program: &[Instruction]) -> Result<(), String> {
    if program.is_empty() || program.len() > 4096 {
        return Err(format!("{} instructions", program.len()));
    }
    for (at, instruction) in program.iter().enumerate() {
        let behind = program.len() - at - 1;
        let reaches = |distance: u32| usize::try_from(distance).is_ok_and(|distance| distance < behind);
        let valid = match instruction.code {
            code::LOAD => instruction.k % 4 == 0 && instruction.k < END,
            code::AND => reaches(0),
            code::EQUAL | code::GREATER | code::GREATER_OR_EQUAL => {
                reaches(instruction.jt.into()) && reaches(instruction.jf.into())
            }
            code::JUMP => reaches(instruction.k),
            code::RETURN => true,
            _ => false,
        };
        if !valid {
            return Err(format!("instruction {at} of {}: {instruction:x?}", program.len()));
        }
    }
    match program.last() {
        Some(Instruction { code: code::RETURN, .. }) => Ok(()),
        other => Err(format!("ends with {other:x?}")),
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub verdict: u32,
    /// The number of instructions that it took.
    pub steps: usize,
    /// The arguments that it looked at, as bits: with others in their places it would have ended the same way.
    pub looked_at: u8,
}

/// What the kernel would do. `None` for a program that is none.
pub(super) fn run(program: &[Instruction], call: &Call, big_endian: bool) -> Option<Run> {
    let (mut accumulator, mut at, mut looked_at) = (0_u32, 0_usize, 0_u8);
    for steps in 1.. {
        let Instruction { code, jt, jf, k } = *program.get(at)?;
        at += 1;
        let mut jump = |yes: bool| at += usize::from(if yes { jt } else { jf });
        match code {
            code::LOAD => {
                accumulator = call.word(k, big_endian)?;
                looked_at |= k.checked_sub(ARGUMENTS).map_or(0, |offset| 1 << (offset / 8));
            }
            code::AND => accumulator &= k,
            code::EQUAL => jump(accumulator == k),
            code::GREATER => jump(accumulator > k),
            code::GREATER_OR_EQUAL => jump(accumulator >= k),
            code::JUMP => at += usize::try_from(k).ok()?,
            code::RETURN => return Some(Run { verdict: k, steps, looked_at }),
            _ => return None,
        }
    }
    None
}

/// `SECCOMP_RET_*` with its data, written once more.
pub(super) fn returned(action: Action) -> u32 {
    match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno(errno) => 0x0005_0000 + u32::from(errno),
        Action::Notify => 0x7fc0_0000,
        Action::Trace(data) => 0x7ff0_0000 + u32::from(data),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    }
}

/// A profile for a machine of some architecture, read without compiling it.
pub(super) struct Meaning<'a> {
    profile: &'a Seccomp,
    tables: Vec<Table<'a>>,
}

/// What it says about the calls of one architecture.
struct Table<'a> {
    abi: &'static Abi,
    /// By number.
    named: BTreeMap<u32, Vec<Named<'a>>>,
}

/// A rule that names a call.
struct Named<'a> {
    rule: &'a Rule,
    /// The first argument that means it, when the number is a multiplexer's.
    multiplexed: Option<u64>,
}

impl<'a> Table<'a> {
    fn new(profile: &'a Seccomp, abi: &'static Abi) -> Self {
        let mut named: BTreeMap<u32, Vec<Named<'_>>> = BTreeMap::new();
        for rule in &profile.rules {
            for numbers in rule.names.iter().map(|name| abi.numbers(name)) {
                let own = numbers.own.map(|number| (number, None));
                let multiplexed = numbers.multiplexed.map(|(number, first)| (number, Some(first.into())));
                for (number, multiplexed) in own.into_iter().chain(multiplexed) {
                    named.entry(number).or_default().push(Named { rule, multiplexed });
                }
            }
        }
        Self { abi, named }
    }

    /// The numbers that something is said about, and their neighbours.
    fn numbers(&self) -> Vec<u32> {
        let named = self.named.keys().copied().chain([self.abi.base]);
        let around = named.flat_map(|number| [number.wrapping_sub(1), number, number + 1]);
        let mut numbers: Vec<_> = around.chain([self.abi.base + 100, X32_BIT - 1, u32::MAX - 1, u32::MAX]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn depends_on_arguments(&self, number: u32) -> bool {
        let depends = |named: &Named<'_>| named.multiplexed.is_some() || !named.rule.conditions.is_empty();
        self.named.get(&number).is_some_and(|all| all.iter().any(depends))
    }
}

impl Named<'_> {
    fn holds(&self, call: &Call, wide: bool) -> bool {
        let conditions = &self.rule.conditions;
        let repeated = (0..6).any(|index| conditions.iter().filter(|condition| condition.index == index).count() > 1);
        // A multiplexer's first argument is its own business.
        let skipped = |condition: &Condition| self.multiplexed.is_some() && condition.index == 0;
        let holds = |condition: &Condition| skipped(condition) || condition_holds(condition, call, wide);
        let meant = self.multiplexed.is_none_or(|first| argument(call, 0, wide) == first);
        meant && if repeated { conditions.iter().any(holds) } else { conditions.iter().all(holds) }
    }
}

impl<'a> Meaning<'a> {
    /// `None` if there is an architecture that is unknown to this program.
    pub(super) fn new(profile: &'a Seccomp, native: Arch) -> Option<Self> {
        let abis = std::iter::once(native).chain(profile.architectures.iter().copied()).map(Abi::of);
        let tables = abis.map(|abi| Some(Table::new(profile, abi?))).collect::<Option<_>>()?;
        Some(Self { profile, tables })
    }

    /// The verdicts of all rules that hold for the call, of which one must be taken; else the only one that is right.
    pub(super) fn of(&self, call: &Call, newer: Newer) -> Vec<u32> {
        let x86_64 = |table: &&Table<'_>| table.abi.audit == call.audit && !table.abi.is_x32();
        let right = |table: &&Table<'_>| {
            let shared = table.abi.audit == 0xc000_003e;
            table.abi.audit == call.audit && (!shared || table.abi.is_x32() == (call.number >= X32_BIT))
        };
        let only = match self.tables.iter().find(right) {
            Some(table) => return self.of_table(table, call, newer),
            // A call that a tracer has skipped.
            None if call.number == u32::MAX && self.tables.iter().any(|table| x86_64(&table)) => {
                self.profile.default_action
            }
            None => Action::KillThread,
        };
        vec![returned(only)]
    }

    fn of_table(&self, table: &Table<'_>, call: &Call, newer: Newer) -> Vec<u32> {
        let lets_newer = matches!(self.profile.default_action, Action::Allow | Action::Log | Action::Trace(_));
        if newer == Newer::NotImplemented && !lets_newer {
            let s390 = matches!(table.abi.arch, Arch::ScmpArchS390 | Arch::ScmpArchS390x);
            let last = table.named.last_key_value().map(|(number, _)| *number);
            if last.is_some_and(|last| call.number > last) || (s390 && call.number == 0) {
                return vec![returned(Action::Errno(38))];
            }
        }
        let named = table.named.get(&call.number).into_iter().flatten();
        // A rule with the default action is none.
        let deciding = named.filter(|named| named.rule.action != self.profile.default_action);
        let holding = deciding.filter(|named| named.holds(call, table.abi.wide));
        let verdicts: Vec<_> = holding.map(|named| returned(named.rule.action)).collect();
        if verdicts.is_empty() { vec![returned(self.profile.default_action)] } else { verdicts }
    }
}

fn argument(call: &Call, index: u8, wide: bool) -> u64 {
    half(call.arguments[usize::from(index)], wide)
}

fn half(value: u64, wide: bool) -> u64 {
    if wide { value } else { u64::from(low_half(value)) }
}

fn condition_holds(condition: &Condition, call: &Call, wide: bool) -> bool {
    let half = |value| half(value, wide);
    let argument = argument(call, condition.index, wide);
    match condition.test {
        Test::NotEqual(value) => argument != half(value),
        Test::Less(value) => argument < half(value),
        Test::LessOrEqual(value) => argument <= half(value),
        Test::Equal(value) => argument == half(value),
        Test::GreaterOrEqual(value) => argument >= half(value),
        Test::Greater(value) => argument > half(value),
        Test::Masked { mask, value } => argument & half(mask) == half(value) & half(mask),
    }
}

/// For each argument the values that these conditions tell apart, and some that they should not.
pub(super) fn boundaries<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> [Vec<u64>; 6] {
    let mut values = [const { Vec::new() }; 6];
    for values in &mut values {
        values.extend([0, 1, u64::MAX, 1 << 32, u64::from(u32::MAX)]);
    }
    // The calls of socketcall(2) and ipc(2).
    values[0].extend(2..25);
    for condition in conditions {
        let (value, mask) = match condition.test {
            Test::NotEqual(value) | Test::Less(value) | Test::LessOrEqual(value) | Test::Equal(value) => (value, 0),
            Test::GreaterOrEqual(value) | Test::Greater(value) => (value, 0),
            Test::Masked { mask, value } => (value, mask),
        };
        let values = &mut values[usize::from(condition.index)];
        values.extend([value, value.wrapping_add(1), value.wrapping_sub(1), value ^ (1 << 32), value & 0xffff_ffff]);
        values.extend([value | (1 << 63), value.rotate_left(32), mask, !mask, value | !mask]);
    }
    for values in &mut values {
        values.sort_unstable();
        values.dedup();
    }
    values
}

/// xorshift64*: the same numbers for the same seed, everywhere.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Compiles `profile` as on a machine of the architecture `native`, and runs the program on the calls that the profile
/// is about, each with `tries` lists of arguments. `Ok` as well for a profile that is refused; `Err` says what is wrong.
pub fn compare(profile: &Seccomp, native: Arch, tries: usize) -> Result<(), String> {
    let mut random = Random(1);
    let conditions: Vec<Condition> = profile.rules.iter().flat_map(|rule| rule.conditions.clone()).collect();
    let values = boundaries(&conditions);
    let meaning = Meaning::new(profile, native).ok_or("an unknown architecture")?;
    for newer in [Newer::Default, Newer::NotImplemented] {
        let Ok(filter) = compile_for(profile, native, newer) else { continue };
        check(&filter.program)?;
        let big_endian = meaning.tables[0].abi.big_endian;
        for table in &meaning.tables {
            for number in table.numbers() {
                let tries = if table.depends_on_arguments(number) { tries } else { 1 };
                for _ in 0..tries {
                    let arguments = std::array::from_fn(|index| random.of(&values[index]));
                    let call = Call { audit: table.abi.audit, number, arguments };
                    let verdict = run(&filter.program, &call, big_endian).map(|run| run.verdict);
                    let meant = meaning.of(&call, newer);
                    if !verdict.is_some_and(|verdict| meant.contains(&verdict)) {
                        return Err(format!("{newer:?} {call:x?}: {verdict:x?}, not one of {meant:x?}"));
                    }
                }
            }
        }
    }
    Ok(())
}
