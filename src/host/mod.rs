//! The runtime's side: a [`Runtime`] creates and finds [`Container`]s. One file per operation, named like its command.
//!
//! Nothing here changes what belongs to the whole process: an embedder with many threads can call all of it.

mod attend;
mod checkpoint;
mod container;
mod create;
mod delete;
mod events;
mod exec;
mod handover;
mod images;
mod kill;
mod list;
mod pause;
mod restore;
mod seal;
mod spawn;
mod start;
mod state;
mod update;

use std::path::{Path, PathBuf};

pub use checkpoint::CheckpointRequest;
pub use container::Container;
pub use create::{CreateRequest, Running};
pub use events::{Event, Events};
pub use exec::{Changes, ExecRequest, Executed, ProcessChoice};
pub use images::CriuOptions;
pub use kill::Whom;
pub use restore::RestoreRequest;
pub use state::StateDocument;

use crate::error::Result;
use crate::machine::Machine;
use crate::state::StateRoot;
use seal::Sealed;

/// An id below the state root, and the container if it can be read.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Listed {
    pub id: String,
    pub container: Result<Container>,
}

/// A runtime: where its containers' state is, and what the machine can do. Cheap to make.
#[derive(Debug)]
pub struct Runtime {
    machine: Machine,
    state_root: PathBuf,
    init_image: PathBuf,
}

impl Runtime {
    /// A runtime whose containers are kept below `state_root`.
    ///
    /// The first process of a container is made from this program's own executable, which must call
    /// [`crate::run_if_sealed`] first of all in its `main`; another one can be named with [`Runtime::with_init_image`].
    pub fn new(state_root: impl Into<PathBuf>) -> Self {
        Self { machine: Machine::default(), state_root: state_root.into(), init_image: "/proc/self/exe".into() }
    }

    /// Says where the user's D-Bus daemon is, for users whose containers' cgroups are made by their own systemd.
    #[must_use]
    pub fn with_user_bus(mut self, socket: Option<PathBuf>) -> Self {
        self.machine = Machine::with_user_bus(socket);
        self
    }

    /// Names the executable that first processes are made from: an installed `corten`.
    #[must_use]
    pub fn with_init_image(mut self, path: impl Into<PathBuf>) -> Self {
        self.init_image = path.into();
        self
    }

    /// Creates a container (runtime-spec, "Create").
    pub fn create(&self, request: &CreateRequest) -> Result<Container> {
        create::create(self, request)
    }

    /// Creates and starts one; the caller is the parent of its first process.
    pub fn run(&self, request: &CreateRequest) -> Result<Running> {
        create::run(self, request)
    }

    /// Makes the processes of a checkpoint anew; the caller is the parent of the first one.
    pub fn restore(&self, request: &RestoreRequest) -> Result<Running> {
        restore::restore(self, request)
    }

    /// Executes a further program in a container; the caller is its parent.
    pub fn exec(&self, id: &str, request: &ExecRequest) -> Result<Executed> {
        exec::exec(self, id, request)
    }

    /// Finds a container. The error is of kind `NotFound` when there is none.
    pub fn find(&self, id: &str) -> Result<Container> {
        Container::find(self, id)
    }

    /// All containers; `None`: there is no state root. One that cannot be read is an error in its place.
    pub fn list(&self) -> Result<Option<Vec<Listed>>> {
        list::list(self)
    }

    /// Removes what an interrupted create left behind, or a container in whatever status (`delete --force`).
    pub fn delete_forcibly(&self, id: &str) -> Result<()> {
        delete::delete_forcibly(self, id)
    }

    fn existing_root(&self) -> Result<Option<StateRoot>> {
        StateRoot::find(&self.state_root)
    }

    fn seal(&self, second_lower: &Path) -> Result<Sealed> {
        Sealed::new(&self.init_image, second_lower)
    }
}
