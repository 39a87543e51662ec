//! `ps`.

use std::ffi::OsString;
use std::process::Command as Process;

use corten::error::{Error, Kind, Result, Within};
use corten::sys::signal;

use super::args::{Flag, FlagsEnd};
use super::{Command, Invocation, invalid, output};

pub(super) const COMMAND: Command = Command {
    name: "ps",
    about: "List the processes of a container",
    arguments: "<container-id> [ps options]",
    counts: (1, usize::MAX),
    flags: &[Flag::value("format", "FORMAT", "How they are printed: table or json [default: table]").or('f')],
    flags_end: FlagsEnd::AtFirstArgument,
    failure: 1,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    let format = invocation.value("format").unwrap_or("table".as_ref()).to_string_lossy();
    let pids = invocation.runtime()?.find(invocation.id()?)?.processes()?;
    let text = match &*format {
        "table" => table(&ask_ps(&invocation.further_arguments())?, &pids)?,
        "json" => serde_json::to_string(&pids).map_err(invalid)? + "\n",
        _ => return Err(invalid(format_args!("invalid format option: {format:?} is not table or json"))),
    };
    output::print(&text)?;
    Ok(0)
}

/// What ps(1) prints about all processes.
fn ask_ps(options: &[OsString]) -> Result<String> {
    let mut ps = Process::new("ps");
    if options.is_empty() {
        ps.arg("-ef");
    } else {
        ps.args(options);
    }
    signal::reset_in(&mut ps);
    let answer = ps.output().map_err(|error| Error::io("exec \"ps\" from $PATH", &error))?;
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
    }
    // What follows the first line is how to use it.
    let said = String::from_utf8_lossy(&answer.stderr);
    Err(Error::new(Kind::Failed, said.lines().next().unwrap_or_default())).within(|| format!("ps: {}", answer.status))
}

/// The header and the lines about these processes. COMPAT(runc): its words.
fn table(text: &str, pids: &[i32]) -> Result<String> {
    let header = text.lines().next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::new(Kind::InvalidConfig, "couldn't find PID field in ps output"))?;
    let mut table = format!("{header}\n");
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let pid: Option<i32> = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        let pid = pid.ok_or_else(|| Error::new(Kind::Failed, format!("unable to parse pid: {line:?}")))?;
        if pids.contains(&pid) {
            table.push_str(line);
            table.push('\n');
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PS_EF: &str = "\
UID          PID    PPID  C STIME TTY          TIME CMD
root           1       0  0 10:00 ?        00:00:01 /sbin/init
root          64       1 12 12:16 ?        00:00:00 sleep 12
1000          12      64  0 12:16 ?        00:00:00 sh -c 64
";

    #[test]
    fn lines_of_these_processes() {
        let header = "UID          PID    PPID  C STIME TTY          TIME CMD\n";
        let first = "root          64       1 12 12:16 ?        00:00:00 sleep 12\n";
        let second = "1000          12      64  0 12:16 ?        00:00:00 sh -c 64\n";
        assert_eq!(table(PS_EF, &[64, 12]).unwrap(), format!("{header}{first}{second}"));
        assert_eq!(table(PS_EF, &[64]).unwrap(), format!("{header}{first}"));
        assert_eq!(table(PS_EF, &[]).unwrap(), header);
    }

    #[test]
    fn a_table_without_pids() {
        for (text, expected) in [
            ("USER\nroot\n", "couldn't find PID field in ps output"),
            ("", "couldn't find PID field in ps output"),
            ("USER PID\nroot x\n", "unable to parse pid: \"root x\""),
            ("USER PID\nroot\n", "unable to parse pid: \"root\""),
        ] {
            assert_eq!(table(text, &[1]).unwrap_err().to_string(), expected, "{text:?}");
        }
    }
}
