//! Profile to program: which number has which verdict, as ranges, as a balanced tree.

use std::collections::BTreeMap;

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
        let spans = family.spans(profile, newer)?;
        blocks.push((family.audit, block(&mut code, family.abis[0], &spans, profile.default_action)));
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
}

impl Family {
    fn spans(&self, profile: &Seccomp, newer: Newer) -> Result<Vec<Span>> {
        let mut spans = Spans::default();
        if self.abis[0].is_x32() {
            spans.begin_always(0, OTHER_ARCHITECTURE);
        }
        for abi in &self.abis {
            numbers_of(abi, profile, newer, &mut spans)?;
        }
        if let [Abi { arch: Arch::ScmpArchX86_64, .. }] = self.abis[..] {
            spans.begin_always(X32_BIT, OTHER_ARCHITECTURE);
            // A tracer skips a call by the number -1, which then is seen here (seccomp(2)): that is no call of x32.
            spans.begin_always(u32::MAX, profile.default_action);
        }
        Ok(spans.0)
    }
}

/// Adds the numbers of an architecture, from its first one to the end.
fn numbers_of(abi: &Abi, profile: &Seccomp, newer: Newer, spans: &mut Spans) -> Result<()> {
    let (mut verdicts, last) = verdicts(abi, profile)?;
    spans.begin_always(if abi.is_x32() { X32_BIT } else { 0 }, profile.default_action);
    if newer == Newer::NotImplemented && matches!(abi.arch, Arch::ScmpArchS390 | Arch::ScmpArchS390x) {
        // Numbers that do not fit into the instruction come as 0, also those that the kernel does not know.
        verdicts.insert(0, Verdict::Always(Action::Errno(enosys())));
    }
    for (number, verdict) in verdicts {
        spans.begin(number, verdict);
        spans.begin_always(number + 1, profile.default_action);
    }
    if let (Newer::NotImplemented, Some(last)) = (newer, last) {
        spans.begin_always(last + 1, Action::Errno(enosys()));
    }
    Ok(())
}

/// The calls that have rules, and the highest number that the profile names, be it with the default action.
fn verdicts(abi: &Abi, profile: &Seccomp) -> Result<(BTreeMap<u32, Verdict>, Option<u32>)> {
    let mut verdicts = BTreeMap::new();
    let mut last = None;
    for rule in &profile.rules {
        for name in &rule.names {
            let numbers = abi.numbers(name);
            last = last.max(numbers.own).max(numbers.multiplexed.map(|(number, _)| number));
            if rule.action == profile.default_action {
                // As runc: such a rule is not there, so it does not take precedence over others either.
                continue;
            }
            let mut add = |number, conditions: &[Condition]| {
                let verdict = verdicts.entry(number).or_insert_with(Verdict::new);
                verdict.add(conditions, rule.action, abi.wide).map_err(|_| contradiction(rule, name, abi))
            };
            for conditions in alternatives(rule) {
                if let Some((number, call)) = numbers.multiplexed {
                    add(number, &multiplexed(conditions, call))?;
                }
                if let Some(number) = numbers.own {
                    add(number, conditions)?;
                }
            }
        }
    }
    Ok((verdicts, last))
}

fn contradiction(rule: &Rule, name: &str, abi: &Abi) -> Error {
    let why = format!("another rule has another action for the same arguments of {name} on {}", abi.arch);
    Error::invalid(&rule.property, why)
}

/// The sets of conditions of which one must hold. COMPAT(runc): with two conditions on one argument, each is a rule.
fn alternatives(rule: &Rule) -> Vec<&[Condition]> {
    let twice = rule
        .conditions
        .iter()
        .enumerate()
        .any(|(at, condition)| rule.conditions[..at].iter().any(|other| other.index == condition.index));
    if twice { rule.conditions.chunks(1).collect() } else { vec![&rule.conditions] }
}

/// The conditions of a call made through a multiplexer. As in libseccomp the first argument is the multiplexer's, and
/// the others are compared as they come though they are not the call's: what they are is in memory, out of our sight.
fn multiplexed(conditions: &[Condition], call: u64) -> Vec<Condition> {
    let first = Condition { index: 0, test: Test::Equal(call) };
    let others = conditions.iter().copied().filter(|condition| condition.index != 0);
    std::iter::once(first).chain(others).collect()
}

/// The code for one architecture, entered with anything in the accumulator.
fn block(code: &mut Assembler, abi: &Abi, spans: &[Span], default: Action) -> Target {
    match spans {
        [Span { verdict: Verdict::Always(action), .. }] => Target::Return(value(*action)),
        _ => {
            let tree = tree(code, abi, spans, default);
            code.load(NUMBER, tree)
        }
    }
}

/// Entered with the number in the accumulator.
fn tree(code: &mut Assembler, abi: &Abi, spans: &[Span], default: Action) -> Target {
    match spans {
        [] => Target::Return(value(default)),
        [span] => match &span.verdict {
            Verdict::Always(action) => Target::Return(value(*action)),
            Verdict::Ask(alternatives) => ask(code, abi, alternatives, default),
        },
        _ => {
            // By spans, not by numbers: fewer steps to the wide ones gained nothing that could be measured (84 µs to load).
            let (low, high) = spans.split_at(spans.len() / 2);
            let from = high[0].from;
            let high = tree(code, abi, high, default);
            let low = tree(code, abi, low, default);
            code.jump(Jump::GreaterOrEqual, from, high, low)
        }
    }
}

/// Entered with anything in the accumulator.
fn ask(code: &mut Assembler, abi: &Abi, alternatives: &[Alternative], default: Action) -> Target {
    let mut next = Target::Return(value(default));
    for alternative in alternatives.iter().rev() {
        let mut holds = Target::Return(value(alternative.action));
        for check in alternative.checks.iter().rev() {
            holds = compare(code, abi, check, holds, next);
        }
        next = holds;
    }
    next
}

fn compare(code: &mut Assembler, abi: &Abi, check: &Check, holds: Target, fails: Target) -> Target {
    let (yes, no) = if check.holds { (holds, fails) } else { (fails, holds) };
    let (low, high) = (low_half(check.value), high_half(check.value));
    let argument = ARGUMENTS + 8 * u32::from(check.index);
    let (low_at, high_at) = if abi.big_endian { (argument + 4, argument) } else { (argument, argument + 4) };
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
