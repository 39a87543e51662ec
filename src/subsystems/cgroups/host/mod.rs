//! The runtime's side: making, joining, looking at, watching, freezing, killing and removing cgroups.

mod controllers;
mod create;
mod delegation;
mod directory;
mod entrance;
mod fitness;
mod freezer;
mod kill;
mod limits;
mod oom;
mod options;
mod parents;
mod processes;
mod remove;
mod stats;
mod tree;
mod update;
mod watch;

pub use create::Cgroups;
pub use directory::Directory;
pub use entrance::{Entrance, SubGroup};
pub use fitness::{check_fitness, expected};
pub use freezer::{freeze, freezer_directory, is_frozen, thaw, thaw_all};
pub use kill::{kill_all, signal_all};
pub use limits::now;
pub use oom::oom_kills;
pub use options::HierarchyOptions;
pub use processes::{has_groups_inside, processes};
pub use remove::remove;
pub use stats::read_stats;
pub use update::update;
pub use watch::{Seen, Watch};
