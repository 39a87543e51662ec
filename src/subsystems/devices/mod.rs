//! Device nodes: those that every container has, and `linux.devices`.

pub mod inside;
pub mod plan;

pub use plan::DevicesPlan;
