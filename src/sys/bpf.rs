//! bpf(2): loading a program of type BPF_PROG_TYPE_CGROUP_DEVICE and attaching it to a cgroup v2 (since 4.15).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// One eBPF instruction, as the kernel lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are linux/bpf.h's")]
pub struct Instruction {
    pub code: u8,
    /// Destination in the low four bits, source in the high ones.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_ATTACH: u32 = 8;
const BPF_PROG_DETACH: u32 = 9;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

#[repr(C)]
#[derive(Default)]
struct LoadArguments {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    program_flags: u32,
    name: [u8; 16],
}

#[repr(C)]
struct AttachArguments {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Loads a device program.
pub fn load_device_program(program: &[Instruction]) -> nix::Result<OwnedFd> {
    let mut arguments = LoadArguments {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_| nix::errno::Errno::E2BIG)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadArguments::default()
    };
    arguments.name[..14].copy_from_slice(b"corten_devices");
    // SAFETY: the program and the licence outlive the call, and the size is the structure's.
    super::answer_fd(unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const arguments, size_of::<LoadArguments>())
    })
}

/// Attaches it to a cgroup beside what others attached there.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> nix::Result<()> {
    change_attachment(BPF_PROG_ATTACH, BPF_F_ALLOW_MULTI, cgroup, program)
}

/// Takes it away from there.
pub fn detach_device_program(cgroup: impl AsFd, program: impl AsFd) -> nix::Result<()> {
    change_attachment(BPF_PROG_DETACH, 0, cgroup, program)
}

fn change_attachment(command: u32, flags: u32, cgroup: impl AsFd, program: impl AsFd) -> nix::Result<()> {
    #[expect(clippy::cast_sign_loss, reason = "descriptors are not negative")]
    let arguments = AttachArguments {
        target: cgroup.as_fd().as_raw_fd() as u32,
        program: program.as_fd().as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        flags,
    };
    // SAFETY: the structure outlives the call, and the size is its own.
    super::answer(unsafe {
        libc::syscall(libc::SYS_bpf, command, &raw const arguments, size_of::<AttachArguments>())
    })?;
    Ok(())
}
