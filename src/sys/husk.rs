//! The husk: a program of one page that carries out a [`Script`].
//!
//! A container's first process waits for `start`, and until then it is a program of ours: one that everything in the container
//! may look at, and whose file every program of the container may try to execute or to write to (`/proc/1/exe`,
//! CVE-2019-5736). The less of it there is, the better: of the runtime nothing is left but 130 bytes of machine code, and a list
//! of the calls that are yet to be made. That is also the quickest program there can be: a C library takes some hundred
//! microseconds before its `main`.
//!
//! ```text
//! file        0  ELF header, two program headers, code      0x400000  r-x
//!        0x1000  steps, and what they point to              0x401000  rw-
//! ```
//!
//! The file is in memory (memfd_create(2)) and sealed: nobody can write to it.
//!
//! Only x86_64 has one so far; elsewhere [`is_there`] says so.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};

use super::memfd;
use super::script::Script;

const CODE_ADDRESS: u64 = 0x40_0000;
const PAGE: usize = 4096;
/// Of the script. The code has it as a constant, too.
const DATA_ADDRESS: u64 = CODE_ADDRESS + PAGE as u64;

/// Whether this machine's architecture has one.
pub const fn is_there() -> bool {
    cfg!(target_arch = "x86_64")
}

/// A file for one. EACCES where vm.memfd_noexec forbids such programs (since 6.3).
///
/// It can be executed and not read: so the kernel makes a process of it undumpable from its first instruction, and in a user
/// namespace keeps its memory out of the reach of that namespace's tracers (`would_dump`).
pub fn file() -> nix::Result<OwnedFd> {
    let file = memfd::executable(c"corten")?;
    fchmod(&file, Mode::from_bits_truncate(0o111))?;
    Ok(file)
}

/// Writes the program.
pub fn write(script: &Script, file: &OwnedFd) -> nix::Result<()> {
    super::fd::write_all(file, &image(machine::code(), script))
}

/// Becomes one.
pub fn execute(file: &OwnedFd, name: &CStr) -> nix::Result<Infallible> {
    let arguments = [name.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null::<libc::c_char>()];
    // SAFETY: two lists that end with a null pointer, and outlive the call.
    super::answer(unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    })?;
    // It does not return when it succeeds.
    Err(Errno::ENOEXEC)
}

/// elf(5).
fn image(code: &[u8], script: &Script) -> Vec<u8> {
    const HEADER: usize = 64;
    const PROGRAM_HEADER: usize = 56;
    const SEGMENTS: usize = 3;
    const CODE: usize = HEADER + SEGMENTS * PROGRAM_HEADER;
    const PT_LOAD: u32 = 1;
    const PT_GNU_STACK: u32 = 0x6474_e551;
    const EXECUTE: u32 = 1;
    const WRITE: u32 = 2;
    const READ: u32 = 4;
    let data = script.at(DATA_ADDRESS);
    let mut image = Vec::with_capacity(PAGE + 8 * data.len());
    // 64 bits, this machine's byte order, version 1.
    image.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // ET_EXEC, EM_X86_64, version 1.
    image.extend_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [CODE_ADDRESS + CODE as u64, HEADER as u64, 0] {
        image.extend_from_slice(&word.to_ne_bytes());
    }
    image.extend_from_slice(&[0; 4]);
    for half in [HEADER, PROGRAM_HEADER, SEGMENTS, 0, 0, 0] {
        image.extend_from_slice(&u16::try_from(half).unwrap_or(0).to_ne_bytes());
    }
    let length = |bytes: usize| bytes as u64;
    for (kind, flags, offset, address, size) in [
        (PT_LOAD, READ | EXECUTE, 0, CODE_ADDRESS, length(CODE + code.len())),
        (PT_LOAD, READ | WRITE, length(PAGE), DATA_ADDRESS, length(8 * data.len())),
        (PT_GNU_STACK, READ | WRITE, 0, 0, 0),
    ] {
        image.extend_from_slice(&kind.to_ne_bytes());
        image.extend_from_slice(&flags.to_ne_bytes());
        for word in [offset, address, address, size, size, length(PAGE)] {
            image.extend_from_slice(&word.to_ne_bytes());
        }
    }
    image.extend_from_slice(code);
    image.resize(PAGE, 0);
    image.extend(data.iter().flat_map(|word| word.to_ne_bytes()));
    image
}

/// The machine code, which does not care where it lies.
#[cfg(target_arch = "x86_64")]
mod machine {
    use std::mem::offset_of;

    use super::super::script::Step;
    use super::DATA_ADDRESS;

    std::arch::global_asm!(
        ".pushsection .rodata.corten_husk, \"a\"",
        "corten_husk:",
        "    mov ebx, {script}",
        // rbx: the step. A call clobbers rax, rcx and r11.
        "2:  mov rax, [rbx + {number}]",
        "    mov rdi, [rbx + {arguments}]",
        "    mov rsi, [rbx + {arguments} + 8]",
        "    mov rdx, [rbx + {arguments} + 16]",
        "    mov r10, [rbx + {arguments} + 24]",
        "    mov r8, [rbx + {arguments} + 32]",
        "    mov r9, [rbx + {arguments} + 40]",
        "    syscall",
        "    cmp rax, -{eintr}",
        "    je 2b",
        "    cmp rax, [rbx + {least}]",
        "    jl 5f",
        // Its result may be needed.
        "    mov rcx, [rbx + {store}]",
        "    test rcx, rcx",
        "    jz 3f",
        "    mov [rcx], eax",
        // Whoever was copied goes on elsewhere than the copy.
        "3:  mov rcx, [rbx + {parent}]",
        "    test rcx, rcx",
        "    jz 4f",
        "    test rax, rax",
        "    jz 4f",
        "    mov rbx, rcx",
        "    jmp 2b",
        "4:  add rbx, {size}",
        "    jmp 2b",
        // Failed, with an errno or with less than was asked for.
        "5:  neg eax",
        "    jns 6f",
        "    xor eax, eax",
        "6:  mov rsi, [rbx + {frame}]",
        "    mov rdx, [rbx + {frame_length}]",
        "    mov [rsi + rdx - 4], eax",
        "    mov rdi, [rbx + {report}]",
        "    mov eax, {write}",
        "    syscall",
        "7:  mov edi, 1",
        "    mov eax, {exit_group}",
        "    syscall",
        "    jmp 7b",
        "corten_husk_end:",
        ".popsection",
        script = const DATA_ADDRESS,
        number = const offset_of!(Step, number),
        arguments = const offset_of!(Step, arguments),
        least = const offset_of!(Step, least),
        parent = const offset_of!(Step, parent),
        store = const offset_of!(Step, store),
        frame = const offset_of!(Step, frame),
        frame_length = const offset_of!(Step, frame_length),
        report = const offset_of!(Step, report),
        size = const size_of::<Step>(),
        eintr = const libc::EINTR,
        write = const libc::SYS_write,
        exit_group = const libc::SYS_exit_group,
    );

    unsafe extern "C" {
        static corten_husk: u8;
        static corten_husk_end: u8;
    }

    pub fn code() -> &'static [u8] {
        let (start, end) = (&raw const corten_husk, &raw const corten_husk_end);
        // SAFETY: both are places in one read-only section, the second behind the first.
        unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    pub fn code() -> &'static [u8] {
        &[]
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use std::io::Read;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::error::Refusal;

    fn frame(_: Refusal) -> Vec<u8> {
        b"refused    ".to_vec()
    }

    /// Writes to `out` twice, and to the file `name` of `directory` in between.
    fn script(out: BorrowedFd<'_>, directory: BorrowedFd<'_>) -> Script {
        let mut script = Script::new(out, frame);
        let refused = script.frame(Refusal::of(""));
        script.say(out, b"one ", refused);
        script.write_file(directory.as_raw_fd(), c"name", b"content", refused, refused);
        script.try_prctl(-1, 0, 0, refused);
        script.say(out, b"two ", refused);
        script
    }

    fn sandbox() -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("name"), "").unwrap();
        let opened = std::fs::File::open(directory.path()).unwrap();
        crate::sys::fd::set_cloexec(&opened, false).unwrap();
        (directory, opened.into())
    }

    #[test]
    fn makes_the_calls_and_says_which_was_refused() {
        let (directory, opened) = sandbox();
        let mut script = script(crate::sys::fd::borrow(1), opened.as_fd());
        let refused = script.frame(Refusal::of(""));
        script.execute(c"/no/such/program", &[], &[], refused);
        script.say(crate::sys::fd::borrow(1), b"never", refused);
        let path = directory.path().join("husk");
        std::fs::write(&path, image(machine::code(), &script)).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let output = Command::new(&path).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout, b"one two refused\x02\0\0\0");
        assert_eq!(std::fs::read(directory.path().join("name")).unwrap(), b"content");
    }

    #[test]
    fn this_process_makes_the_same_calls() {
        let (directory, opened) = sandbox();
        let (mut ours, theirs) = std::io::pipe().unwrap();
        script(theirs.as_fd(), opened.as_fd()).carry_out();
        drop(theirs);
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        assert_eq!(said, "one two ");
        assert_eq!(std::fs::read(directory.path().join("name")).unwrap(), b"content");
    }
}
