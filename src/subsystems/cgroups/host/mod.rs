//! The runtime's side: making, joining, looking at, watching, killing and removing cgroups.

mod create;
mod directory;
mod fitness;
mod freezer;
mod kill;
mod oom;
mod processes;
mod remove;
mod stats;
mod watch;

pub use create::Cgroups;
pub use fitness::{check_fitness, expected};
pub use freezer::{is_frozen, thaw_all};
pub use kill::{kill_all, signal_all};
pub use oom::oom_kills;
pub use processes::processes;
pub use remove::remove;
pub use stats::read_stats;
pub use watch::{Seen, Watch};
