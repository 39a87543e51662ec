//! What later commands need to know of a container.
//!
//! ```text
//! <state root>/<id>/        made with mkdir: that is the reservation of the id; locked while somebody changes something
//!     corten.json           what create decided (record), replaced by rename
//!     start.fifo            create is complete and the first process waits; it is called .start.fifo before
//!     report.fifo           what start hears from it
//!     exec.plan             what further processes need to know
//!     notify/notify.sock    what the program says of its readiness, if a service manager is to be told
//! ```
//!
//! The status is in no file: it is derived from the process, the freezer and the FIFO each time somebody asks.
//! Directories of other runtimes below the same root have no `corten.json`; they are left alone.

pub mod dir;
pub mod id;
pub mod lock;
pub mod record;
pub mod status;

pub use dir::{ContainerDir, StateRoot};
pub use record::Record;
pub use status::Status;
