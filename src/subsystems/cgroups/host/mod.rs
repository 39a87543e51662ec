//! The runtime's side: making, joining, looking at, killing and removing cgroups.

mod create;
mod delegation;
mod directory;
mod fitness;
mod freezer;
mod kill;
mod limits;
mod remove;
mod tree;

pub use create::Cgroups;
pub use fitness::{check_fitness, expected};
pub use freezer::{is_frozen, thaw_all};
pub use kill::kill_all;
pub use remove::remove;
