//! Device rules: as an eBPF program for cgroup v2 and as a list of writes for v1.
//!
//! The specification's rules are those of the v1 controller: in order, the last one that matches wins, and nothing
//! matches means denied. So the program looks at the rules from the last to the first.

use crate::config::resources::{DeviceRule, DeviceRuleKind, Resources};
use crate::sys::bpf::Instruction;

/// What v1 begins with, so that nothing matches means denied there too: a new v1 group inherits its parent's permissions.
pub const DENY_ALL: DeviceRule = DeviceRule {
    allow: false,
    kind: DeviceRuleKind::All,
    major: None,
    minor: None,
    read: true,
    write: true,
    mknod: true,
};

/// What every container may use whatever the configuration says, because the specification promises these devices
/// (config-linux, "Default Devices"); they come behind the configured rules.
///
/// COMPAT(runc): making any node (mknod) is allowed, a node is of no use without r or w; /dev/net/tun was taken out
/// once and put back after complaints.
fn default_rules() -> Vec<DeviceRule> {
    let char_device = |major, minor| rule(true, DeviceRuleKind::Char, Some(major), minor, "rwm");
    vec![
        rule(true, DeviceRuleKind::Char, None, None, "m"),
        rule(true, DeviceRuleKind::Block, None, None, "m"),
        char_device(1, Some(3)),
        char_device(1, Some(5)),
        char_device(1, Some(7)),
        char_device(1, Some(8)),
        char_device(1, Some(9)),
        char_device(5, Some(0)),
        char_device(5, Some(2)),
        char_device(136, None),
        char_device(10, Some(200)),
    ]
}

fn rule(allow: bool, kind: DeviceRuleKind, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
    let has = |letter| access.contains(letter);
    DeviceRule { allow, kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') }
}

/// The configured rules and behind them the promised devices; `None` without rules: nothing is restricted.
pub fn effective_rules(resources: &Resources) -> Option<Vec<DeviceRule>> {
    if resources.devices.is_empty() || allows_everything(&resources.devices) {
        return None;
    }
    let mut rules = resources.devices.clone();
    rules.extend(default_rules());
    Some(rules)
}

/// Whether the rules allow everything, so that no program is needed at all.
fn allows_everything(rules: &[DeviceRule]) -> bool {
    rules.last().is_some_and(|rule| rule.allow && matches_everything(rule))
}

/// Whether it is about every access to every device.
pub fn matches_everything(rule: &DeviceRule) -> bool {
    rule.kind == DeviceRuleKind::All
        && rule.major.is_none()
        && rule.minor.is_none()
        && rule.read
        && rule.write
        && rule.mknod
}

/// The lines for `devices.allow` or `devices.deny` of v1.
///
/// KERNEL: a line that begins with `a` means everything, whatever follows; so a rule about both kinds that is not about
/// everything becomes two.
pub fn v1_lines(rule: &DeviceRule) -> Vec<String> {
    if rule.kind == DeviceRuleKind::All && !matches_everything(rule) {
        return [DeviceRuleKind::Char, DeviceRuleKind::Block].map(|kind| v1_line(&DeviceRule { kind, ..*rule })).into();
    }
    vec![v1_line(rule)]
}

fn v1_line(rule: &DeviceRule) -> String {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let kind = match rule.kind {
        DeviceRuleKind::All => "a",
        DeviceRuleKind::Char => "c",
        DeviceRuleKind::Block => "b",
    };
    let access: String =
        [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')].iter().filter(|(on, _)| *on).map(|(_, c)| c).collect();
    format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor))
}

// BPF_DEVCG_ACC_* and BPF_DEVCG_DEV_* of linux/bpf.h.
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const ACCESS_ALL: i32 = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE;
const DEVICE_BLOCK: i32 = 1;
const DEVICE_CHAR: i32 = 2;

// Registers. r1 points to the context: u32 access << 16 | type, u32 major, u32 minor.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const ACCESS: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 1;

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

const fn load_word(destination: u8, offset: i16) -> Instruction {
    instruction(0x61, destination, CONTEXT, offset, 0)
}

const fn copy(destination: u8, source: u8) -> Instruction {
    instruction(0xbf, destination, source, 0, 0)
}

const fn and(destination: u8, mask: i32) -> Instruction {
    instruction(0x57, destination, 0, 0, mask)
}

const fn shift_right(destination: u8, bits: i32) -> Instruction {
    instruction(0x77, destination, 0, 0, bits)
}

const fn set(destination: u8, value: i32) -> Instruction {
    instruction(0xb7, destination, 0, 0, value)
}

const EXIT: Instruction = instruction(0x95, 0, 0, 0, 0);
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;

/// The program for `rules`. Denied is what no rule matches.
pub fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        load_word(ACCESS, 0),
        load_word(MAJOR, 4),
        load_word(MINOR, 8),
        copy(KIND, ACCESS),
        and(KIND, 0xffff),
        shift_right(ACCESS, 16),
    ];
    for rule in rules.iter().rev() {
        program.extend(block(rule));
        // The kernel refuses programs with instructions that cannot be reached.
        if matches_everything(rule) {
            return program;
        }
    }
    program.extend([set(VERDICT, 0), EXIT]);
    program
}

/// One rule: falls through to the next block when it does not match.
fn block(rule: &DeviceRule) -> Vec<Instruction> {
    let mut tests: Vec<Instruction> = Vec::new();
    let mut leave_if = |code, register, value| tests.push(instruction(code, register, 0, 0, value));
    match rule.kind {
        DeviceRuleKind::All => {}
        DeviceRuleKind::Char => leave_if(JUMP_IF_NOT_EQUAL, KIND, DEVICE_CHAR),
        DeviceRuleKind::Block => leave_if(JUMP_IF_NOT_EQUAL, KIND, DEVICE_BLOCK),
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            leave_if(JUMP_IF_NOT_EQUAL, register, i32::try_from(number).unwrap_or(i32::MAX));
        }
    }
    let access = [(rule.read, ACCESS_READ), (rule.write, ACCESS_WRITE), (rule.mknod, ACCESS_MKNOD)];
    let access: i32 = access.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
    if access != ACCESS_ALL {
        // A permission holds when it covers all that is asked for, a prohibition when it hits any of it.
        let (mask, code) = if rule.allow { (ACCESS_ALL & !access, JUMP_IF_NOT_EQUAL) } else { (access, JUMP_IF_EQUAL) };
        tests.push(copy(SCRATCH, ACCESS));
        tests.push(and(SCRATCH, mask));
        tests.push(instruction(code, SCRATCH, 0, 0, 0));
    }
    tests.extend([set(VERDICT, rule.allow.into()), EXIT]);
    let length = tests.len();
    for (index, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, JUMP_IF_EQUAL | JUMP_IF_NOT_EQUAL) {
            test.offset = i16::try_from(length - index - 1).unwrap_or(i16::MAX);
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program like the kernel would.
    fn run(program: &[Instruction], kind: i32, major: i32, minor: i32, access: i32) -> bool {
        let context = [i64::from(access << 16 | kind), i64::from(major), i64::from(minor)];
        let mut registers = [0_i64; 16];
        let mut at = 0_usize;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            let (destination, source) = (usize::from(pair & 15), usize::from(pair >> 4));
            let immediate = i64::from(immediate);
            at += 1;
            match code {
                0x61 => registers[destination] = context[usize::try_from(offset / 4).unwrap()],
                0xbf => registers[destination] = registers[source],
                0x57 => registers[destination] &= immediate,
                0x77 => registers[destination] >>= immediate,
                0xb7 => registers[destination] = immediate,
                0x15 if registers[destination] == immediate => at += usize::try_from(offset).unwrap(),
                0x55 if registers[destination] != immediate => at += usize::try_from(offset).unwrap(),
                0x15 | 0x55 => {}
                0x95 => return registers[0] != 0,
                other => panic!("unknown code {other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_matching_rule_wins() {
        use DeviceRuleKind::{All, Block, Char};
        let deny_all = rule(false, All, None, None, "rwm");
        let allow_null = rule(true, Char, Some(1), Some(3), "rw");
        let deny_write = rule(false, Char, Some(1), None, "w");
        let (read, write, mknod) = (ACCESS_READ, ACCESS_WRITE, ACCESS_MKNOD);
        for (name, rules, device, access, allowed) in [
            ("nothing is denied", vec![], (DEVICE_CHAR, 1, 3), read, false),
            ("null is allowed", vec![deny_all, allow_null], (DEVICE_CHAR, 1, 3), read | write, true),
            ("but not its making", vec![deny_all, allow_null], (DEVICE_CHAR, 1, 3), mknod, false),
            ("all asked must be allowed", vec![deny_all, allow_null], (DEVICE_CHAR, 1, 3), read | mknod, false),
            ("not the block device", vec![deny_all, allow_null], (DEVICE_BLOCK, 1, 3), read, false),
            ("another minor", vec![deny_all, allow_null], (DEVICE_CHAR, 1, 5), read, false),
            ("later denial", vec![allow_null, deny_write], (DEVICE_CHAR, 1, 3), write, false),
            ("one hit denies", vec![allow_null, deny_write], (DEVICE_CHAR, 1, 3), read | write, false),
            ("the rest stays", vec![allow_null, deny_write], (DEVICE_CHAR, 1, 3), read, true),
            ("deny all behind", vec![allow_null, deny_all], (DEVICE_CHAR, 1, 3), read, false),
            ("block", vec![rule(true, Block, Some(8), None, "rwm")], (DEVICE_BLOCK, 8, 1), read | write | mknod, true),
            ("all of a kind", vec![rule(true, All, None, None, "r")], (DEVICE_BLOCK, 8, 1), read, true),
        ] {
            assert_eq!(run(&program(&rules), device.0, device.1, device.2, access), allowed, "{name}");
        }
    }

    #[test]
    fn default_devices_survive_a_denial_of_everything() {
        let mut rules = vec![rule(false, DeviceRuleKind::All, None, None, "rwm")];
        rules.extend(default_rules());
        let program = program(&rules);
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 7)] {
            assert!(run(&program, DEVICE_CHAR, major, minor, ACCESS_READ | ACCESS_WRITE), "{major}:{minor}");
        }
        assert!(!run(&program, DEVICE_CHAR, 10, 229, ACCESS_READ));
        assert!(run(&program, DEVICE_CHAR, 10, 229, ACCESS_MKNOD));
    }

    #[test]
    fn lines_of_v1() {
        let lines = |kind, major, minor, access| v1_lines(&rule(true, kind, major, minor, access));
        assert_eq!(lines(DeviceRuleKind::All, None, None, "rwm"), ["a *:* rwm"]);
        assert_eq!(lines(DeviceRuleKind::All, None, None, "r"), ["c *:* r", "b *:* r"]);
        assert_eq!(lines(DeviceRuleKind::All, Some(1), None, "rwm"), ["c 1:* rwm", "b 1:* rwm"]);
        assert_eq!(lines(DeviceRuleKind::Char, Some(136), None, "rw"), ["c 136:* rw"]);
        assert_eq!(lines(DeviceRuleKind::Block, Some(8), Some(0), "m"), ["b 8:0 m"]);
    }
}
