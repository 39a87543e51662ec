//! A list of system calls that is carried out later: by [`super::husk`], a program of one page, or by this process itself.
//!
//! The last steps of a container's process, from "it has nothing of the host any more" to execve, are such a list. Everything
//! in it was looked up, allocated and put into words before: carrying it out decides nothing and allocates nothing.
//!
//! A result below a step's `least` is a failure: then the errno is put into the last four bytes of the step's frame, the
//! frame is written to `report`, and the process ends with status 1. EINTR is tried again.

#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!("the structures here are those of machines with 64 bits and the low byte first");

use std::ffi::{CStr, CString};
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use super::capability::{self, ThreadSets};
use super::seccomp::Instruction;
use crate::error::Refusal;

/// One call, as whoever carries it out reads it: words of 64 bits, with absolute pointers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    pub number: i64,
    pub arguments: [u64; 6],
    /// The smallest result that is a success.
    pub least: i64,
    /// Not 0: the step with which the one goes on to whom clone3 returned another's pid.
    pub parent: u64,
    /// Not 0: where the lower half of the result goes.
    pub store: u64,
    /// What is said of a failure.
    pub frame: u64,
    pub frame_length: u64,
    /// To whom.
    pub report: u64,
}

/// A place in the finished script.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A byte of a step.
    Step(usize, usize),
    /// A byte of the data behind the steps.
    Data(usize),
}

impl Place {
    fn plus(self, bytes: usize) -> Self {
        match self {
            Self::Step(step, at) => Self::Step(step, at + bytes),
            Self::Data(at) => Self::Data(at + bytes),
        }
    }
}

/// What is said when a step fails.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    place: Place,
    length: u64,
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Value(u64),
    Pointer(Place),
}

/// A descriptor or a flag.
fn int(number: i32) -> Word {
    Word::Value(u64::from(number.cast_unsigned()))
}

/// A message with a descriptor that is known only when it is sent (unix(7), SCM_RIGHTS).
#[derive(Clone, Copy, Debug)]
struct DescriptorMessage {
    header: Place,
    descriptor: Place,
    length: i64,
}

/// See [`Script::copy_as_sibling`].
#[derive(Debug)]
#[must_use]
pub struct Copying {
    step: usize,
    to: RawFd,
    message: DescriptorMessage,
    saying: Frame,
}

/// A filter, whose listener somebody is to get.
#[derive(Debug)]
pub struct Loaded(usize);

/// The list, while it is being written.
#[derive(Debug)]
pub struct Script {
    encode: fn(Refusal) -> Vec<u8>,
    report: RawFd,
    steps: Vec<Step>,
    data: Vec<u8>,
    /// What points where.
    pointers: Vec<(Place, Place)>,
}

impl Script {
    /// An empty one. Failures are told to `report`, as the messages that `encode` makes, with four bytes for the errno at
    /// their ends.
    pub fn new(report: BorrowedFd<'_>, encode: fn(Refusal) -> Vec<u8>) -> Self {
        let (steps, data, pointers) = (Vec::with_capacity(80), Vec::with_capacity(8192), Vec::with_capacity(256));
        Self { encode, report: report.as_raw_fd(), steps, data, pointers }
    }

    /// From the next step on failures are told to somebody else.
    pub fn report_to(&mut self, report: BorrowedFd<'_>) {
        self.report = report.as_raw_fd();
    }

    /// For steps that say the same when they fail.
    pub fn frame(&mut self, refusal: Refusal) -> Frame {
        let bytes = (self.encode)(refusal);
        Frame { length: bytes.len() as u64, place: self.put(&bytes) }
    }

    /// prctl(2) with integers.
    pub fn prctl(&mut self, option: i32, second: u64, third: u64, refused: Frame) {
        self.call(libc::SYS_prctl, &[int(option), Word::Value(second), Word::Value(third)], refused);
    }

    /// The same; that it is refused does not matter.
    pub fn try_prctl(&mut self, option: i32, second: u64, third: u64, frame: Frame) {
        let step = self.call(libc::SYS_prctl, &[int(option), Word::Value(second), Word::Value(third)], frame);
        self.steps[step].least = i64::MIN;
    }

    /// Whether execve closes `fd`, from here on.
    pub fn set_cloexec(&mut self, fd: RawFd, on: bool, refused: Frame) {
        let flag = if on { libc::FD_CLOEXEC } else { 0 };
        self.call(libc::SYS_fcntl, &[int(fd), int(libc::F_SETFD), int(flag)], refused);
    }

    /// Closes every descriptor from `first` to `last`, both included.
    pub fn close_range(&mut self, first: u32, last: u32, refused: Frame) {
        self.call(libc::SYS_close_range, &[first, last, 0].map(|word| Word::Value(word.into())), refused);
    }

    /// Writes the file `name` of `directory`, in one write(2), and leaves it open.
    pub fn write_file(&mut self, directory: RawFd, name: &CStr, content: &[u8], opening: Frame, writing: Frame) {
        let name = self.put(name.to_bytes_with_nul());
        let flags = int(libc::O_WRONLY | libc::O_CLOEXEC);
        let open = self.call(libc::SYS_openat, &[int(directory), Word::Pointer(name), flags], opening);
        let content = (self.put(content), content.len());
        let write = self.write(-1, content, writing);
        self.point(Place::Step(open, offset_of!(Step, store)), argument(write, 0));
    }

    /// Says something.
    pub fn say(&mut self, to: BorrowedFd<'_>, message: &[u8], refused: Frame) {
        let content = (self.put(message), message.len());
        self.write(to.as_raw_fd(), content, refused);
    }

    fn write(&mut self, fd: RawFd, (place, length): (Place, usize), refused: Frame) -> usize {
        let step = self.call(libc::SYS_write, &[int(fd), Word::Pointer(place), Word::Value(length as u64)], refused);
        self.steps[step].least = length.cast_signed() as i64;
        step
    }

    /// Waits for a byte.
    pub fn wait_for_byte(&mut self, from: BorrowedFd<'_>, refused: Frame) {
        let place = self.put(&[0]);
        let from = int(from.as_raw_fd());
        let step = self.call(libc::SYS_read, &[from, Word::Pointer(place), Word::Value(1)], refused);
        self.steps[step].least = 1;
    }

    /// Copies the process. The copy, whose parent is ours, goes on with the next step; the one that was copied does what
    /// [`Script::end_the_copied`] says, with `message`.
    pub fn copy_as_sibling(&mut self, to: BorrowedFd<'_>, message: &[u8], copying: Frame, saying: Frame) -> Copying {
        let message = self.descriptor_message(message);
        // struct clone_args: flags, and where the pidfd goes.
        let flags = (libc::CLONE_PARENT | libc::CLONE_PIDFD).cast_unsigned();
        let arguments = self.put_words(&[flags.into(), 0, 0, 0, 0, 0, 0, 0]);
        self.point(arguments.plus(8), message.descriptor);
        let step = self.call(libc::SYS_clone3, &[Word::Pointer(arguments), Word::Value(64)], copying);
        Copying { step, to: to.as_raw_fd(), message, saying }
    }

    /// Behind all steps of the copy: the one that was copied says its message, with a pidfd of the copy, and ends.
    pub fn end_the_copied(&mut self, copying: &Copying) {
        self.point(Place::Step(copying.step, offset_of!(Step, parent)), Place::Step(self.steps.len(), 0));
        self.send(copying.to, copying.message, copying.saying);
        self.call(libc::SYS_exit_group, &[Word::Value(0)], copying.saying);
    }

    fn send(&mut self, to: RawFd, message: DescriptorMessage, refused: Frame) {
        let flags = int(libc::MSG_NOSIGNAL);
        let step = self.call(libc::SYS_sendmsg, &[int(to), Word::Pointer(message.header), flags], refused);
        self.steps[step].least = message.length;
    }

    fn descriptor_message(&mut self, message: &[u8]) -> DescriptorMessage {
        let content = self.put(message);
        // struct iovec.
        let part = self.put_words(&[0, message.len() as u64]);
        self.point(part, content);
        // struct cmsghdr: its length, SOL_SOCKET, SCM_RIGHTS, and one descriptor.
        let kind = u64::from(libc::SCM_RIGHTS.cast_unsigned()) << 32 | u64::from(libc::SOL_SOCKET.cast_unsigned());
        let control = self.put_words(&[20, kind, 0]);
        // struct msghdr: no name, one part, 24 bytes of control message, no flags.
        let header = self.put_words(&[0, 0, 0, 1, 0, 24, 0]);
        self.point(header.plus(16), part);
        self.point(header.plus(32), control);
        DescriptorMessage { header, descriptor: control.plus(16), length: message.len().cast_signed() as i64 }
    }

    /// Begins a process group.
    pub fn set_group(&mut self, refused: Frame) {
        self.call(libc::SYS_setpgid, &[int(0), int(0)], refused);
    }

    /// setsid(2).
    pub fn set_session(&mut self, refused: Frame) {
        self.call(libc::SYS_setsid, &[], refused);
    }

    /// Makes a terminal the controlling one of the session.
    pub fn make_controlling(&mut self, terminal: RawFd, refused: Frame) {
        self.call(libc::SYS_ioctl, &[int(terminal), Word::Value(libc::TIOCSCTTY), Word::Value(0)], refused);
    }

    /// prlimit(2), of the process itself.
    pub fn set_rlimit(&mut self, resource: u32, soft: u64, hard: u64, refused: Frame) {
        let limit = Word::Pointer(self.put_words(&[soft, hard]));
        self.call(libc::SYS_prlimit64, &[Word::Value(0), Word::Value(resource.into()), limit], refused);
    }

    /// setresgid(2): all three.
    pub fn set_gid(&mut self, gid: u32, refused: Frame) {
        self.call(libc::SYS_setresgid, &[Word::Value(gid.into()); 3], refused);
    }

    /// setresuid(2): all three.
    pub fn set_uid(&mut self, uid: u32, refused: Frame) {
        self.call(libc::SYS_setresuid, &[Word::Value(uid.into()); 3], refused);
    }

    /// capset(2).
    pub fn set_capabilities(&mut self, sets: &ThreadSets, refused: Frame) {
        let (header, sets) = capability::as_bytes(sets);
        let (header, sets) = (self.put(&header), self.put(&sets));
        self.call(libc::SYS_capset, &[Word::Pointer(header), Word::Pointer(sets)], refused);
    }

    /// seccomp(2), SECCOMP_SET_MODE_FILTER.
    pub fn load_filter(&mut self, flags: u32, program: &[Instruction], refused: Frame) -> Loaded {
        let instructions: Vec<u8> = program.iter().flat_map(Instruction::bytes).collect();
        let instructions = self.put(&instructions);
        // struct sock_fprog.
        let described = self.put_words(&[program.len() as u64, 0]);
        self.point(described.plus(8), instructions);
        let mode = Word::Value(libc::SECCOMP_SET_MODE_FILTER.into());
        let arguments = [mode, Word::Value(flags.into()), Word::Pointer(described)];
        Loaded(self.call(libc::SYS_seccomp, &arguments, refused))
    }

    /// Says the number of the filter's listener: it is put into the last four bytes of `message`.
    pub fn say_listener(&mut self, loaded: &Loaded, to: BorrowedFd<'_>, message: &[u8], refused: Frame) {
        let place = self.put(message);
        self.write(to.as_raw_fd(), (place, message.len()), refused);
        self.point(Place::Step(loaded.0, offset_of!(Step, store)), place.plus(message.len().saturating_sub(4)));
    }

    /// Passes the listener.
    pub fn pass_listener(&mut self, loaded: &Loaded, to: BorrowedFd<'_>, message: &[u8], refused: Frame) {
        let message = self.descriptor_message(message);
        self.send(to.as_raw_fd(), message, refused);
        self.point(Place::Step(loaded.0, offset_of!(Step, store)), message.descriptor);
    }

    /// execve(2).
    pub fn execute(&mut self, path: &CStr, arguments: &[CString], environment: &[CString], refused: Frame) {
        let path = self.put(path.to_bytes_with_nul());
        let words = [path, self.put_list(arguments), self.put_list(environment)].map(Word::Pointer);
        let step = self.call(libc::SYS_execve, &words, refused);
        // No success returns.
        self.steps[step].least = i64::MAX;
    }

    fn put_list(&mut self, strings: &[CString]) -> Place {
        let list = self.put_words(&vec![0; strings.len() + 1]);
        for (index, string) in strings.iter().enumerate() {
            let place = self.put(string.to_bytes_with_nul());
            self.point(list.plus(8 * index), place);
        }
        list
    }

    fn put_words(&mut self, words: &[u64]) -> Place {
        let place = Place::Data(self.data.len());
        self.data.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        place
    }

    /// Aligned for whatever it may be.
    fn put(&mut self, bytes: &[u8]) -> Place {
        let place = Place::Data(self.data.len());
        self.data.extend_from_slice(bytes);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        place
    }

    /// Adds a step, and answers which one it is.
    fn call(&mut self, number: libc::c_long, arguments: &[Word], refused: Frame) -> usize {
        let step = self.steps.len();
        let report = u64::from(self.report.cast_unsigned());
        self.steps.push(Step { number, frame_length: refused.length, report, ..Step::default() });
        for (index, word) in arguments.iter().enumerate() {
            match word {
                Word::Value(value) => self.steps[step].arguments[index] = *value,
                Word::Pointer(place) => self.point(argument(step, index), *place),
            }
        }
        self.point(Place::Step(step, offset_of!(Step, frame)), refused.place);
        step
    }

    fn point(&mut self, from: Place, to: Place) {
        self.pointers.push((from, to));
    }

    /// The steps and their data, for an address that is a multiple of 8.
    pub(super) fn at(&self, address: u64) -> Vec<u64> {
        let steps = self.steps.len() * size_of::<Step>();
        let offset = |place: Place| match place {
            Place::Step(step, at) => step * size_of::<Step>() + at,
            Place::Data(at) => steps + at,
        };
        let mut words: Vec<u64> = Vec::with_capacity((steps + self.data.len()) / 8);
        words.extend(self.steps.iter().flat_map(Step::words));
        words.extend(self.data.chunks_exact(8).map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default())));
        for (from, to) in &self.pointers {
            words[offset(*from) / 8] = address + offset(*to) as u64;
        }
        words
    }

    /// Carries it out, here and now. Comes back when all is done; whatever fails ends the process.
    pub fn carry_out(&self) {
        // Laid out twice: only when it is there its address is known.
        let mut memory = self.at(0);
        let address = memory.as_mut_ptr().expose_provenance();
        memory.copy_from_slice(&self.at(address as u64));
        // SAFETY: the steps are at the beginning, and point into `memory`, which nothing else uses and which outlives them; each
        // was made by a method of ours from values that its call takes.
        unsafe { carry_out(memory.as_mut_ptr().cast(), self.steps.len()) }
    }
}

fn argument(step: usize, index: usize) -> Place {
    Place::Step(step, offset_of!(Step, arguments) + 8 * index)
}

impl Step {
    fn words(&self) -> [u64; size_of::<Self>() / 8] {
        let [a, b, c, d, e, f] = self.arguments;
        let (number, least) = (self.number.cast_unsigned(), self.least.cast_unsigned());
        let [parent, store, frame, length, report] =
            [self.parent, self.store, self.frame, self.frame_length, self.report];
        [number, a, b, c, d, e, f, least, parent, store, frame, length, report]
    }
}

/// What the husk's machine code does.
///
/// SAFETY: `first` points to `count` steps whose pointers are valid.
unsafe fn carry_out(first: *mut Step, count: usize) {
    let mut index = 0;
    while index < count {
        // SAFETY: below `count`. Read anew each time: an earlier step may have stored its result in it.
        let step = unsafe { first.add(index).read_volatile() };
        let [a, b, c, d, e, f] = step.arguments;
        // SAFETY: by this function's contract.
        let mut result = unsafe { libc::syscall(step.number, a, b, c, d, e, f) };
        if result == -1 {
            result = -i64::from(Errno::last_raw());
        }
        if result == -i64::from(libc::EINTR) {
            continue;
        }
        if result < step.least {
            // SAFETY: as above.
            unsafe { fail(&step, result) }
        }
        if step.store != 0 {
            // SAFETY: the place of an integer in what `first` is the beginning of.
            #[expect(clippy::cast_possible_truncation, reason = "descriptors are small")]
            unsafe {
                std::ptr::with_exposed_provenance_mut::<i32>(usize::try_from(step.store).unwrap_or(0))
                    .write_unaligned(result as i32);
            }
        }
        index = match step.parent {
            0 => index + 1,
            _ if result == 0 => index + 1,
            parent => (usize::try_from(parent).unwrap_or(0) - first.expose_provenance()) / size_of::<Step>(),
        };
    }
}

/// SAFETY: the frame is there, and ends with four bytes for the errno.
unsafe fn fail(step: &Step, result: i64) -> ! {
    let errno = i32::try_from(-result.min(0)).unwrap_or(0);
    let address = |word: u64| usize::try_from(word).unwrap_or(0);
    let end = std::ptr::with_exposed_provenance_mut::<u8>(address(step.frame) + address(step.frame_length) - 4);
    // SAFETY: by this function's contract.
    unsafe {
        end.cast::<i32>().write_unaligned(errno);
        libc::syscall(libc::SYS_write, step.report, step.frame, step.frame_length);
    }
    super::clone::end(1)
}
