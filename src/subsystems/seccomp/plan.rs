//! Profile to program: which number has which verdict, as ranges, as a balanced tree.

use oci_spec::runtime::Arch;
use serde::{Deserialize, Serialize};

use super::abi::{Abi, X32_BIT};
use super::assemble::{Assembler, Jump, Target};
use super::rules::{Alternative, Check, Relation, Verdict, high_half, low_half};
use crate::config::seccomp::{Action, Condition, Rule, Seccomp, Test};
use crate::error::{Error, Result};
use crate::sys::seccomp::Instruction;

/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The kernel, since 5.11, runs a program that it loads once for each number of its table, to learn which calls are
/// always allowed: it does not run it for those. There are about this many. With 30 µs it is a quarter of what loading
/// takes; the rest goes by the number of instructions.
const ASKED_AT_LOAD: u32 = 470;

/// Exceptions of a range that are asked for one by one: with more of them, it is halved first.
const EXCEPTIONS_IN_A_ROW: usize = 3;

/// What libseccomp answers on an architecture that the profile does not name.
const OTHER_ARCHITECTURE: Action = Action::KillThread;

/// The system call by which the container's side tells the listener's number: with it the agent would be asked before
/// there is one.
const NEVER_NOTIFIED: &str = "write";

/// A compiled profile, ready to load: see [`super::inside::load`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// `SECCOMP_FILTER_FLAG_*`, without NEW_LISTENER.
    pub flags: u64,
    /// Classic BPF over `struct seccomp_data`.
    pub program: Vec<Instruction>,
    /// Whether loading it makes a listener.
    pub notifies: bool,
}

/// Calls with a higher number than any that the profile names for an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newer {
    /// ENOSYS, so that a C library falls back to the call that the profile's author knew. Not when such calls are let
    /// through anyway: by ALLOW, LOG, or a tracer, who knows better.
    NotImplemented,
    /// The profile's default action, as in the specification and libseccomp.
    Default,
}

/// Compiles a profile for this machine.
pub fn compile(profile: &Seccomp) -> Result<Filter> {
    compile_for(profile, Arch::ScmpArchNative, Newer::NotImplemented)
}

pub(super) fn compile_for(profile: &Seccomp, native: Arch, newer: Newer) -> Result<Filter> {
    check_notify(profile)?;
    let families = families(profile, native)?;
    let newer = match profile.default_action {
        Action::Allow | Action::Log | Action::Trace(_) => Newer::Default,
        _ => newer,
    };
    let mut code = Assembler::default();
    let mut blocks = Vec::new();
    // The first architecture is this machine's own: made last, it comes to stand next to the entry.
    for family in families.iter().rev() {
        let ranges = family.ranges(profile, newer)?;
        blocks.push((family.audit, block(&mut code, family.abis[0], &ranges, profile.default_action)));
    }
    let mut entry = Target::Return(value(OTHER_ARCHITECTURE));
    for (audit, block) in blocks {
        entry = code.jump(Jump::Equal, audit, block, entry);
    }
    let entry = code.load(ARCHITECTURE, entry);
    finish(profile, code.finish(entry))
}

fn finish(profile: &Seccomp, program: Vec<Instruction>) -> Result<Filter> {
    if program.len() > MAX_INSTRUCTIONS {
        let why = format!("needs {} instructions, the kernel takes {MAX_INSTRUCTIONS}", program.len());
        return Err(Error::unsupported("linux.seccomp", why));
    }
    let notifies = program.iter().any(|instruction| *instruction == notification());
    // Loading happens in a process of one thread: TSYNC would do nothing but fail together with NEW_LISTENER.
    let mut flags = profile.flags & !libc::SECCOMP_FILTER_FLAG_TSYNC;
    if !notifies {
        // The kernel refuses it without a listener to wait for.
        flags &= !libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    }
    Ok(Filter { flags, program, notifies })
}

fn notification() -> Instruction {
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's constants for the 16 bits of `code`")]
    let code = (libc::BPF_RET | libc::BPF_K) as u16;
    Instruction { code, jt: 0, jf: 0, k: value(Action::Notify) }
}

/// COMPAT(runc): the texts.
fn check_notify(profile: &Seccomp) -> Result<()> {
    if profile.default_action == Action::Notify {
        let why = "SCMP_ACT_NOTIFY cannot be used as default action";
        return Err(Error::invalid("linux.seccomp.defaultAction", why));
    }
    for rule in &profile.rules {
        if rule.action == Action::Notify && rule.names.iter().any(|name| name == NEVER_NOTIFIED) {
            let why = format!("SCMP_ACT_NOTIFY cannot be used for the {NEVER_NOTIFIED} syscall");
            return Err(Error::invalid(&rule.property, why));
        }
    }
    Ok(())
}

/// Architectures that the kernel gives one name, told apart by the number of a call: only x86_64 and x32.
struct Family {
    audit: u32,
    /// At least one; x86_64 before x32.
    abis: Vec<&'static Abi>,
}

/// The machine's own first, the others as listed.
fn families(profile: &Seccomp, native: Arch) -> Result<Vec<Family>> {
    let mut families: Vec<Family> = Vec::new();
    let own = Abi::of(native);
    for arch in std::iter::once(native).chain(profile.architectures.iter().copied()) {
        let refuse = |why| Err(Error::unsupported("linux.seccomp.architectures", format!("{arch}: {why}")));
        let Some(abi) = Abi::of(arch) else { return refuse("unknown to this program") };
        if own.is_some_and(|own| own.big_endian != abi.big_endian) {
            return refuse("has another byte order than this machine");
        }
        if !abi.has_names() {
            return refuse("unknown to the libseccomp that this program was built with");
        }
        match families.iter_mut().find(|family| family.audit == abi.audit) {
            Some(family) if family.abis.iter().any(|other| other.arch == abi.arch) => {}
            Some(family) => {
                family.abis.push(abi);
                family.abis.sort_by_key(|abi| abi.is_x32());
            }
            None => families.push(Family { audit: abi.audit, abis: vec![abi] }),
        }
    }
    Ok(families)
}

/// What the calls from a number on get, up to the next span's.
struct Span {
    from: u32,
    verdict: Verdict,
}

/// Spans in order, neighbours never alike.
#[derive(Default)]
struct Spans(Vec<Span>);

impl Spans {
    fn begin(&mut self, from: u32, verdict: Verdict) {
        if self.0.last().is_some_and(|last| last.from == from) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| last.verdict != verdict) {
            self.0.push(Span { from, verdict });
        }
    }

    fn begin_always(&mut self, from: u32, action: Action) {
        self.begin(from, Verdict::Always(action));
    }

    /// A span of one number between two that are alike becomes an exception of theirs: one comparison instead of two.
    fn into_ranges(self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::with_capacity(self.0.len());
        let mut spans = self.0.into_iter().peekable();
        while let Some(Span { from, verdict }) = spans.next() {
            match (ranges.last_mut(), spans.peek()) {
                (Some(range), Some(after)) if after.from == from + 1 && after.verdict == range.verdict => {
                    range.exceptions.push(Span { from, verdict });
                    spans.next();
                }
                _ => ranges.push(Range { from, verdict, exceptions: Vec::new() }),
            }
        }
        ranges
    }
}

/// What the calls from a number on get, up to the next range's, but for single ones.
struct Range {
    from: u32,
    verdict: Verdict,
    /// Of one number each, in order.
    exceptions: Vec<Span>,
}

impl Family {
    fn ranges(&self, profile: &Seccomp, newer: Newer) -> Result<Vec<Range>> {
        let mut spans = Spans::default();
        if self.abis[0].is_x32() {
            spans.begin_always(0, OTHER_ARCHITECTURE);
        }
        let mut named = named(self.abis[0], profile);
        for (at, abi) in self.abis.iter().enumerate() {
            if at > 0 {
                // Names need not be looked up again, which is what takes the time.
                named = on_x32(&named);
            }
            numbers_of(abi, profile, newer, &named, &mut spans)?;
        }
        if let [Abi { arch: Arch::ScmpArchX86_64, .. }] = self.abis[..] {
            spans.begin_always(X32_BIT, OTHER_ARCHITECTURE);
            // A tracer skips a call by the number -1, which then is seen here (seccomp(2)): that is no call of x32.
            spans.begin_always(u32::MAX, profile.default_action);
        }
        Ok(spans.into_ranges())
    }
}

/// Adds the numbers of an architecture, from its first one to the end.
fn numbers_of(abi: &Abi, profile: &Seccomp, newer: Newer, named: &[Named], spans: &mut Spans) -> Result<()> {
    spans.begin_always(if abi.is_x32() { X32_BIT } else { 0 }, profile.default_action);
    if newer == Newer::NotImplemented && matches!(abi.arch, Arch::ScmpArchS390 | Arch::ScmpArchS390x) {
        // Numbers that do not fit into the instruction come as 0, also those that the kernel does not know.
        spans.begin_always(0, Action::Errno(enosys()));
        spans.begin_always(1, profile.default_action);
    }
    for named in named.chunk_by(|one, other| one.number == other.number) {
        if let Some(verdict) = verdict(named, abi, profile)? {
            spans.begin(named[0].number, verdict);
            spans.begin_always(named[0].number + 1, profile.default_action);
        }
    }
    if let (Newer::NotImplemented, Some(last)) = (newer, named.last()) {
        spans.begin_always(last.number + 1, Action::Errno(enosys()));
    }
    Ok(())
}

/// A rule, by its place in the profile, and one of the numbers that it is about.
#[derive(Clone, Copy)]
struct Named {
    number: u32,
    /// The first argument that means the call, when the number is a multiplexer's.
    multiplexed: Option<u8>,
    rule: usize,
}

/// All that the profile names on an architecture: by number, then in the profile's order.
fn named(abi: &Abi, profile: &Seccomp) -> Vec<Named> {
    let mut all = Vec::with_capacity(profile.rules.iter().map(|rule| rule.names.len()).sum());
    for (rule, Rule { names, .. }) in profile.rules.iter().enumerate() {
        for numbers in names.iter().map(|name| abi.numbers(name)) {
            all.extend(numbers.own.map(|number| Named { number, multiplexed: None, rule }));
            all.extend(numbers.multiplexed.map(|(number, call)| Named { number, multiplexed: Some(call), rule }));
        }
    }
    sort(&mut all);
    all
}

/// What is named on x86_64, on x32.
fn on_x32(named: &[Named]) -> Vec<Named> {
    let numbered = named.iter().map(|named| Some(Named { number: Abi::x32_number(named.number)?, ..*named }));
    let mut all: Vec<_> = numbered.flatten().collect();
    sort(&mut all);
    all
}

fn sort(all: &mut [Named]) {
    all.sort_unstable_by_key(|named| (named.number, named.rule));
}

/// What the rules about one number come to. `None` without any but those of the default action: as for runc these are not
/// there, so they do not take precedence over others either.
fn verdict(named: &[Named], abi: &Abi, profile: &Seccomp) -> Result<Option<Verdict>> {
    let mut verdict = None;
    for named in named {
        let rule = &profile.rules[named.rule];
        if rule.action == profile.default_action {
            continue;
        }
        let verdict = verdict.get_or_insert_with(Verdict::new);
        for conditions in alternatives(&rule.conditions) {
            let added = match named.multiplexed {
                Some(call) => verdict.add(&of_multiplexer(conditions, call), rule.action, abi.wide),
                None => verdict.add(conditions, rule.action, abi.wide),
            };
            added.map_err(|_| contradiction(rule, named, abi))?;
        }
    }
    Ok(verdict)
}

fn contradiction(rule: &Rule, named: &Named, abi: &Abi) -> Error {
    let name = rule.names.iter().find(|name| abi.numbers(name).contains(named.number)).map_or("", String::as_str);
    let why = format!("another rule has another action for the same arguments of {name} on {}", abi.arch);
    Error::invalid(&rule.property, why)
}

/// The sets of conditions of which one must hold. COMPAT(runc): with two conditions on one argument, each is a rule.
fn alternatives(conditions: &[Condition]) -> impl Iterator<Item = &[Condition]> {
    let mut others = conditions.iter().enumerate();
    let twice = others.any(|(at, condition)| conditions[..at].iter().any(|other| other.index == condition.index));
    let (together, apart) = if twice { (None, conditions) } else { (Some(conditions), &[][..]) };
    together.into_iter().chain(apart.chunks(1))
}

/// The conditions of a call made through a multiplexer. As in libseccomp the first argument is the multiplexer's, and
/// the others are compared as they come though they are not the call's: what they are is in memory, out of our sight.
fn of_multiplexer(conditions: &[Condition], call: u8) -> Vec<Condition> {
    let first = Condition { index: 0, test: Test::Equal(call.into()) };
    let others = conditions.iter().copied().filter(|condition| condition.index != 0);
    std::iter::once(first).chain(others).collect()
}

/// The code for one architecture, entered with anything in the accumulator.
fn block(code: &mut Assembler, abi: &Abi, ranges: &[Range], default: Action) -> Target {
    match ranges {
        [Range { verdict: Verdict::Always(action), exceptions, .. }] if exceptions.is_empty() => {
            Target::Return(value(*action))
        }
        _ => {
            let tree = tree(code, abi, ranges, u32::MAX, default);
            code.load(NUMBER, tree)
        }
    }
}

/// Entered with the number in the accumulator. The ranges go to `end`.
fn tree(code: &mut Assembler, abi: &Abi, ranges: &[Range], end: u32, default: Action) -> Target {
    match ranges {
        [] => Target::Return(value(default)),
        [range] => {
            let rest = meet(code, abi, &range.verdict, default);
            excepted(code, abi, &range.exceptions, rest, default)
        }
        _ => {
            let (low, high) = ranges.split_at(middle(ranges, end));
            let from = high[0].from;
            let high = tree(code, abi, high, end, default);
            let low = tree(code, abi, low, from, default);
            code.jump(Jump::GreaterOrEqual, from, high, low)
        }
    }
}

/// The range to begin the upper half with: so that the kernel, when it asks about each number, has few steps to do.
fn middle(ranges: &[Range], end: u32) -> usize {
    let from = |at: usize| ranges.get(at).map_or(end, |range| range.from);
    // Beyond the numbers that it asks about, only the ranges count.
    let place = |at| from(at).min(ASKED_AT_LOAD) as usize + at;
    let (first, last) = (place(0), place(ranges.len()));
    (1..ranges.len()).min_by_key(|at| (2 * place(*at)).abs_diff(first + last)).unwrap_or(0)
}

/// Entered with the number in the accumulator.
fn excepted(code: &mut Assembler, abi: &Abi, exceptions: &[Span], rest: Target, default: Action) -> Target {
    if exceptions.len() <= EXCEPTIONS_IN_A_ROW {
        return exceptions.iter().rev().fold(rest, |rest, exception| {
            let verdict = meet(code, abi, &exception.verdict, default);
            code.jump(Jump::Equal, exception.from, verdict, rest)
        });
    }
    let (low, high) = exceptions.split_at(exceptions.len() / 2);
    let from = high[0].from;
    let high = excepted(code, abi, high, rest, default);
    let low = excepted(code, abi, low, rest, default);
    code.jump(Jump::GreaterOrEqual, from, high, low)
}

/// Entered with anything in the accumulator.
fn meet(code: &mut Assembler, abi: &Abi, verdict: &Verdict, default: Action) -> Target {
    match verdict {
        Verdict::Always(action) => Target::Return(value(*action)),
        Verdict::Ask(alternatives) => ask(code, abi, alternatives, default),
    }
}

/// Entered with anything in the accumulator.
fn ask(code: &mut Assembler, abi: &Abi, alternatives: &[Alternative], default: Action) -> Target {
    let mut next = Target::Return(value(default));
    for alike in alternatives.chunk_by(differ_in_low_half).rev() {
        next = match alike {
            [alternative] => {
                let holds = Target::Return(value(alternative.action));
                alternative.checks.iter().rev().fold(holds, |holds, check| compare(code, abi, check, holds, next))
            }
            _ => one_of(code, abi, alike, next),
        };
    }
    next
}

/// Whether both are about all of one argument being some value, whose upper half is the same.
fn differ_in_low_half(one: &Alternative, other: &Alternative) -> bool {
    let ([one], [other]) = (&one.checks[..], &other.checks[..]) else { return false };
    let upper = |check: &Check| (check.index, check.relation, check.holds, check.mask, high_half(check.value));
    one.relation == Relation::Equal && one.holds && low_half(one.mask) == u32::MAX && upper(one) == upper(other)
}

/// Loads each half of the argument once. The alternatives [differ in its low half](differ_in_low_half).
fn one_of(code: &mut Assembler, abi: &Abi, alternatives: &[Alternative], next: Target) -> Target {
    let Check { index, mask, value: any, .. } = alternatives[0].checks[0];
    let (low_at, high_at) = halves(abi, index);
    let low = alternatives.iter().rev().fold(next, |next, Alternative { checks, action, .. }| {
        code.jump(Jump::Equal, low_half(checks[0].value), Target::Return(value(*action)), next)
    });
    let low = code.load(low_at, low);
    masked_equal(code, high_at, high_half(mask), high_half(any), low, next)
}

fn compare(code: &mut Assembler, abi: &Abi, check: &Check, holds: Target, fails: Target) -> Target {
    let (yes, no) = if check.holds { (holds, fails) } else { (fails, holds) };
    let (low, high) = (low_half(check.value), high_half(check.value));
    let (low_at, high_at) = halves(abi, check.index);
    let order = match check.relation {
        Relation::Equal => {
            let low = masked_equal(code, low_at, low_half(check.mask), low, yes, no);
            // Nothing in the upper half of the mask, as always on architectures of 32 bits: nothing to ask there.
            return masked_equal(code, high_at, high_half(check.mask), high, low, no);
        }
        Relation::Greater => Jump::Greater,
        Relation::GreaterOrEqual => Jump::GreaterOrEqual,
    };
    let lower = code.jump(order, low, yes, no);
    let lower = code.load(low_at, lower);
    if high_half(check.mask) == 0 {
        return lower;
    }
    let same = code.jump(Jump::Equal, high, lower, no);
    let upper = code.jump(Jump::Greater, high, yes, same);
    code.load(high_at, upper)
}

/// Where an argument's low and high half are in `struct seccomp_data`.
fn halves(abi: &Abi, index: u8) -> (u32, u32) {
    let argument = ARGUMENTS + 8 * u32::from(index);
    if abi.big_endian { (argument + 4, argument) } else { (argument, argument + 4) }
}

fn masked_equal(code: &mut Assembler, at: u32, mask: u32, expected: u32, yes: Target, no: Target) -> Target {
    if mask == 0 {
        return yes;
    }
    let mut equal = code.jump(Jump::Equal, expected, yes, no);
    if mask != u32::MAX {
        equal = code.and(mask, equal);
    }
    code.load(at, equal)
}

/// `SECCOMP_RET_*` with its data.
fn value(action: Action) -> u32 {
    match action {
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Action::Trace(data) => libc::SECCOMP_RET_TRACE | u32::from(data),
        Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Allow => libc::SECCOMP_RET_ALLOW,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "38, or 89 on MIPS")]
const fn enosys() -> u16 {
    libc::ENOSYS as u16
}
