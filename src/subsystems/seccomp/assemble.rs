//! An assembler of classic BPF that works from the end of the program to its beginning.
//!
//! Jumps go forward only, so whatever a jump leads to is already there when the jump is made, and its distance is known.
//! A conditional jump reaches 255 instructions: beyond that it goes to a `ret` made anew, or to an unconditional jump,
//! placed right behind it.

use crate::sys::seccomp::Instruction;

/// Within this distance a target is still reached when the other way of the same jump needs an instruction between.
const REACH: usize = u8::MAX as usize - 1;

/// Where the program goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// It ends with this `SECCOMP_RET_*`.
    Return(u32),
    /// At code that was made before.
    Code(Label),
}

/// A place in the program, counted from its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

/// When a conditional jump goes to `yes`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Jump {
    Equal,
    Greater,
    GreaterOrEqual,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The last instruction of the program first.
    backwards: Vec<Instruction>,
    /// Where the nearest `ret` of each value is.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    /// The accumulator compared with `value`: on to `yes` or to `no`.
    pub(super) fn jump(&mut self, jump: Jump, value: u32, yes: Target, no: Target) -> Target {
        let (yes, no) = (self.near(yes), self.near(no));
        let operation = match jump {
            Jump::Equal => libc::BPF_JEQ,
            Jump::Greater => libc::BPF_JGT,
            Jump::GreaterOrEqual => libc::BPF_JGE,
        };
        let (jt, jf) = (self.distance(yes), self.distance(no));
        self.push(libc::BPF_JMP | operation | libc::BPF_K, jt, jf, value)
    }

    /// The word at `offset` of `struct seccomp_data` into the accumulator, then on to `next`.
    pub(super) fn load(&mut self, offset: u32, next: Target) -> Target {
        self.fall_to(next);
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
    }

    /// Keeps the bits of `mask` in the accumulator, then on to `next`.
    pub(super) fn and(&mut self, mask: u32, next: Target) -> Target {
        self.fall_to(next);
        self.push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
    }

    /// The program that begins at `entry`.
    pub(super) fn finish(mut self, entry: Target) -> Vec<Instruction> {
        self.fall_to(entry);
        self.backwards.reverse();
        self.backwards
    }

    /// Makes `next` what follows the instruction that is pushed next.
    fn fall_to(&mut self, next: Target) {
        match next {
            Target::Code(Label(at)) if at + 1 == self.backwards.len() => {}
            Target::Code(label) => {
                self.long_jump(label);
            }
            Target::Return(value) => {
                self.end(value);
            }
        }
    }

    /// A place that the next instruction's jump reaches, and that leads to `target`.
    fn near(&mut self, target: Target) -> Label {
        match target {
            Target::Code(label) if self.reaches(label) => label,
            Target::Code(label) => self.long_jump(label),
            Target::Return(value) => match self.returns.iter().find(|(other, _)| *other == value) {
                Some((_, label)) if self.reaches(*label) => *label,
                _ => self.end(value),
            },
        }
    }

    fn reaches(&self, label: Label) -> bool {
        self.skipped(label) <= REACH
    }

    /// How many instructions are between the next one and `label`.
    fn skipped(&self, Label(at): Label) -> usize {
        self.backwards.len() - at - 1
    }

    fn distance(&self, label: Label) -> u8 {
        // `near` chose it: never saturates.
        u8::try_from(self.skipped(label)).unwrap_or(u8::MAX)
    }

    fn long_jump(&mut self, label: Label) -> Label {
        // A program of 4 billion instructions is refused for its size before it is used.
        let distance = u32::try_from(self.skipped(label)).unwrap_or(u32::MAX);
        self.place(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance)
    }

    fn end(&mut self, value: u32) -> Label {
        let label = self.place(libc::BPF_RET | libc::BPF_K, 0, 0, value);
        self.returns.retain(|(other, _)| *other != value);
        self.returns.push((value, label));
        label
    }

    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> Target {
        Target::Code(self.place(code, jt, jf, k))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the kernel's constants for the 16 bits of `code`")]
    fn place(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> Label {
        self.backwards.push(Instruction { code: code as u16, jt, jf, k });
        Label(self.backwards.len() - 1)
    }
}
