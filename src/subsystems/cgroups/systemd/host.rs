//! The runtime's side: starting, asking, changing and stopping units.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::properties::Property;
use super::unit::object_path;
use super::{Unit, UnitPlan};
use crate::error::{Error, Kind, OrCall, Result, Within};
use crate::fs::procfs;
use crate::machine::cgroups::unified_path;
use crate::machine::systemd::{Answer, Bus, Connection, Refusal, Value};
use crate::subsystems::cgroups::host::Directory;
use crate::subsystems::cgroups::plan::Group;
use crate::sys;
use crate::sys::clone::Child;

/// How long a job may take: others' jobs may come first.
const PATIENCE: Duration = Duration::from_secs(30);
/// From here on a process can be named by its descriptor, which means the same in every pid namespace.
const PIDFDS_SINCE: u32 = 255;

/// The process that a scope is started with. Dropped, it is killed.
#[derive(Debug)]
pub struct Placeholder(Child);

impl Placeholder {
    fn new() -> Result<Self> {
        sys::clone::placeholder().map(Self).or_call(|| "clone3").within(|| "make a placeholder")
    }

    fn property(&self, version: u32) -> Property {
        if version >= PIDFDS_SINCE {
            return Property::new("PIDFDs", Value::Array("h".to_owned(), vec![Value::UnixFd(0)]));
        }
        let pid = Value::Uint32(self.0.pid.unsigned_abs());
        Property::new("PIDs", Value::Array("u".to_owned(), vec![pid]))
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        let _ = sys::pidfd::send_signal(&self.0.pidfd, libc::SIGKILL);
        let _ = sys::pidfd::reap(&self.0.pidfd);
    }
}

/// Starts the unit. The answer is the process that a scope needs until another one is inside.
///
/// `Err` with [`Kind::Busy`]: there is one of that name, which is not ours.
pub fn start(plan: &UnitPlan) -> Result<Option<Placeholder>> {
    let placeholder = if plan.unit.is_slice() { None } else { Some(Placeholder::new()?) };
    let mut properties = plan.properties.clone();
    properties.extend(placeholder.as_ref().map(|placeholder| placeholder.property(plan.unit.version)));
    let fds: Vec<BorrowedFd<'_>> = match &placeholder {
        Some(placeholder) if plan.unit.version >= PIDFDS_SINCE => vec![placeholder.0.pidfd.as_fd()],
        _ => Vec::new(),
    };
    let starting = || -> Result<()> {
        let name = Value::text(&plan.unit.name);
        let auxiliary = Value::Array("(sa(sv))".to_owned(), Vec::new());
        let body = [name, Value::text("replace"), array(&properties), auxiliary];
        let mut connection = Connection::open(&plan.unit.bus)?;
        connection.listen_for_jobs()?;
        let job = match ask_to_start(&mut connection, &body, &fds)? {
            Err(refusal) if refusal.name.ends_with(".UnitExists") => {
                // One that failed stays, for people to see; it may have been ours.
                log::debug!("{:?}: resetting what is left of it", plan.unit.name);
                drop(connection.call("ResetFailedUnit", &body[..1])?);
                ask_to_start(&mut connection, &body, &fds)?
            }
            answer => answer,
        };
        let job = job.map_err(|refusal| blame(refusal, plan))?;
        let result = job_result(&mut connection, &job, PATIENCE)?;
        if result == "done" { Ok(()) } else { Err(Error::new(Kind::Failed, format!("the job ended as {result:?}"))) }
    };
    starting().within(|| format!("start systemd unit {:?}", plan.unit.name))?;
    Ok(placeholder)
}

/// Systemd names the property that it does not take, as a rule; those of annotations are the user's.
fn blame(refusal: Refusal, plan: &UnitPlan) -> Error {
    let mut of_annotations = plan.properties.iter().filter(|property| property.annotation.is_some());
    let named = of_annotations.clone().find(|property| refusal.text.contains(&property.name));
    let property = match named.and_then(|property| property.annotation.as_ref()) {
        Some(annotation) => Some(format!("annotations[{annotation:?}]")),
        None => {
            (refusal.name.ends_with("InvalidArgs") && of_annotations.next().is_some()).then(|| "annotations".into())
        }
    };
    let error = Error::from(refusal);
    match (property, error.kind()) {
        (Some(property), _) => error.within(property),
        (None, Kind::Busy) => error.within("linux.cgroupsPath"),
        (None, _) => error,
    }
}

fn ask_to_start(connection: &mut Connection, body: &[Value], fds: &[BorrowedFd<'_>]) -> Result<Answer> {
    let serial = connection.send("StartTransientUnit", body, fds)?;
    connection.answer(serial, "StartTransientUnit")
}

/// `a(sv)`.
fn array(properties: &[Property]) -> Value {
    let pair = |property: &Property| {
        Value::Struct(vec![Value::text(&property.name), Value::Variant(Box::new(property.value.clone()))])
    };
    Value::Array("(sv)".to_owned(), properties.iter().map(pair).collect())
}

fn job_result(connection: &mut Connection, answer: &[Value], patience: Duration) -> Result<String> {
    match answer {
        [Value::ObjectPath(job)] => connection.job_result(job, patience),
        _ => Err(Error::new(Kind::Failed, "the answer names no job")),
    }
}

/// Stops the unit and forgets it, waiting until `deadline`. One that is gone is fine.
pub fn stop(unit: &Unit, deadline: Instant) -> Result<()> {
    let stopping = || -> Result<()> {
        let name = [Value::text(&unit.name)];
        let mut connection = Connection::open(&unit.bus)?;
        connection.listen_for_jobs()?;
        match unless_gone(connection.call("StopUnit", &[Value::text(&unit.name), Value::text("replace")])?)? {
            None => Ok(()),
            Some(answer) => {
                job_result(&mut connection, &answer, deadline.saturating_duration_since(Instant::now()))?;
                // What was killed, or ran out of memory, has failed for systemd, and would stay.
                unless_gone(connection.call("ResetFailedUnit", &name)?).map(drop)
            }
        }
    };
    stopping().within(|| format!("stop systemd unit {:?}", unit.name))
}

/// `None`: there is no such unit.
fn unless_gone(answer: Answer) -> Result<Option<Vec<Value>>> {
    match answer {
        Ok(body) => Ok(Some(body)),
        Err(Refusal { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Moves a process into the unit, or into the group at `below` in it.
pub fn attach(unit: &Unit, below: &str, pid: i32) -> Result<()> {
    let pids = Value::Array("u".to_owned(), vec![Value::Uint32(pid.unsigned_abs())]);
    call(unit, "AttachProcessesToUnit", &[Value::text(&unit.name), Value::text(below), pids]).map(drop)
}

/// Whether only the user's systemd may move a process from where we are to `group`.
///
/// KERNEL: that needs the right to write `cgroup.procs` of the deepest group which both places are below (cgroups(7), "Cgroups
/// delegation"). In a session, beside that systemd, a user does not have it; systemd asks the system's to do it.
pub fn is_out_of_reach(unit: &Unit, group: &Group) -> Result<bool> {
    if unit.bus == Bus::System {
        return Ok(false);
    }
    let own = procfs::read_own("/proc/self/cgroup")?;
    let own = unified_path(&own).unwrap_or("/");
    let common = Directory::at(&group.mount_point.join(common(own, &group.path)))?;
    Ok(common.open_file("cgroup.procs", OFlag::O_WRONLY).is_err())
}

/// The deepest group that both are in, without the slash at its beginning.
fn common(one: &str, other: &str) -> PathBuf {
    let both = one.split('/').zip(other.split('/')).take_while(|(one, other)| one == other);
    both.map(|(name, _)| name).collect()
}

/// Changes properties of the unit, until it is stopped. They are in force when this returns.
pub fn set_properties(unit: &Unit, properties: &[Property]) -> Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    call(unit, "SetUnitProperties", &[Value::text(&unit.name), Value::Boolean(true), array(properties)])?;
    // ORDER: systemd answers, then writes to the kernel's files, then reads the next message.
    read_properties(unit, &[]).map(drop)
}

/// What properties of these names are now. Those that the unit does not have are left out.
pub fn read_properties(unit: &Unit, names: &[&str]) -> Result<Vec<Property>> {
    let interface = if unit.is_slice() { "Slice" } else { "Scope" };
    let reading = || -> Result<Vec<Property>> {
        let mut connection = Connection::open(&unit.bus)?;
        let body = [Value::text(format!("org.freedesktop.systemd1.{interface}"))];
        let path = object_path(&unit.name);
        let serial = connection.send_to(&path, "org.freedesktop.DBus.Properties", "GetAll", &body)?;
        let answer = connection.answer(serial, "GetAll")??;
        let [Value::Array(_, entries)] = answer.as_slice() else { return Ok(Vec::new()) };
        let wanted = |entry: &Value| match entry {
            Value::DictEntry(entry) => match entry.as_ref() {
                (Value::String(name), Value::Variant(value)) if names.contains(&name.as_str()) => {
                    Some(Property::new(name, value.as_ref().clone()))
                }
                _ => None,
            },
            _ => None,
        };
        Ok(entries.iter().filter_map(wanted).collect())
    };
    reading().within(|| format!("read properties of systemd unit {:?}", unit.name))
}

fn call(unit: &Unit, member: &str, body: &[Value]) -> Result<Vec<Value>> {
    let calling = || -> Result<Vec<Value>> { Ok(Connection::open(&unit.bus)?.call(member, body)??) };
    calling().within(|| format!("{member}({:?})", unit.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_that_both_are_below() {
        for (own, path, expected) in [
            ("/user.slice/u/app.slice/run.scope", "/user.slice/u/user.slice/c.scope", "user.slice/u"),
            ("/user.slice/session.scope", "/user.slice/u/c.scope", "user.slice"),
            ("/init.scope", "/user.slice/c.scope", ""),
            ("/", "/user.slice/c.scope", ""),
        ] {
            assert_eq!(common(own, path), PathBuf::from(expected), "{own} {path}");
        }
    }
}
