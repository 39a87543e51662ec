//! `process.scheduler`, `process.ioPriority` and `process.execCPUAffinity`: when and where the kernel lets a process run.

use oci_spec::runtime;
use serde::{Deserialize, Serialize};

use super::document::Node;
use super::number_set::NumberSet;
use crate::error::{Error, Result};

/// `process.scheduler`, as sched_setattr(2) takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// -20 (first served) to 19.
    pub nice: i32,
    /// 1 to 99 (first served) for FIFO and RR, else 0.
    pub priority: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nanoseconds, for DEADLINE, else 0.
    pub runtime: u64,
    /// Nanoseconds, for DEADLINE, else 0.
    pub deadline: u64,
    /// Nanoseconds, for DEADLINE, else 0.
    pub period: u64,
}

/// The kernel's policies (sched(7)). SCHED_ISO, which is reserved, has a number and no implementation.
pub const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// sched_setattr(2). The specification has no values for the two clamps, so what they clamp to is 0.
pub const SCHEDULER_FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// `process.ioPriority` (ioprio_set(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_*`.
    pub class: u32,
    /// 0 (first served) to 7.
    pub priority: u32,
}

/// The kernel's classes (ioprio_set(2)).
pub const IO_CLASSES: [(&str, u32); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// `process.execCPUAffinity`: for the processes that exec adds, not for the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecAffinity {
    /// The CPUs from which the process comes into the container's cgroup.
    pub initial: Option<NumberSet>,
    /// The CPUs that it has there. `None`: what the kernel makes of the initial ones.
    pub r#final: Option<NumberSet>,
}

impl Scheduler {
    /// SPEC(config, process.scheduler). Flags are read as written: oci-spec misspells two of them.
    pub(super) fn check(spec: Option<&runtime::Scheduler>, given: &Node<'_>) -> Result<Option<Self>> {
        let Some(spec) = spec else { return Ok(None) };
        let name = given.get("scheduler").get("policy").text().unwrap_or_default();
        let policy = number_of(&POLICIES, name).filter(|_| name != "SCHED_ISO");
        let policy = policy.ok_or_else(|| {
            Error::invalid("process.scheduler.policy", format!("{name} is reserved: no kernel implements it"))
        })?;
        let scheduler = Self {
            policy,
            nice: in_range("process.scheduler.nice", spec.nice().unwrap_or(0), -20, 19)?,
            priority: check_priority(name, spec.priority().unwrap_or(0))?,
            flags: check_flags(given.get("scheduler").get("flags"))?,
            runtime: spec.runtime().unwrap_or(0),
            deadline: spec.deadline().unwrap_or(0),
            period: spec.period().unwrap_or(0),
        };
        match name {
            "SCHED_DEADLINE" => scheduler.check_times()?,
            _ => scheduler.check_no_times()?,
        }
        Ok(Some(scheduler))
    }

    /// sched(7), "SCHED_DEADLINE": runtime <= deadline <= period, and a runtime of at least 1024 ns.
    fn check_times(&self) -> Result<()> {
        let Self { runtime, deadline, period, .. } = *self;
        let refused = |key: &str, why: String| Err(Error::invalid(format!("process.scheduler.{key}"), why));
        match () {
            () if runtime < 1024 => refused("runtime", format!("{runtime} ns is less than SCHED_DEADLINE needs, 1024")),
            () if deadline < runtime => {
                refused("deadline", format!("{deadline} ns is less than the runtime {runtime}"))
            }
            () if period != 0 && period < deadline => {
                refused("period", format!("{period} ns is less than the deadline {deadline}"))
            }
            () => Ok(()),
        }
    }

    fn check_no_times(&self) -> Result<()> {
        for (key, value) in [("runtime", self.runtime), ("deadline", self.deadline), ("period", self.period)] {
            if value != 0 {
                return Err(Error::invalid(
                    format!("process.scheduler.{key}"),
                    "is for the policy SCHED_DEADLINE only",
                ));
            }
        }
        Ok(())
    }

    /// What the policy is called.
    pub fn policy_name(&self) -> &'static str {
        POLICIES.iter().find(|(_, number)| *number == self.policy).map_or("an unknown policy", |(name, _)| name)
    }
}

/// SPEC(config, process.scheduler.priority): for FIFO and RR, where the kernel wants 1 to 99; else 0.
fn check_priority(policy: &str, priority: i32) -> Result<u32> {
    const PROPERTY: &str = "process.scheduler.priority";
    let priority = match policy {
        "SCHED_FIFO" | "SCHED_RR" => in_range(PROPERTY, priority, 1, 99)?,
        _ if priority != 0 => {
            return Err(Error::invalid(PROPERTY, "is for the policies SCHED_FIFO and SCHED_RR only"));
        }
        _ => 0,
    };
    Ok(priority.unsigned_abs())
}

fn check_flags(given: &Node<'_>) -> Result<u64> {
    given.items().iter().enumerate().try_fold(0, |flags, (index, item)| {
        let name = item.text().unwrap_or_default();
        let flag = number_of(&SCHEDULER_FLAGS, name).ok_or_else(|| {
            let names = SCHEDULER_FLAGS.map(|(name, _)| format!("{name:?}")).join(", ");
            let property = format!("process.scheduler.flags[{index}]");
            Error::invalid(property, format!("unknown value {name:?}, expected one of {names}"))
        })?;
        Ok(flags | flag)
    })
}

impl IoPriority {
    /// SPEC(config, process.ioPriority): 0 to 7.
    pub(super) fn check(spec: Option<&runtime::LinuxIOPriority>, given: &Node<'_>) -> Result<Option<Self>> {
        let Some(spec) = spec else { return Ok(None) };
        let name = given.get("ioPriority").get("class").text().unwrap_or_default();
        let class = number_of(&IO_CLASSES, name)
            .ok_or_else(|| Error::invalid("process.ioPriority.class", format!("unknown value {name:?}")))?;
        let priority = in_range("process.ioPriority.priority", spec.priority(), 0, 7)?;
        let priority = u32::try_from(priority).unwrap_or(0);
        Ok(Some(Self { class, priority }))
    }
}

impl ExecAffinity {
    /// SPEC(config, process.execCPUAffinity). Read as written: oci-spec refuses blanks and empty lists.
    pub(super) fn check(given: &Node<'_>) -> Result<Option<Self>> {
        let given = given.get("execCPUAffinity");
        let set = |key: &str| -> Result<Option<NumberSet>> {
            let property = format!("process.execCPUAffinity.{key}");
            match given.get(key) {
                Node::Null => Ok(None),
                Node::Text(list) => NumberSet::parse(&property, list),
                other => Err(Error::invalid(property, format!("expected a string, found {}", other.kind()))),
            }
        };
        let affinity = Self { initial: set("initial")?, r#final: set("final")? };
        Ok((affinity != Self::default()).then_some(affinity))
    }
}

fn number_of<N: Copy>(table: &[(&str, N)], name: &str) -> Option<N> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

fn in_range<N: Copy + PartialOrd + std::fmt::Display>(property: &str, value: N, least: N, most: N) -> Result<N> {
    if value < least || value > most {
        return Err(Error::invalid(property, format!("{value} is out of range ({least} to {most})")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{accept, assert_refused};
    use super::*;
    use crate::config::process::Process;
    use crate::error::Kind;

    fn process(members: Value) -> Value {
        json!({"process": members})
    }

    fn accepted(members: Value) -> Process {
        accept(&process(members)).process.unwrap()
    }

    #[test]
    fn schedulers() {
        let read = |members: Value| accepted(json!({"scheduler": members})).scheduler.unwrap();
        let policy = |policy: u32| Scheduler { policy, ..Scheduler::default() };
        assert_eq!(read(json!({"policy": "SCHED_OTHER", "nice": -20})), Scheduler { nice: -20, ..policy(0) });
        assert_eq!(read(json!({"policy": "SCHED_FIFO", "priority": 99})), Scheduler { priority: 99, ..policy(1) });
        assert_eq!(read(json!({"policy": "SCHED_RR", "priority": 1})), Scheduler { priority: 1, ..policy(2) });
        assert_eq!(read(json!({"policy": "SCHED_BATCH", "nice": 19})), Scheduler { nice: 19, ..policy(3) });
        assert_eq!(read(json!({"policy": "SCHED_IDLE"})), policy(5));
        assert_eq!(
            read(json!({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2048, "period": 4096})),
            Scheduler { runtime: 1024, deadline: 2048, period: 4096, ..policy(6) }
        );
        let all = SCHEDULER_FLAGS.map(|(name, _)| name);
        assert_eq!(read(json!({"policy": "SCHED_OTHER", "flags": all})), Scheduler { flags: 0x7f, ..policy(0) });
        assert_eq!(accepted(json!({})).scheduler, None);
    }

    #[test]
    fn io_priorities() {
        let read = |members: Value| accepted(json!({"ioPriority": members})).io_priority.unwrap();
        for (name, class) in IO_CLASSES {
            assert_eq!(read(json!({"class": name, "priority": 7})), IoPriority { class, priority: 7 });
        }
    }

    #[test]
    fn affinities() {
        let read = |members: Value| accepted(json!({"execCPUAffinity": members})).exec_affinity;
        let shown = |set: Option<NumberSet>| set.map(|set| set.to_string());
        let both = read(json!({"initial": "0-1, 3", "final": "2"})).unwrap();
        assert_eq!((shown(both.initial), shown(both.r#final)), (Some("0-1,3".to_owned()), Some("2".to_owned())));
        let first = read(json!({"initial": "1", "final": ""})).unwrap();
        assert_eq!((shown(first.initial), first.r#final), (Some("1".to_owned()), None));
        assert_eq!(read(json!({"initial": "", "final": null})), None);
    }

    #[test]
    fn refused() {
        let scheduler = |members: Value| process(json!({"scheduler": members}));
        let deadline = |runtime: u64, deadline: u64, period: u64| {
            let policy = "SCHED_DEADLINE";
            scheduler(json!({"policy": policy, "runtime": runtime, "deadline": deadline, "period": period}))
        };
        assert_refused(
            Kind::InvalidConfig,
            &[
                (
                    "reserved",
                    scheduler(json!({"policy": "SCHED_ISO"})),
                    "process.scheduler.policy: SCHED_ISO is reserved: no kernel implements it",
                ),
                (
                    "nice",
                    scheduler(json!({"policy": "SCHED_OTHER", "nice": 20})),
                    "process.scheduler.nice: 20 is out of range (-20 to 19)",
                ),
                (
                    "FIFO without priority",
                    scheduler(json!({"policy": "SCHED_FIFO"})),
                    "process.scheduler.priority: 0 is out of range (1 to 99)",
                ),
                (
                    "priority elsewhere",
                    scheduler(json!({"policy": "SCHED_IDLE", "priority": 1})),
                    "process.scheduler.priority: is for the policies SCHED_FIFO and SCHED_RR only",
                ),
                (
                    "times elsewhere",
                    scheduler(json!({"policy": "SCHED_RR", "priority": 1, "period": 5})),
                    "process.scheduler.period: is for the policy SCHED_DEADLINE only",
                ),
                (
                    "short runtime",
                    deadline(1023, 2000, 3000),
                    "process.scheduler.runtime: 1023 ns is less than SCHED_DEADLINE needs, 1024",
                ),
                (
                    "short deadline",
                    deadline(2000, 1999, 0),
                    "process.scheduler.deadline: 1999 ns is less than the runtime 2000",
                ),
                (
                    "short period",
                    deadline(2000, 3000, 2999),
                    "process.scheduler.period: 2999 ns is less than the deadline 3000",
                ),
                (
                    "flag",
                    scheduler(json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RECLAIM", "X"]})),
                    "process.scheduler.flags[1]: unknown value \"X\", expected one of \"SCHED_FLAG_RESET_ON_FORK\", \
                     \"SCHED_FLAG_RECLAIM\", \"SCHED_FLAG_DL_OVERRUN\", \"SCHED_FLAG_KEEP_POLICY\", \
                     \"SCHED_FLAG_KEEP_PARAMS\", \"SCHED_FLAG_UTIL_CLAMP_MIN\", \"SCHED_FLAG_UTIL_CLAMP_MAX\"",
                ),
                (
                    "I/O priority",
                    process(json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}})),
                    "process.ioPriority.priority: 8 is out of range (0 to 7)",
                ),
                (
                    "I/O class",
                    process(json!({"ioPriority": {"class": "X", "priority": 1}})),
                    "process.ioPriority.class: unknown value \"X\", expected one of \"IOPRIO_CLASS_RT\", \
                     \"IOPRIO_CLASS_BE\", \"IOPRIO_CLASS_IDLE\"",
                ),
                (
                    "affinity",
                    process(json!({"execCPUAffinity": {"initial": "0-3", "final": "3-1"}})),
                    "process.execCPUAffinity.final: \"3-1\" is not a list of numbers and ranges such as \"0-3,7\"",
                ),
                (
                    "affinity",
                    process(json!({"execCPUAffinity": {"initial": 3}})),
                    "process.execCPUAffinity.initial: expected a string, found a number",
                ),
            ],
        );
    }
}
