//! corten: an OCI low-level container runtime, as a library.
//!
//! ```text
//! config.json ─► config ───────┐                                                        container
//!                checked, as   ├─► plan ─► host/create ══ spawn: clone3 ══► inside/init ─► husk ─► execve
//!                it is meant   │   what      │   ▲                                           │
//!                machine ──────┘   to do     │   └─────── channel: a few rendezvous ─────────┘
//!                what this host can          ▼
//!                                          state    what later commands need to know
//! ```
//!
//! [`config`] turns a `config.json` into checked values that mean one thing. [`machine`] is what this host can do. [`plan`]
//! is both and a request, computed without touching anything. [`host`] and [`inside`] carry it out and decide nothing:
//! `host` in the runtime's namespaces, possibly in one of many threads, `inside` after the clone, alone in its process.
//! `docs/architecture.md` tells the whole story.
//!
//! The public API is [`Runtime`], [`Container`], [`CreateRequest`] and [`Error`]:
//!
//! ```no_run
//! fn main() -> corten::Result<()> {
//!     corten::run_if_sealed(); // first of all: the container's process is made from this executable
//!     let runtime = corten::Runtime::new("/run/my-engine");
//!     let request = corten::CreateRequest { id: "c1".into(), bundle: "/srv/bundle".into(), ..Default::default() };
//!     let mut container = runtime.create(&request)?;
//!     container.start()?;
//!     println!("{:?}", container.state()?.status);
//!     runtime.delete_forcibly("c1")
//! }
//! ```

pub mod channel;
pub mod config;
pub mod error;
pub mod fs;
pub mod host;
pub mod inside;
#[cfg(test)]
mod layers;
pub mod machine;
pub mod plan;
pub mod state;
pub mod subsystems;
pub mod sys;
pub mod timing;
#[cfg(test)]
mod waits;

pub use error::{Error, Kind, Result};
pub use host::{CheckpointRequest, Container, CreateRequest, RestoreRequest, Running, Runtime, StateDocument};
pub use inside::{run_if_sealed, set_logger};
pub use state::Status;

impl Runtime {
    /// Says that this program has no other threads while containers are made and programs executed in them: then a process for
    /// them may be a copy of this one, which saves the start of a program.
    ///
    /// Its panics abort (`panic = "abort"`), or what the copy unwinds would be undone twice; and its logger, if it has one, was
    /// set with [`set_logger`], or the copy would write to descriptors that it has closed.
    #[must_use]
    pub fn with_one_thread(self) -> Self {
        self.forking(inside::forked)
    }
}
