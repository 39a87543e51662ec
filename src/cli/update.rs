//! `update`.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use corten::config::Resources;
use corten::config::rdt::Schemata;
use corten::error::{OrCall, Result, Within};
use serde_json::{Map, Value, json};

use super::args::{Flag, FlagsEnd};
use super::{Command, Invocation, invalid, size};

pub(super) const COMMAND: Command = Command {
    name: "update",
    about: "Change the limits of a container",
    arguments: "<container-id>",
    counts: (1, 1),
    flags: &[
        Flag::value("resources", "FILE", "Limits as in linux.resources of a config.json, \"-\": from standard input")
            .or('r'),
        Flag::value("blkio-weight", "NUMBER", "Weight among others who read and write, 10 to 1000"),
        Flag::value("cpu-period", "MICROSECONDS", "Period to which the quota belongs"),
        Flag::value("cpu-quota", "MICROSECONDS", "CPU time in each period; -1: no limit"),
        Flag::value("cpu-burst", "MICROSECONDS", "Unused quota that may be saved up"),
        Flag::value("cpu-share", "NUMBER", "Weight among others who compute, 2 to 262144"),
        Flag::value("cpu-rt-period", "MICROSECONDS", "Period to which the realtime runtime belongs"),
        Flag::value("cpu-rt-runtime", "MICROSECONDS", "Realtime CPU time in each period"),
        Flag::value("cpu-idle", "0|1", "Whether it only gets CPU time that nobody else wants"),
        Flag::value("cpuset-cpus", "LIST", "CPUs that it may use: 0-3,7"),
        Flag::value("cpuset-mems", "LIST", "Memory nodes that it may use"),
        Flag::value("kernel-memory", "SIZE", "Ignored").hidden(),
        Flag::value("kernel-memory-tcp", "SIZE", "Ignored").hidden(),
        Flag::value("memory", "SIZE", "Memory: bytes, or with a unit such as k, M, GiB; -1: no limit"),
        Flag::value("memory-reservation", "SIZE", "Memory that it keeps when memory is scarce"),
        Flag::value("memory-swap", "SIZE", "Memory and swap together; -1: no limit"),
        Flag::value("pids-limit", "NUMBER", "Processes and threads; -1: no limit"),
        Flag::value(L3_CACHE_SCHEMA, "SCHEMA", "Share of the L3 caches: L3:0=7f0;1=1f"),
        Flag::value(MEM_BW_SCHEMA, "SCHEMA", "Share of the memory bandwidth: MB:0=20;1=70"),
    ],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

/// Not below `linux.resources`, so that they count also beside a document.
const L3_CACHE_SCHEMA: &str = "l3-cache-schema";
const MEM_BW_SCHEMA: &str = "mem-bw-schema";

/// How a flag's value is read.
#[derive(Clone, Copy, Debug)]
enum Form {
    Number,
    Size,
    Text,
}

/// A flag, where its value stands below `linux.resources`, and its form.
const LIMITS: [(&str, [&str; 2], Form); 14] = [
    ("blkio-weight", ["blockIO", "weight"], Form::Number),
    ("cpu-period", ["cpu", "period"], Form::Number),
    ("cpu-quota", ["cpu", "quota"], Form::Number),
    ("cpu-burst", ["cpu", "burst"], Form::Number),
    ("cpu-share", ["cpu", "shares"], Form::Number),
    ("cpu-rt-period", ["cpu", "realtimePeriod"], Form::Number),
    ("cpu-rt-runtime", ["cpu", "realtimeRuntime"], Form::Number),
    ("cpu-idle", ["cpu", "idle"], Form::Number),
    ("cpuset-cpus", ["cpu", "cpus"], Form::Text),
    ("cpuset-mems", ["cpu", "mems"], Form::Text),
    ("memory", ["memory", "limit"], Form::Size),
    ("memory-reservation", ["memory", "reservation"], Form::Size),
    ("memory-swap", ["memory", "swap"], Form::Size),
    ("pids-limit", ["pids", "limit"], Form::Number),
];

fn run(invocation: &Invocation) -> Result<u8> {
    let document = match invocation.path("resources") {
        // COMPAT(runc): then the other flags mean nothing.
        Some(path) => read(&path).within(|| "--resources")?,
        None => {
            warn_of_kernel_memory(invocation);
            from_flags(|flag| invocation.value(flag))?.to_string().into_bytes()
        }
    };
    let (resources, warnings) = Resources::parse(&document)?;
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    let schemata = schemata(|flag| invocation.value(flag))?;
    invocation.runtime()?.find(invocation.id()?)?.update(&resources, &schemata)?;
    Ok(0)
}

fn schemata<'a>(value_of: impl Fn(&str) -> Option<&'a OsStr>) -> Result<Schemata> {
    let value = |flag: &str| value_of(flag).map(OsStr::to_string_lossy);
    let (cache, bandwidth) = (value(L3_CACHE_SCHEMA), value(MEM_BW_SCHEMA));
    Schemata::of(
        (&format!("--{L3_CACHE_SCHEMA}"), cache.as_deref()),
        (&format!("--{MEM_BW_SCHEMA}"), bandwidth.as_deref()),
    )
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path).or_call(|| format!("read({path:?})"));
    }
    let mut document = Vec::new();
    std::io::stdin().read_to_end(&mut document).or_call(|| "read(standard input)")?;
    Ok(document)
}

fn warn_of_kernel_memory(invocation: &Invocation) {
    for flag in ["kernel-memory", "kernel-memory-tcp"] {
        if invocation.value(flag).is_some() {
            log::warn!("--{flag}: ignored: it counts as memory");
        }
    }
}

/// The flags as a document, which is checked like one that somebody wrote.
fn from_flags<'a>(value_of: impl Fn(&str) -> Option<&'a OsStr>) -> Result<Value> {
    let mut document = Map::new();
    for (flag, [object, member], form) in LIMITS {
        let Some(value) = value_of(flag) else { continue };
        let value = read_value(&value.to_string_lossy(), form).within(|| format!("--{flag}"))?;
        document.entry(object).or_insert_with(|| json!({}))[member] = value;
    }
    Ok(Value::Object(document))
}

fn read_value(text: &str, form: Form) -> Result<Value> {
    match form {
        Form::Text => Ok(text.into()),
        Form::Number => {
            let number = text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from));
            number.map_err(|_| invalid(format_args!("{text:?} is not a whole number")))
        }
        Form::Size if text == "-1" => Ok((-1).into()),
        Form::Size => size::parse(text)
            .map(Value::from)
            .ok_or_else(|| invalid(format_args!("{text:?} is not a size such as 512k, 100M or 1.5GiB, nor -1"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(flags: &[(&str, &str)]) -> Result<Value> {
        let value_of = |flag: &str| flags.iter().find(|(name, _)| *name == flag).map(|(_, value)| OsStr::new(*value));
        from_flags(value_of)
    }

    #[test]
    fn each_flag_is_a_property() {
        for (flag, value, expected) in [
            ("blkio-weight", "400", json!({"blockIO": {"weight": 400}})),
            ("cpu-period", "900000", json!({"cpu": {"period": 900_000}})),
            ("cpu-quota", "-1", json!({"cpu": {"quota": -1}})),
            ("cpu-burst", "0", json!({"cpu": {"burst": 0}})),
            ("cpu-share", "200", json!({"cpu": {"shares": 200}})),
            ("cpu-rt-period", "18446744073709551615", json!({"cpu": {"realtimePeriod": u64::MAX}})),
            ("cpu-rt-runtime", "600000", json!({"cpu": {"realtimeRuntime": 600_000}})),
            ("cpu-idle", "1", json!({"cpu": {"idle": 1}})),
            ("cpuset-cpus", "0-1,3", json!({"cpu": {"cpus": "0-1,3"}})),
            ("cpuset-mems", "0", json!({"cpu": {"mems": "0"}})),
            ("memory", "64M", json!({"memory": {"limit": 64 << 20}})),
            ("memory", "-1", json!({"memory": {"limit": -1}})),
            ("memory-reservation", "1.5k", json!({"memory": {"reservation": 1536}})),
            ("memory-swap", "96000000", json!({"memory": {"swap": 96_000_000}})),
            ("pids-limit", "0", json!({"pids": {"limit": 0}})),
        ] {
            assert_eq!(document(&[(flag, value)]).unwrap(), expected, "--{flag} {value}");
        }
        assert_eq!(document(&[]).unwrap(), json!({}));
        let both = document(&[("memory", "1"), ("memory-swap", "2"), ("cpu-quota", "3")]).unwrap();
        assert_eq!(both, json!({"memory": {"limit": 1, "swap": 2}, "cpu": {"quota": 3}}));
    }

    #[test]
    fn what_is_no_number_names_the_flag() {
        for (flag, value, expected) in [
            ("cpu-share", "many", "--cpu-share: \"many\" is not a whole number"),
            ("cpu-quota", "1.5", "--cpu-quota: \"1.5\" is not a whole number"),
            ("pids-limit", "18446744073709551616", "--pids-limit: \"18446744073709551616\" is not a whole number"),
            ("memory", "-2", "--memory: \"-2\" is not a size such as 512k, 100M or 1.5GiB, nor -1"),
        ] {
            assert_eq!(document(&[(flag, value)]).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn every_flag_is_read() {
        let others = ["resources", "kernel-memory", "kernel-memory-tcp", L3_CACHE_SCHEMA, MEM_BW_SCHEMA];
        for flag in COMMAND.flags {
            let known = others.contains(&flag.long) || LIMITS.iter().any(|(name, ..)| *name == flag.long);
            assert!(known, "{flag:?}");
        }
        assert_eq!(COMMAND.flags.len(), LIMITS.len() + others.len());
    }
}
