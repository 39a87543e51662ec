//! Architectures, and the numbers that a system call has on them.

use oci_spec::runtime::Arch;

use Multiplexer::{Ipc, Socket};

use crate::sys::seccomp;

/// What the kernel sets in the numbers of x32 calls: they come with the audit architecture of x86_64.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// A calling convention: what system calls are numbered like and how wide their arguments are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abi {
    pub arch: Arch,
    /// What the kernel puts into `seccomp_data.arch`.
    pub audit: u32,
    /// Whether arguments have 64 bits. x32 and n32 have registers of 64, but libseccomp compares the low half there.
    pub wide: bool,
    pub big_endian: bool,
    /// Where the numbers begin.
    pub base: u32,
    /// The column of [`MULTIPLEXED`], on architectures whose C libraries may use socketcall(2) and ipc(2).
    column: Option<usize>,
}

const fn abi(arch: Arch, audit: u32, wide: bool, big_endian: bool, base: u32, column: Option<usize>) -> Abi {
    Abi { arch, audit, wide, big_endian, base, column }
}

/// Every architecture that a profile can name. The second column is `AUDIT_ARCH_*` of linux/audit.h.
#[rustfmt::skip]
const ABIS: &[Abi] = &[
    //   architecture               audit        64 bit big    base     column
    abi(Arch::ScmpArchX86,         0x4000_0003, false, false, 0,       Some(0)),
    abi(Arch::ScmpArchX86_64,      0xc000_003e, true,  false, 0,       None),
    abi(Arch::ScmpArchX32,         0xc000_003e, false, false, X32_BIT, None),
    abi(Arch::ScmpArchArm,         0x4000_0028, false, false, 0,       None),
    abi(Arch::ScmpArchAarch64,     0xc000_00b7, true,  false, 0,       None),
    abi(Arch::ScmpArchMips,        0x0000_0008, false, true,  4000,    Some(1)),
    abi(Arch::ScmpArchMips64,      0x8000_0008, true,  true,  5000,    None),
    abi(Arch::ScmpArchMips64n32,   0xa000_0008, false, true,  6000,    None),
    abi(Arch::ScmpArchMipsel,      0x4000_0008, false, false, 4000,    Some(1)),
    abi(Arch::ScmpArchMipsel64,    0xc000_0008, true,  false, 5000,    None),
    abi(Arch::ScmpArchMipsel64n32, 0xe000_0008, false, false, 6000,    None),
    abi(Arch::ScmpArchPpc,         0x0000_0014, false, true,  0,       Some(2)),
    abi(Arch::ScmpArchPpc64,       0x8000_0015, true,  true,  0,       Some(3)),
    abi(Arch::ScmpArchPpc64le,     0xc000_0015, true,  false, 0,       Some(3)),
    abi(Arch::ScmpArchS390,        0x0000_0016, false, true,  0,       Some(4)),
    abi(Arch::ScmpArchS390x,       0x8000_0016, true,  true,  0,       Some(5)),
    abi(Arch::ScmpArchParisc,      0x0000_000f, false, true,  0,       None),
    abi(Arch::ScmpArchParisc64,    0x8000_000f, true,  true,  0,       None),
    abi(Arch::ScmpArchRiscv64,     0xc000_00f3, true,  false, 0,       None),
    abi(Arch::ScmpArchLoongarch64, 0xc000_0102, true,  false, 0,       None),
    abi(Arch::ScmpArchM68k,        0x0000_0004, false, true,  0,       Some(6)),
    abi(Arch::ScmpArchSh,          0x4000_002a, false, false, 0,       Some(7)),
    abi(Arch::ScmpArchSheb,        0x0000_002a, false, true,  0,       Some(7)),
];

/// Every architecture that a profile can name.
pub fn architectures() -> impl Iterator<Item = Arch> {
    ABIS.iter().map(|abi| abi.arch)
}

/// Calls that came after the table of the libseccomp we may be linked with (2.5.4 ends with Linux 5.17): without this a
/// profile's `fchmodat2` would be dropped and then answered with ENOSYS. Since 5.1 a new call has one number everywhere.
/// In order of their names.
const NEWER: &[(&str, u32)] = &[
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("file_getattr", 468),
    ("file_setattr", 469),
    ("futex_requeue", 456),
    ("futex_wait", 455),
    ("futex_wake", 454),
    ("getxattrat", 464),
    ("listmount", 458),
    ("listns", 470),
    ("listxattrat", 465),
    ("lsm_get_self_attr", 459),
    ("lsm_list_modules", 461),
    ("lsm_set_self_attr", 460),
    ("map_shadow_stack", 453),
    ("mseal", 462),
    ("open_tree_attr", 467),
    ("removexattrat", 466),
    ("setxattrat", 463),
    ("statmount", 457),
];

/// The same for those of one architecture alone (and x32).
const NEWER_X86_64: &[(&str, u32)] = &[("uprobe", 336), ("uretprobe", 335)];

/// The calls that have another number on x32 than on x86_64, or 0: none. No call will be added to the kernel's table.
#[rustfmt::skip]
const X32: &[(u32, u32)] = &[
    (13, 512), (15, 513), (16, 514), (19, 515), (20, 516), (45, 517), (46, 518), (47, 519),
    (54, 541), (55, 542), (59, 520), (101, 521), (127, 522), (128, 523), (129, 524), (131, 525),
    (134, 0), (156, 0), (174, 0), (177, 0), (178, 0), (180, 0), (205, 0), (206, 543),
    (209, 544), (211, 0), (214, 0), (215, 0), (222, 526), (236, 0), (244, 527), (246, 528),
    (247, 529), (273, 530), (274, 531), (278, 532), (279, 533), (295, 534), (296, 535), (297, 536),
    (299, 537), (307, 538), (310, 539), (311, 540), (322, 545), (327, 546), (328, 547), (453, 0),
];

/// The call that stands for several others, told apart by its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Multiplexer {
    Socket,
    Ipc,
}

/// Name, multiplexer, first argument there (linux/net.h, linux/ipc.h), and the call's own number, or 0 where it has none,
/// on: x86, mips, ppc, ppc64, s390, s390x, m68k, sh. In order of their names.
#[rustfmt::skip]
const MULTIPLEXED: &[(&str, Multiplexer, u8, [u32; 8])] = &[
    ("accept",      Socket, 5,  [0,   168, 330, 330, 0,   0,   0,   344]),
    ("accept4",     Socket, 18, [364, 334, 344, 344, 364, 364, 361, 358]),
    ("bind",        Socket, 2,  [361, 169, 327, 327, 361, 361, 358, 341]),
    ("connect",     Socket, 3,  [362, 170, 328, 328, 362, 362, 359, 342]),
    ("getpeername", Socket, 7,  [368, 171, 332, 332, 368, 368, 365, 346]),
    ("getsockname", Socket, 6,  [367, 172, 331, 331, 367, 367, 364, 345]),
    ("getsockopt",  Socket, 15, [365, 173, 340, 340, 365, 365, 362, 354]),
    ("listen",      Socket, 4,  [363, 174, 329, 329, 363, 363, 360, 343]),
    ("msgctl",      Ipc,    14, [402, 402, 402, 402, 402, 402, 402, 402]),
    ("msgget",      Ipc,    13, [399, 399, 399, 399, 399, 399, 399, 399]),
    ("msgrcv",      Ipc,    12, [401, 401, 401, 401, 401, 401, 401, 401]),
    ("msgsnd",      Ipc,    11, [400, 400, 400, 400, 400, 400, 400, 400]),
    ("recv",        Socket, 10, [0,   175, 336, 336, 0,   0,   0,   350]),
    ("recvfrom",    Socket, 12, [371, 176, 337, 337, 371, 371, 368, 351]),
    ("recvmmsg",    Socket, 19, [337, 335, 343, 343, 357, 357, 371, 357]),
    ("recvmsg",     Socket, 17, [372, 177, 342, 342, 372, 372, 369, 356]),
    ("semctl",      Ipc,    3,  [394, 394, 394, 394, 394, 394, 394, 394]),
    ("semget",      Ipc,    2,  [393, 393, 393, 393, 393, 393, 393, 393]),
    ("semop",       Ipc,    1,  [0,   0,   0,   0,   0,   0,   0,   0]),
    ("semtimedop",  Ipc,    4,  [0,   0,   0,   392, 0,   392, 0,   0]),
    ("send",        Socket, 9,  [0,   178, 334, 334, 0,   0,   0,   348]),
    ("sendmmsg",    Socket, 20, [345, 343, 349, 349, 358, 358, 372, 363]),
    ("sendmsg",     Socket, 16, [370, 179, 341, 341, 370, 370, 367, 355]),
    ("sendto",      Socket, 11, [369, 180, 335, 335, 369, 369, 366, 349]),
    ("setsockopt",  Socket, 14, [366, 181, 339, 339, 366, 366, 363, 353]),
    ("shmat",       Ipc,    21, [397, 397, 397, 397, 397, 397, 397, 397]),
    ("shmctl",      Ipc,    24, [396, 396, 396, 396, 396, 396, 396, 396]),
    ("shmdt",       Ipc,    22, [398, 398, 398, 398, 398, 398, 398, 398]),
    ("shmget",      Ipc,    23, [395, 395, 395, 395, 395, 395, 395, 395]),
    ("shutdown",    Socket, 13, [373, 182, 338, 338, 373, 373, 370, 352]),
    ("socket",      Socket, 1,  [359, 183, 326, 326, 359, 359, 356, 340]),
    ("socketpair",  Socket, 8,  [360, 184, 333, 333, 360, 360, 357, 347]),
];

const NR_SOCKETCALL: u32 = 102;
const NR_IPC: u32 = 117;

/// The ways to make one call on one architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Its own number.
    pub own: Option<u32>,
    /// A multiplexer's number, and the first argument that means this call.
    pub multiplexed: Option<(u32, u8)>,
}

impl Numbers {
    pub(super) fn contains(&self, number: u32) -> bool {
        self.own == Some(number) || self.multiplexed.is_some_and(|(multiplexer, _)| multiplexer == number)
    }
}

impl Abi {
    /// `None` for an architecture that this program was not built for.
    pub(super) fn of(arch: Arch) -> Option<&'static Self> {
        match arch {
            Arch::ScmpArchNative => Self::native(),
            _ => ABIS.iter().find(|abi| abi.arch == arch),
        }
    }

    /// What this program itself runs on.
    fn native() -> Option<&'static Self> {
        let native = seccomp::native_arch();
        ABIS.iter().find(|abi| abi.token() == native)
    }

    /// `SCMP_ARCH_*`: the values of oci-spec's enum are libseccomp's.
    fn token(&self) -> u32 {
        self.arch as u32
    }

    pub(super) fn is_x32(&self) -> bool {
        self.base == X32_BIT
    }

    /// Whether the names of this architecture's calls are known: an older libseccomp lacks the newer architectures.
    pub(super) fn has_names(&self) -> bool {
        self.number("read").is_some()
    }

    /// All numbers of `name` here; none when it is unknown, or a call of other architectures.
    pub(super) fn numbers(&self, name: &str) -> Numbers {
        if let Some(column) = self.column
            && let Ok(row) = MULTIPLEXED.binary_search_by_key(&name, |row| row.0)
        {
            let (_, multiplexer, argument, own) = MULTIPLEXED[row];
            let multiplexer = match multiplexer {
                Socket => NR_SOCKETCALL,
                Ipc => NR_IPC,
            };
            let own = Some(own[column]).filter(|number| *number != 0);
            return Numbers {
                own: own.map(|number| self.base + number),
                multiplexed: Some((self.base + multiplexer, argument)),
            };
        }
        Numbers { own: self.number(name), multiplexed: None }
    }

    /// The number on x32 of the call that has `number` on x86_64.
    pub(super) fn x32_number(number: u32) -> Option<u32> {
        let own = match X32.binary_search_by_key(&number, |row| row.0) {
            Ok(row) => Some(X32[row].1).filter(|own| *own != 0),
            Err(_) => Some(number),
        };
        own.map(|own| X32_BIT | own)
    }

    fn number(&self, name: &str) -> Option<u32> {
        seccomp::number(name, self.token()).or_else(|| self.newer_number(name))
    }

    fn newer_number(&self, name: &str) -> Option<u32> {
        let find = |table: &[(&str, u32)]| table.binary_search_by_key(&name, |row| row.0).ok().map(|row| table[row].1);
        match self.arch {
            Arch::ScmpArchX86_64 => find(NEWER).or_else(|| find(NEWER_X86_64)),
            Arch::ScmpArchX32 => find(NEWER).or_else(|| find(NEWER_X86_64)).and_then(Self::x32_number),
            _ => find(NEWER).map(|number| self.base + number),
        }
    }
}

#[cfg(test)]
mod tests {
    use libseccomp::{ScmpArch, ScmpSyscall};

    use super::*;

    #[test]
    fn tables_are_in_order() {
        assert!(MULTIPLEXED.is_sorted_by(|a, b| a.0 < b.0));
        assert!(NEWER.is_sorted_by(|a, b| a.0 < b.0));
        assert!(NEWER_X86_64.is_sorted_by(|a, b| a.0 < b.0));
        assert!(X32.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn x32_numbers_its_calls_as_libseccomp_does() {
        for number in 0..600 {
            let Ok(name) = ScmpSyscall::from(number).get_name_by_arch(ScmpArch::X8664) else { continue };
            let own = Abi::of(Arch::ScmpArchX32).unwrap().numbers(&name).own;
            assert_eq!(Abi::x32_number(number.try_into().unwrap()), own, "{number} {name}");
        }
    }

    #[test]
    fn newer_calls_have_the_number_of_a_libseccomp_that_knows_them() {
        for abi in ABIS {
            for (name, _) in NEWER.iter().chain(NEWER_X86_64) {
                if let Some(number) = seccomp::number(name, abi.token()) {
                    assert_eq!(Some(number), abi.newer_number(name), "{name} on {}", abi.arch);
                }
            }
        }
    }

    #[test]
    fn architectures_are_those_of_the_specification() {
        for abi in ABIS {
            // libseccomp's tokens are the kernel's, but for x32.
            assert_eq!(abi.token(), if abi.is_x32() { abi.audit & 0x7fff_ffff } else { abi.audit }, "{}", abi.arch);
            assert_eq!(abi.audit & 0x4000_0000 == 0, abi.big_endian, "{}", abi.arch);
        }
    }

    #[test]
    fn a_call_has_its_number_on_each_architecture() {
        let number = |arch, name| Abi::of(arch).unwrap().numbers(name);
        assert_eq!(number(Arch::ScmpArchX86_64, "openat2"), Numbers { own: Some(437), multiplexed: None });
        assert_eq!(number(Arch::ScmpArchX32, "execve"), Numbers { own: Some(X32_BIT + 520), multiplexed: None });
        assert_eq!(number(Arch::ScmpArchX86_64, "_llseek"), Numbers::default());
        assert_eq!(number(Arch::ScmpArchX86_64, "no such call"), Numbers::default());
        assert_eq!(number(Arch::ScmpArchX86, "socket"), Numbers { own: Some(359), multiplexed: Some((102, 1)) });
        assert_eq!(number(Arch::ScmpArchX86, "semop"), Numbers { own: None, multiplexed: Some((117, 1)) });
        assert_eq!(number(Arch::ScmpArchMipsel, "accept"), Numbers { own: Some(4168), multiplexed: Some((4102, 5)) });
        assert_eq!(number(Arch::ScmpArchMipsel64, "fchmodat2"), Numbers { own: Some(5452), multiplexed: None });
    }
}
