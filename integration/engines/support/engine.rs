//! An engine with its cases.

use std::sync::{Arc, OnceLock};

use libtest_mimic::{Failed, Trial};

use super::case::{self, Case};
use super::daemon::Daemon;

/// What serves cases.
pub trait Engine: Sized + Send + Sync + 'static {
    fn cases() -> Vec<Case<Self>>;

    /// A panic is the failure of all its cases.
    fn start() -> Self;

    /// Whose log tells why a case failed.
    fn daemon(&self) -> &Daemon;

    /// What is left, in words.
    fn stop(self) -> Vec<String>;
}

/// An engine that is started when it is needed.
pub struct Group<E> {
    engine: Arc<OnceLock<Result<E, String>>>,
}

impl<E: Engine> Group<E> {
    pub fn new() -> Self {
        Self { engine: Arc::default() }
    }

    /// For the harness. They hold the engine until they have run.
    pub fn trials(&self) -> Vec<Trial> {
        let trial = |(name, function): Case<E>| {
            let engine = Arc::clone(&self.engine);
            let name = name.split_once("::").map_or(name, |(_, name)| name);
            Trial::test(name, move || try_case(&engine, function))
        };
        E::cases().into_iter().map(trial).collect()
    }

    /// Once all cases have run.
    pub fn stop(self) -> Vec<String> {
        match Arc::into_inner(self.engine).and_then(OnceLock::into_inner) {
            Some(Ok(engine)) => engine.stop(),
            _ => Vec::new(),
        }
    }
}

fn try_case<E: Engine>(engine: &OnceLock<Result<E, String>>, function: fn(&E)) -> Result<(), Failed> {
    let start = || {
        let mut engine = None;
        case::run(|| engine = Some(E::start()))?;
        Ok(engine.expect("started"))
    };
    let engine = engine.get_or_init(start).as_ref()?;
    case::run(|| function(engine)).map_err(|panic| format!("{panic}\n{}", engine.daemon().log_tail()).into())
}
