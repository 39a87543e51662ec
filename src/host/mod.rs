//! The runtime's side: a [`Runtime`] creates and finds [`Container`]s. One file per operation, named like its command.
//!
//! Nothing here changes what belongs to the whole process: an embedder with many threads can call all of it.

mod attend;
mod container;
mod create;
mod delete;
mod events;
mod exec;
mod handover;
mod kill;
mod list;
mod pause;
mod seal;
mod spawn;
mod start;
mod state;
mod update;

use std::path::{Path, PathBuf};

pub use container::Container;
pub use create::{CreateRequest, Running};
pub use events::{Event, Events};
pub use exec::{Changes, ExecRequest, Executed, ProcessChoice};
pub use kill::Whom;
pub use state::StateDocument;

use crate::channel::InsideEnd;
use crate::error::{OrCall, Result};
use crate::machine::Machine;
use crate::plan::ErrandRef;
use crate::state::StateRoot;
use crate::sys;
use crate::sys::fd::Luggage;
use crate::sys::husk;
use seal::Sealed;
use spawn::Body;

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
    fork: Option<Fork>,
}

/// What a copy of this process does: it becomes the container's.
pub(crate) type Fork = fn(InsideEnd, ErrandRef<'_>) -> !;

impl Runtime {
    /// A runtime whose containers are kept below `state_root`.
    ///
    /// The first process of a container is made from this program's own executable, which must call
    /// [`crate::run_if_sealed`] first of all in its `main`; another one can be named with [`Runtime::with_init_image`].
    pub fn new(state_root: impl Into<PathBuf>) -> Self {
        Self {
            machine: Machine::default(),
            state_root: state_root.into(),
            init_image: "/proc/self/exe".into(),
            fork: None,
        }
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

    pub(crate) fn forking(mut self, fork: Fork) -> Self {
        self.fork = Some(fork);
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

    /// A copy's memory belongs to our user namespace, whatever its own is: its files below /proc take rights there.
    fn reaches_copies(&self) -> Result<bool> {
        const CAP_SYS_PTRACE: u64 = 1 << 19;
        let own = sys::capability::get().or_call(|| "capget")?;
        Ok(own.effective & CAP_SYS_PTRACE != 0 && !self.machine.is_rootless()?)
    }

    /// What a container's process is made from. `suitable`: it may be a copy of this one.
    fn body(&self, suitable: bool, second_lower: &Path, luggage: &mut Luggage) -> Result<Body> {
        let may_fork = suitable && husk::is_there() && self.reaches_copies()?;
        if let Some(fork) = self.fork.filter(|_| may_fork) {
            match husk::file() {
                Ok(file) => {
                    log::debug!("the process is a copy of this one, its last steps are a husk's");
                    return Ok(Body::Copy { fork, husk: luggage.pack(file) });
                }
                Err(errno) => log::debug!("no program can be made in memory: memfd_create: {errno}"),
            }
        }
        Sealed::new(&self.init_image, second_lower).map(Body::Sealed)
    }
}
