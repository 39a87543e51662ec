//! A case: a function that gets a running engine.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

/// Its name, as the harness shows it, and what it does.
pub type Case<E> = (&'static str, fn(&E));

/// The cases of a module, by the names of their functions. One that is forgotten is dead code, which the compiler reports.
macro_rules! cases {
    ($($function:ident),* $(,)?) => {
        vec![$((concat!(module_path!(), "::", stringify!($function)), $function)),*]
    };
}
pub(crate) use cases;

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Instead of printing a panic among other cases' output, keeps it for [`run`]: the first one, not those of destructors.
pub fn remember_panics() {
    set_hook(Box::new(|panic| {
        PANIC.with_borrow_mut(|it| _ = it.get_or_insert_with(|| panic.to_string()));
    }));
}

/// What a destructor does and expects. For a case that has failed already this must not fail, too: that would end all cases.
pub fn clean_up(act: impl FnOnce()) {
    if std::thread::panicking() {
        let _ = catch_unwind(AssertUnwindSafe(act));
    } else {
        act();
    }
}

/// What an engine loses sometimes, with any runtime, because its shim reports an OOM kill and an end from two threads: it has
/// it in one of five attempts, or never.
#[track_caller]
pub fn in_one_of_five(what: &str, mut attempt: impl FnMut() -> bool) {
    assert!((0..5).any(|_| attempt()), "{what}: not in five attempts");
}

/// What a case panicked with, and where.
pub fn run(case: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(case)).map_err(|_| PANIC.take().unwrap_or_default())
}
