//! The runtime's side: making, joining, looking at, freezing, killing and removing cgroups.

mod controllers;
mod create;
mod delegation;
mod directory;
mod entrance;
mod fitness;
mod freezer;
mod kill;
mod limits;
mod remove;
mod tree;
mod update;

pub use create::Cgroups;
pub use entrance::{Entrance, SubGroup};
pub use fitness::{check_fitness, expected};
pub use freezer::{freeze, is_frozen, thaw, thaw_all};
pub use kill::kill_all;
pub use remove::remove;
pub use update::update;
