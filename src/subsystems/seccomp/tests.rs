//! Our program against libseccomp's for the same profile, run on the same calls.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::time::Instant;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::getpid;
use oci_spec::runtime::Arch;

use super::abi::{Abi, X32_BIT};
use super::meaning::{Call, Random, Run, boundaries, compare, returned, run};
use super::plan::{Newer, compile_for};
use super::{FLAGS, Filter, Instruction, architectures, compile, inside, is_supported};
use crate::config::Config;
use crate::config::seccomp::{Action, Condition, Rule, Seccomp, Test};
use crate::error::Kind;
use crate::sys::seccomp::knows_flags;

fn verdict(filter: &Filter, arch: Arch, number: u32, arguments: [u64; 6]) -> u32 {
    let abi = Abi::of(arch).unwrap();
    run(&filter.program, &Call { audit: abi.audit, number, arguments }, abi.big_endian).unwrap().verdict
}

// ---- libseccomp, used as runc uses it ----

fn scmp_action(action: Action) -> ScmpAction {
    match action {
        Action::KillProcess => ScmpAction::KillProcess,
        Action::KillThread => ScmpAction::KillThread,
        Action::Trap => ScmpAction::Trap,
        Action::Errno(errno) => ScmpAction::Errno(errno.into()),
        Action::Trace(data) => ScmpAction::Trace(data),
        Action::Notify => ScmpAction::Notify,
        Action::Log => ScmpAction::Log,
        Action::Allow => ScmpAction::Allow,
    }
}

fn scmp_condition(condition: &Condition) -> ScmpArgCompare {
    let (operator, datum) = match condition.test {
        Test::NotEqual(value) => (ScmpCompareOp::NotEqual, value),
        Test::Less(value) => (ScmpCompareOp::Less, value),
        Test::LessOrEqual(value) => (ScmpCompareOp::LessOrEqual, value),
        Test::Equal(value) => (ScmpCompareOp::Equal, value),
        Test::GreaterOrEqual(value) => (ScmpCompareOp::GreaterEqual, value),
        Test::Greater(value) => (ScmpCompareOp::Greater, value),
        Test::Masked { mask, value } => (ScmpCompareOp::MaskedEqual(mask), value),
    };
    ScmpArgCompare::new(condition.index.into(), operator, datum)
}

fn scmp_arch(arch: Arch) -> ScmpArch {
    arch.to_string().parse().unwrap()
}

/// Whether libseccomp can be asked about the profile: it must know the name.
fn known(name: &str) -> bool {
    ScmpSyscall::from_name(name).is_ok()
}

struct Oracle {
    program: Vec<Instruction>,
}

impl Oracle {
    /// `Err` is libseccomp's refusal of a rule.
    fn new(profile: &Seccomp, native: Arch) -> Result<Self, String> {
        let mut context = ScmpFilterContext::new(scmp_action(profile.default_action)).unwrap();
        if native != Arch::ScmpArchNative {
            context.remove_arch(ScmpArch::Native).unwrap();
            context.add_arch(scmp_arch(native)).unwrap();
        }
        for arch in &profile.architectures {
            context.add_arch(scmp_arch(*arch)).map_err(|error| error.to_string())?;
        }
        for rule in profile.rules.iter().filter(|rule| rule.action != profile.default_action) {
            for name in rule.names.iter().filter(|name| known(name)) {
                Self::add(&mut context, rule, ScmpSyscall::from_name(name).unwrap())?;
            }
        }
        let mut program = Vec::new();
        let mut file: File = tempfile::tempfile().unwrap();
        context.export_bpf(&file).unwrap();
        file.rewind().unwrap();
        file.read_to_end(&mut program).unwrap();
        let big_endian = Abi::of(native).unwrap().big_endian;
        Ok(Self { program: program.chunks(8).map(|bytes| Self::instruction(bytes, big_endian)).collect() })
    }

    fn add(context: &mut ScmpFilterContext, rule: &Rule, call: ScmpSyscall) -> Result<(), String> {
        let conditions: Vec<_> = rule.conditions.iter().map(scmp_condition).collect();
        let mut indexes: Vec<_> = rule.conditions.iter().map(|condition| condition.index).collect();
        indexes.sort_unstable();
        let split = indexes.windows(2).any(|pair| pair[0] == pair[1]);
        let sets: Vec<_> = if split { conditions.chunks(1).collect() } else { vec![&conditions[..]] };
        for set in sets {
            context.add_rule_conditional(scmp_action(rule.action), call, set).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Exported in the byte order of the architecture.
    fn instruction(bytes: &[u8], big_endian: bool) -> Instruction {
        let (code, k) = (bytes[..2].try_into().unwrap(), bytes[4..].try_into().unwrap());
        let (code, k) = if big_endian {
            (u16::from_be_bytes(code), u32::from_be_bytes(k))
        } else {
            (u16::from_le_bytes(code), u32::from_le_bytes(k))
        };
        // libseccomp 2.5.4 forgets that order in a `ret` that it puts close to a jump which would be too long.
        let forgotten = big_endian && code == 0x06 && !is_verdict(k);
        Instruction { code, jt: bytes[2], jf: bytes[3], k: if forgotten { k.swap_bytes() } else { k } }
    }
}

fn is_verdict(value: u32) -> bool {
    let with_data = [Action::Errno(0), Action::Trace(0)].map(returned).contains(&(value & 0xffff_0000));
    let without = [Action::KillProcess, Action::KillThread, Action::Trap, Action::Notify, Action::Log, Action::Allow];
    with_data || without.map(returned).contains(&value)
}

// ---- comparing ----

/// The numbers that are asked: of every call there is, and around the borders.
fn numbers(abi: &Abi) -> impl Iterator<Item = u32> {
    let base = if abi.is_x32() { 0 } else { abi.base };
    let arm = [0x000f_0001, 0x000f_0002, 0x000f_0005, 0x000f_0006, 0x0090_0000];
    let extremes = [X32_BIT - 1, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, u32::MAX - 1, u32::MAX];
    (0..1024).map(move |number| base + number).chain(0..8).chain(X32_BIT..X32_BIT + 1024).chain(arm).chain(extremes)
}

/// Both programs, for the same machine.
struct Pair<'a> {
    what: &'a str,
    ours: Filter,
    theirs: Oracle,
    big_endian: bool,
}

impl Pair<'_> {
    /// Runs both with each value for each argument that either of them looks at: for others there is no difference.
    fn assert_alike(&self, call: Call, values: &[Vec<u64>; 6], tried: u8) {
        let run = |program| run(program, &call, self.big_endian).unwrap();
        let (ours, theirs): (Run, Run) = (run(&self.ours.program), run(&self.theirs.program));
        let what = self.what;
        assert_eq!(ours.verdict, theirs.verdict, "{what}: {call:#x?}: ours {ours:#x?}, theirs {theirs:#x?}");
        let index = ((ours.looked_at | theirs.looked_at) & !tried).trailing_zeros() as usize;
        for value in values.get(index).into_iter().flatten() {
            let mut call = call;
            call.arguments[index] = *value;
            self.assert_alike(call, values, tried | 1 << index);
        }
    }
}

/// Every number of every architecture, times the boundaries of the arguments.
fn assert_alike(what: &str, profile: &Seccomp, native: Arch) {
    let ours = compile_for(profile, native, Newer::Default).unwrap();
    let theirs = Oracle::new(profile, native).unwrap();
    // Words are those of the machine that both programs were made for.
    let big_endian = Abi::of(native).unwrap().big_endian;
    let pair = Pair { what, ours, theirs, big_endian };
    let unlisted = [Arch::ScmpArchX86_64, Arch::ScmpArchS390];
    for arch in profile.architectures.iter().copied().chain([native]).chain(unlisted) {
        let abi = Abi::of(arch).unwrap();
        let mut conditions: BTreeMap<u32, Vec<&Condition>> = BTreeMap::new();
        for rule in &profile.rules {
            for numbers in rule.names.iter().map(|name| abi.numbers(name)) {
                for number in numbers.own.into_iter().chain(numbers.multiplexed.map(|(number, _)| number)) {
                    conditions.entry(number).or_default().extend(&rule.conditions);
                }
            }
        }
        for number in numbers(abi) {
            let values = boundaries(conditions.get(&number).into_iter().flatten().copied());
            pair.assert_alike(Call { audit: abi.audit, number, arguments: [0; 6] }, &values, 0);
        }
    }
}

// ---- profiles ----

fn rule(names: &[&str], action: Action, conditions: &[Condition]) -> Rule {
    Rule {
        property: "linux.seccomp.syscalls[0]".to_owned(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        action,
        conditions: conditions.to_vec(),
    }
}

fn profile(default_action: Action, architectures: &[Arch], rules: Vec<Rule>) -> Seccomp {
    Seccomp { default_action, architectures: architectures.to_vec(), flags: 0, rules, listener: None }
}

fn when(index: u8, test: Test) -> Condition {
    Condition { index, test }
}

/// What Docker 20.10.24 and containerd 1.6.20 wrote into config.json, on Linux 6.18, for a container without any options
/// (`docker run`, `ctr run --seccomp`): `linux.seccomp` as a runtime that kept the file was given it.
const DOCKER: &str = include_str!("testdata/docker-default.json");
const CONTAINERD: &str = include_str!("testdata/containerd-default.json");

fn docker() -> Seccomp {
    profile_of(DOCKER)
}

fn profile_of(json: &str) -> Seccomp {
    config(&format!(r#"{{"ociVersion": "1.0.0", "root": {{"path": "r"}}, "linux": {{"seccomp": {json}}}}}"#))
}

fn config(json: &str) -> Seccomp {
    Config::parse(json.as_bytes()).unwrap().linux.seccomp.unwrap()
}

/// Leaves out what the oracle cannot know.
fn of_known_names(mut profile: Seccomp) -> Seccomp {
    profile.rules.iter_mut().for_each(|rule| rule.names.retain(|name| known(name)));
    profile
}

const NAMES: &[&str] = &[
    "read",
    "write",
    "clone",
    "personality",
    "socket",
    "sendmsg",
    "semop",
    "shmat",
    "socketcall",
    "ipc",
    "_llseek",
    "openat2",
    "accept",
    "recvmmsg",
    "ioctl",
    "statx",
    "no_such_call",
    "set_mempolicy_home_node",
    "arm_fadvise64_64",
];

const ACTIONS: &[Action] = &[
    Action::KillProcess,
    Action::KillThread,
    Action::Trap,
    Action::Errno(1),
    Action::Errno(4094),
    Action::Trace(7),
    Action::Log,
    Action::Allow,
];

const VALUES: &[u64] = &[0, 1, 5, 6, 40, 0x7fff_ffff, 0xffff_ffff, 1 << 32, (1 << 32) + 5, 5 << 32, u64::MAX];

fn random_test(random: &mut Random) -> Test {
    let value = random.of(VALUES);
    match random.below(7) {
        0 => Test::Equal(value),
        1 => Test::NotEqual(value),
        2 => Test::Masked { mask: random.of(VALUES), value },
        3 => Test::Less(value),
        4 => Test::LessOrEqual(value),
        5 => Test::GreaterOrEqual(value),
        _ => Test::Greater(value),
    }
}

fn random_conditions(random: &mut Random) -> Vec<Condition> {
    let count = random.of(&[0, 1, 1, 1, 2, 2, 3]);
    (0..count).map(|_| when(random.of(&[0, 0, 1, 2, 5]), random_test(random))).collect()
}

/// A profile of few calls and many rules about each, so that they meet.
fn random_profile(random: &mut Random, architectures: &[Arch]) -> Seccomp {
    let actions: Vec<_> = (0..random.of(&[1, 1, 3])).map(|_| random.of(ACTIONS)).collect();
    let rules = (0..1 + random.below(40)).map(|_| {
        let names: Vec<_> = (0..1 + random.below(4)).map(|_| random.of(NAMES)).collect();
        rule(&names, random.of(&actions), &random_conditions(random))
    });
    let rules = rules.collect();
    profile(random.of(ACTIONS), architectures, rules)
}

/// One in which no two rules meet, as libseccomp gets many of those wrong; what remains is how names, numbers and
/// conditions are translated. Its mistakes with one rule alone are avoided, too: an order or an inequality is only the
/// last condition, and the first call is none that an architecture lacks (or it does not load the number there).
fn simple_profile(random: &mut Random, architectures: &[Arch]) -> Seccomp {
    let default = random.of(ACTIONS);
    let usual = if default == Action::Allow { Action::Log } else { Action::Allow };
    let mut rules = vec![rule(&["getpid"], usual, &[])];
    for name in NAMES.iter().filter(|name| !["socketcall", "ipc"].contains(name)) {
        let last = random.below(6);
        let conditions = (0..=last).filter_map(|index| {
            let test = random_test(random);
            let kept = random.below(3) == 0;
            let right = index == last || matches!(test, Test::Equal(_) | Test::Masked { .. });
            (kept && right).then(|| when(index.try_into().unwrap(), test))
        });
        // The multiplexers are shared: calls that use them meet there.
        let conditions: Vec<_> = conditions.collect();
        rules.push(rule(&[name], if shares_multiplexer(name) { usual } else { random.of(ACTIONS) }, &conditions));
    }
    profile(default, architectures, rules)
}

fn shares_multiplexer(name: &str) -> bool {
    Abi::of(Arch::ScmpArchX86).unwrap().numbers(name).multiplexed.is_some()
}

// ---- the tests ----

/// Machines, and what their programs may be beside their own.
const ARCHITECTURES: &[(Arch, &[Arch])] = &[
    (Arch::ScmpArchNative, &[]),
    (Arch::ScmpArchNative, &[Arch::ScmpArchX86]),
    (Arch::ScmpArchX86_64, &[Arch::ScmpArchX32]),
    (Arch::ScmpArchX86_64, &[Arch::ScmpArchX86, Arch::ScmpArchX86_64, Arch::ScmpArchX32]),
    (Arch::ScmpArchAarch64, &[Arch::ScmpArchArm]),
    (Arch::ScmpArchMipsel64, &[Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64n32]),
    (Arch::ScmpArchMips64, &[Arch::ScmpArchMips, Arch::ScmpArchMips64n32]),
    (Arch::ScmpArchPpc64le, &[]),
    (Arch::ScmpArchPpc64, &[Arch::ScmpArchPpc]),
    (Arch::ScmpArchRiscv64, &[]),
    (Arch::ScmpArchS390x, &[Arch::ScmpArchS390]),
    (Arch::ScmpArchParisc64, &[Arch::ScmpArchParisc]),
    (Arch::ScmpArchX32, &[Arch::ScmpArchX86]),
];

#[test]
fn every_architecture_that_libseccomp_knows_is_compared() {
    for arch in architectures().filter(|arch| Abi::of(*arch).unwrap().has_names()) {
        let listed = ARCHITECTURES.iter().any(|(native, others)| *native == arch || others.contains(&arch));
        assert!(listed, "{arch}");
    }
}

/// What engines give a container, as it is and as on other machines.
#[test]
fn those_of_engines_are_as_libseccomp_makes_them() {
    let profiles = [
        ("Docker", docker(), ARCHITECTURES),
        ("containerd", profile_of(CONTAINERD), ARCHITECTURES),
        ("a newer Docker", config(include_str!("../../config/testdata/docker.json")), &[]),
        ("a newer containerd", config(include_str!("../../config/testdata/containerd-cri-userns.json")), &[]),
    ];
    for (who, profile, machines) in profiles {
        assert!(profile.rules.iter().map(|rule| rule.names.len()).sum::<usize>() > 300, "{who}");
        let profile = of_known_names(profile);
        assert_alike(who, &profile, Arch::ScmpArchNative);
        for (native, others) in machines {
            let architectures = others.to_vec();
            assert_alike(&format!("{who} on {native}"), &Seccomp { architectures, ..profile.clone() }, *native);
        }
    }
}

/// Podman's rules about netlink's audit: they exclude each other.
#[test]
fn podman_is_as_libseccomp_makes_it() {
    let socket = |action, conditions: &[Condition]| rule(&["socket"], action, conditions);
    let rules = vec![
        rule(&["getpid", "socketcall"], Action::Allow, &[]),
        socket(Action::Errno(22), &[when(0, Test::Equal(16)), when(2, Test::Equal(9))]),
        socket(Action::Allow, &[when(2, Test::NotEqual(9))]),
        socket(Action::Allow, &[when(0, Test::NotEqual(16))]),
        socket(Action::Allow, &[when(2, Test::NotEqual(9))]),
    ];
    let profile = profile(Action::Errno(38), &[Arch::ScmpArchX86, Arch::ScmpArchX32], rules);
    assert_alike("podman", &profile, Arch::ScmpArchX86_64);
    let filter = compile(&profile).unwrap();
    let socket = |domain, protocol| verdict(&filter, Arch::ScmpArchX86_64, 41, [domain, 3, protocol, 0, 0, 0]);
    assert_eq!(socket(16, 9), returned(Action::Errno(22)));
    assert_eq!(socket(16, 0), returned(Action::Allow));
    assert_eq!(socket(2, 9), returned(Action::Allow));
}

#[test]
fn simple_profiles_are_as_libseccomp_makes_them() {
    for seed in 1..=40 {
        let mut random = Random(seed);
        let (native, others) = ARCHITECTURES[random.below(ARCHITECTURES.len())];
        let profile = simple_profile(&mut random, others);
        assert_alike(&format!("seed {seed}"), &profile, native);
    }
}

/// Two rules with two actions, of which often both hold: the same one wins. Values of 32 bits and no inequality, where
/// libseccomp is not of one mind: which one wins would depend on the upper half of the argument.
#[test]
fn of_two_rules_that_hold_the_one_that_libseccomp_prefers_wins() {
    let mut random = Random(1);
    for _ in 0..2000 {
        let mut one = || {
            let (value, mask) = (random.of(&VALUES[..5]), random.of(&[1, 5, 6, 0xff, 1 << 40]));
            let test = match random.below(6) {
                0 => Test::Equal(value),
                1 => Test::Masked { mask, value },
                2 => Test::Less(value),
                3 => Test::LessOrEqual(value),
                4 => Test::GreaterOrEqual(value),
                _ => Test::Greater(value),
            };
            when(random.of(&[0, 1]), test)
        };
        let (first, second) = (one(), one());
        let rules = vec![rule(&["ioctl"], Action::Errno(1), &[first]), rule(&["ioctl"], Action::Errno(2), &[second])];
        let profile = profile(Action::Allow, &[Arch::ScmpArchX86], rules);
        let ours = compile_for(&profile, Arch::ScmpArchX86_64, Newer::Default);
        let theirs = Oracle::new(&profile, Arch::ScmpArchX86_64);
        let (Ok(ours), Ok(theirs)) = (&ours, &theirs) else {
            assert_eq!(ours.is_err(), theirs.is_err(), "{first:?} {second:?}");
            continue;
        };
        let values = boundaries(profile.rules.iter().flat_map(|rule| &rule.conditions));
        for (audit, number) in [(0xc000_003e, 16), (0x4000_0003, 54)] {
            for (&a, &b) in values[0].iter().flat_map(|a| values[1].iter().map(move |b| (a, b))) {
                let call = Call { audit, number, arguments: [a, b, 0, 0, 0, 0] };
                let verdict = |program| run(program, &call, false).unwrap().verdict;
                let verdicts = (verdict(&ours.program), verdict(&theirs.program));
                assert_eq!(verdicts.0, verdicts.1, "{first:?} {second:?} {call:x?}");
            }
        }
    }
}

#[test]
fn any_profile_does_what_it_says() {
    for seed in 1..=300 {
        let mut random = Random(seed);
        let (native, others) = ARCHITECTURES[random.below(ARCHITECTURES.len())];
        let profile = random_profile(&mut random, others);
        if let Err(why) = compare(&profile, native, 10) {
            panic!("seed {seed}: {why}, {profile:#?}");
        }
    }
}

/// What [`super`] says about libseccomp, and the reason why it is no oracle for every profile. Red when a newer one does
/// better: then `simple_profile` can be bolder.
#[test]
fn libseccomp_mixes_up_orders_of_64_bits() {
    let rules = vec![
        rule(&["ioctl"], Action::Allow, &[when(0, Test::Less(5 << 32))]),
        rule(&["ioctl"], Action::Allow, &[when(0, Test::LessOrEqual(6))]),
    ];
    let profile = profile(Action::Errno(1), &[], rules);
    let call = Call { audit: 0xc000_003e, number: 16, arguments: [7, 0, 0, 0, 0, 0] };
    let ours = compile_for(&profile, Arch::ScmpArchX86_64, Newer::Default).unwrap();
    assert_eq!(run(&ours.program, &call, false).unwrap().verdict, returned(Action::Allow));
    let theirs = Oracle::new(&profile, Arch::ScmpArchX86_64).unwrap();
    assert_eq!(run(&theirs.program, &call, false).unwrap().verdict, returned(Action::Errno(1)));
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let all = [Arch::ScmpArchX86, Arch::ScmpArchX32];
    // A rule with the default action counts, too: its author knew the call.
    let rules = vec![rule(&["read", "openat2"], Action::Allow, &[]), rule(&["faccessat2"], Action::Errno(1), &[])];
    let with_x32 =
        compile_for(&profile(Action::Errno(1), &all, rules.clone()), Arch::ScmpArchX86_64, Newer::NotImplemented);
    let without =
        compile_for(&profile(Action::Errno(1), &[], rules.clone()), Arch::ScmpArchX86_64, Newer::NotImplemented);
    let (with_x32, without) = (with_x32.unwrap(), without.unwrap());
    let rows = [
        ("allowed", 437, Action::Allow, Action::Allow),
        ("not named", 438, Action::Errno(1), Action::Errno(1)),
        ("the last one", 439, Action::Errno(1), Action::Errno(1)),
        ("newer", 440, Action::Errno(38), Action::Errno(38)),
        ("newest", X32_BIT - 1, Action::Errno(38), Action::Errno(38)),
        ("x32, allowed", X32_BIT, Action::Allow, Action::KillThread),
        ("x32, not named", X32_BIT + 1, Action::Errno(1), Action::KillThread),
        ("x32, newer", X32_BIT + 440, Action::Errno(38), Action::KillThread),
        ("no call at all", u32::MAX, Action::Errno(38), Action::Errno(1)),
    ];
    for (what, number, expected_with, expected_without) in rows {
        assert_eq!(verdict(&with_x32, Arch::ScmpArchX86_64, number, [0; 6]), returned(expected_with), "{what}");
        assert_eq!(
            verdict(&without, Arch::ScmpArchX86_64, number, [0; 6]),
            returned(expected_without),
            "{what}, no x32"
        );
    }
    assert_eq!(verdict(&with_x32, Arch::ScmpArchX86, 440, [0; 6]), returned(Action::Errno(38)));
    assert_eq!(verdict(&without, Arch::ScmpArchX86, 440, [0; 6]), returned(Action::KillThread));
    for action in [Action::Allow, Action::Log, Action::Trace(1)] {
        let filter =
            compile_for(&profile(action, &[], rules.clone()), Arch::ScmpArchX86_64, Newer::NotImplemented).unwrap();
        assert_eq!(verdict(&filter, Arch::ScmpArchX86_64, 440, [0; 6]), returned(action));
    }
    let filter =
        compile_for(&profile(Action::KillProcess, &[], rules), Arch::ScmpArchS390x, Newer::NotImplemented).unwrap();
    assert_eq!(verdict(&filter, Arch::ScmpArchS390x, 0, [0; 6]), returned(Action::Errno(38)));
    assert_eq!(verdict(&filter, Arch::ScmpArchS390x, 1, [0; 6]), returned(Action::KillProcess));
}

#[test]
fn a_call_with_its_own_number_beside_a_multiplexer_is_not_newer() {
    let profile = profile(Action::Errno(1), &[], vec![rule(&["socket"], Action::Allow, &[])]);
    let filter = compile_for(&profile, Arch::ScmpArchX86, Newer::NotImplemented).unwrap();
    assert_eq!(verdict(&filter, Arch::ScmpArchX86, 359, [0; 6]), returned(Action::Allow));
    assert_eq!(verdict(&filter, Arch::ScmpArchX86, 102, [1, 0, 0, 0, 0, 0]), returned(Action::Allow));
    assert_eq!(verdict(&filter, Arch::ScmpArchX86, 102, [2, 0, 0, 0, 0, 0]), returned(Action::Errno(1)));
    assert_eq!(verdict(&filter, Arch::ScmpArchX86, 360, [0; 6]), returned(Action::Errno(38)));
}

#[test]
fn calls_that_an_old_libseccomp_does_not_know_are_not_lost() {
    let newer = config(include_str!("../../config/testdata/docker.json"));
    let filter = compile_for(&newer, Arch::ScmpArchX86_64, Newer::NotImplemented).unwrap();
    for number in [451, 452, 462, X32_BIT + 452] {
        assert_eq!(verdict(&filter, Arch::ScmpArchX86_64, number, [0; 6]), returned(Action::Allow), "{number}");
    }
    assert_eq!(verdict(&filter, Arch::ScmpArchX86, 452, [0; 6]), returned(Action::Allow));
    assert_eq!(verdict(&filter, Arch::ScmpArchX86_64, 467, [0; 6]), returned(Action::Errno(38)));
}

#[test]
fn programs_longer_than_a_jump_work_and_those_longer_than_the_kernel_takes_do_not() {
    let rules = |count: u64| {
        let one = |number| rule(&["ioctl"], Action::Errno(1), &[when(1, Test::Equal(number << 32 | number))]);
        vec![rule(&["read", "statx"], Action::Allow, &[]), rule(&["openat2"], Action::Allow, &[when(0, Test::Less(9))])]
            .into_iter()
            .chain((0..count).map(one))
            .collect()
    };
    let long = profile(Action::Trap, &[Arch::ScmpArchX86], rules(400));
    assert_alike("long", &long, Arch::ScmpArchX86_64);
    let filter = compile_for(&long, Arch::ScmpArchX86_64, Newer::NotImplemented).unwrap();
    let ioctl = |command: u64| verdict(&filter, Arch::ScmpArchX86_64, 16, [0, command << 32 | command, 0, 0, 0, 0]);
    assert_eq!((ioctl(0), ioctl(399), ioctl(400)), (0x5_0001, 0x5_0001, 0x3_0000));
    let error = compile(&profile(Action::Trap, &[], rules(1100))).unwrap_err();
    assert!(error.to_string().ends_with("instructions, the kernel takes 4096"), "{error}");
    assert_eq!(error.kind(), Kind::Unsupported);
}

#[test]
fn what_cannot_be_compiled_is_refused_by_name() {
    let contradiction = vec![
        rule(&["read"], Action::Errno(1), &[when(0, Test::Equal(1))]),
        rule(&["read"], Action::Errno(2), &[when(0, Test::Equal(1))]),
    ];
    let notify = |name: &str| vec![rule(&[name], Action::Notify, &[])];
    let rows = [
        (
            profile(Action::Allow, &[], contradiction),
            "linux.seccomp.syscalls[0]: another rule has another action for the same arguments of read on SCMP_ARCH_X86_64",
        ),
        (
            profile(Action::Allow, &[Arch::ScmpArchS390x], vec![]),
            "linux.seccomp.architectures: SCMP_ARCH_S390X: has another byte order than this machine",
        ),
        (
            profile(Action::Allow, &[], notify("write")),
            "linux.seccomp.syscalls[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            profile(Action::Notify, &[], vec![]),
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
        ),
    ];
    for (profile, expected) in rows {
        let error = compile_for(&profile, Arch::ScmpArchX86_64, Newer::NotImplemented).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn flags_are_those_that_the_kernel_takes_together() {
    let all =
        libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let compile = |action| {
        let mut profile = profile(Action::Allow, &[], vec![rule(&["mkdir", "mkdirat"], action, &[])]);
        profile.flags = all;
        compile(&profile).unwrap()
    };
    let (silent, notifying) = (compile(Action::Errno(1)), compile(Action::Notify));
    assert!(!silent.notifies && notifying.notifies);
    assert_eq!(silent.flags, libc::SECCOMP_FILTER_FLAG_LOG);
    assert_eq!(notifying.flags, libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
}

/// Runs `test` in a thread that ends with it: a filter without TSYNC, and no_new_privs, are a thread's own.
fn in_thread<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sys::prctl::set_no_new_privs().unwrap();
            test()
        });
        thread.join().unwrap()
    })
}

#[test]
fn the_kernel_loads_it() {
    let filter = compile(&docker()).unwrap();
    let (pid, refused, listener) = in_thread(|| {
        let listener = inside::load(&filter).unwrap();
        (getpid(), unshare(CloneFlags::empty()).err(), listener.is_some())
    });
    assert_eq!((pid, refused, listener), (getpid(), Some(Errno::EPERM), false));
}

#[test]
fn the_kernel_makes_a_listener() {
    let profile = profile(Action::Allow, &[], vec![rule(&["acct"], Action::Notify, &[])]);
    let filter = compile(&profile).unwrap();
    let flags = in_thread(|| fcntl(inside::load(&filter).unwrap().unwrap(), FcntlArg::F_GETFD).unwrap());
    assert_eq!(FdFlag::from_bits_truncate(flags), FdFlag::FD_CLOEXEC);
}

#[test]
fn the_kernel_says_which_flags_it_knows() {
    assert!(knows_flags(libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW));
    assert!(!knows_flags(1 << 30) && !knows_flags(1 << 40));
    assert!(FLAGS[..3].iter().all(|(_, bit)| is_supported(*bit)) && !is_supported(1 << 30));
    let filter = Filter { flags: 1 << 30, ..compile(&docker()).unwrap() };
    assert_eq!(in_thread(|| inside::load(&filter)).unwrap_err().kind(), Kind::Unsupported);
}

/// Figures for the pages; nothing is asserted that a busy machine could make false.
#[test]
#[expect(clippy::print_stdout, reason = "seen with --nocapture")]
fn size_and_depth() {
    let docker = docker();
    let filter = compile(&docker).unwrap();
    let oracle = Oracle::new(&of_known_names(docker.clone()), Arch::ScmpArchNative).unwrap();
    for (who, program) in [("ours", &filter.program), ("libseccomp's", &oracle.program)] {
        let audits = [Arch::ScmpArchX86_64, Arch::ScmpArchX86].map(|arch| Abi::of(arch).unwrap().audit);
        let calls =
            audits.into_iter().flat_map(|audit| (0..470).map(move |number| Call { audit, number, arguments: [0; 6] }));
        let steps = calls.map(|call| run(program, &call, false).unwrap().steps);
        let (sum, most) = steps.fold((0, 0), |(sum, most), steps| (sum + steps, most.max(steps)));
        println!("{who}: {} instructions, {} steps for all calls, {most} at most", program.len(), sum);
        if who == "ours" {
            assert!(program.len() < 500 && most < 40);
        }
    }
    let start = Instant::now();
    for _ in 0..20 {
        compile(&docker).unwrap();
    }
    println!("compiled in {:?}", start.elapsed() / 20);
}
