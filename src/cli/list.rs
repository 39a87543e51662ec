//! `list`.

use corten::error::{Error, Result};
use corten::host::Listed;
use corten::{Container, StateDocument};
use nix::errno::Errno;

use super::args::{Flag, FlagsEnd};
use super::{Command, Invocation, invalid, output};

pub(super) const COMMAND: Command = Command {
    name: "list",
    about: "List the containers",
    arguments: "",
    counts: (0, 0),
    flags: &[
        Flag::value("format", "FORMAT", "How it is printed: table or json [default: table]").or('f'),
        Flag::switch("quiet", "Print the ids only").or('q'),
    ],
    flags_end: FlagsEnd::Never,
    failure: 1,
    run,
};

fn run(invocation: &Invocation) -> Result<u8> {
    let format = invocation.value("format").unwrap_or("table".as_ref()).to_string_lossy();
    let found = match invocation.runtime()?.list()? {
        Some(found) => found,
        // COMPAT(runc): a root that nobody named is not there before the first container.
        None if !invocation.has_explicit_root() => Vec::new(),
        None => return Err(Error::call(format!("--root: open({:?})", invocation.root()?), Errno::ENOENT)),
    };
    let mut owners = Owners::default();
    let mut states = Vec::new();
    for Listed { id, container } in found {
        match container.and_then(|container| describe(&container, &mut owners)) {
            Ok(state) => states.push(state),
            Err(error) => output::complain(&format!("load container {id}: {error}")),
        }
    }
    let text = match &*format {
        _ if invocation.has("quiet") => states.iter().map(|state| format!("{}\n", state.id)).collect(),
        "table" => table(&states),
        "json" => json(&states)?,
        _ => return Err(invalid(format_args!("invalid format option: {format:?} is not table or json"))),
    };
    output::print(&text)?;
    Ok(0)
}

fn describe(container: &Container, owners: &mut Owners) -> Result<StateDocument> {
    let mut state = container.state()?;
    state.owner = owners.name(container.owner()?);
    Ok(state)
}

/// COMPAT(runc): none are `null`, as Go writes it.
fn json(states: &[StateDocument]) -> Result<String> {
    let text = if states.is_empty() { Ok("null".to_owned()) } else { serde_json::to_string(states) };
    Ok(text.map_err(invalid)? + "\n")
}

/// Names of users. Read from the file alone: a static program has no NSS.
#[derive(Debug, Default)]
struct Owners(Option<String>);

impl Owners {
    fn name(&mut self, uid: u32) -> String {
        let passwd = self.0.get_or_insert_with(|| std::fs::read_to_string("/etc/passwd").unwrap_or_default());
        name_in(passwd, uid).map_or_else(|| format!("#{uid}"), str::to_owned)
    }
}

fn name_in(passwd: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    })
}

/// COMPAT(CRI-O's tests): columns in runc's order, as Go's tabwriter aligns them.
fn table(states: &[StateDocument]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(states.iter().map(|state| {
        let bundle = state.bundle.to_string_lossy().into_owned();
        let status = state.status.to_owned();
        [state.id.clone(), state.pid.to_string(), status, bundle, state.created.clone(), state.owner.clone()]
    }));
    aligned(&rows)
}

/// Columns are as wide as their widest cell and three spaces, and at least twelve; the last one is not filled up.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..N.saturating_sub(1)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.extend(row.last().map(String::as_str));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: &str, bundle: &str) -> StateDocument {
        StateDocument {
            oci_version: "1.3.0",
            id: id.to_owned(),
            pid: 7,
            status: "running",
            bundle: bundle.into(),
            rootfs: "/r".into(),
            created: "2026-01-02T03:04:05.000000006Z".to_owned(),
            annotations: std::collections::BTreeMap::new(),
            owner: "root".to_owned(),
        }
    }

    #[test]
    fn as_a_table() {
        assert_eq!(
            table(&[state("a-long-container-id", "/b"), state("ä", "/srv/bundles/one")]),
            "\
ID                    PID         STATUS      BUNDLE             CREATED                          OWNER
a-long-container-id   7           running     /b                 2026-01-02T03:04:05.000000006Z   root
ä                     7           running     /srv/bundles/one   2026-01-02T03:04:05.000000006Z   root
"
        );
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    }

    #[test]
    fn as_json() {
        assert_eq!(json(&[]).unwrap(), "null\n");
        let expected = concat!(
            r#"[{"ociVersion":"1.3.0","id":"c","pid":7,"status":"running","bundle":"/b","rootfs":"/r","#,
            r#""created":"2026-01-02T03:04:05.000000006Z","owner":"root"}]"#,
            "\n"
        );
        assert_eq!(json(&[state("c", "/b")]).unwrap(), expected);
    }

    #[test]
    fn owners() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n+\nann:x:1000:100::/home/ann:\nbob:x:1000:1::/:\n";
        assert_eq!(name_in(passwd, 0), Some("root"));
        assert_eq!(name_in(passwd, 1000), Some("ann"));
        assert_eq!(name_in(passwd, 100), None);
    }
}
