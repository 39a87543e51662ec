//! `--version`.

use corten::subsystems::hooks::OCI_VERSION;
use libseccomp::ScmpVersion;

/// Where the source came from: the Makefile says it at build time.
pub(super) const COMMIT: Option<&str> = option_env!("CORTEN_COMMIT");

/// COMPAT(Docker, go-runc): "version" on the first line alone, then `commit:` and `spec:`.
pub(super) fn text(program: &str) -> String {
    let commit = COMMIT.unwrap_or("unknown");
    let libseccomp = libseccomp().map(|version| format!("libseccomp: {version}\n")).unwrap_or_default();
    format!("{program} version {}\ncommit: {commit}\nspec: {OCI_VERSION}\n{libseccomp}", env!("CARGO_PKG_VERSION"))
}

/// Of the library that we are linked with.
pub(super) fn libseccomp() -> Option<String> {
    ScmpVersion::current().ok().map(|version| version.to_string())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn only_the_first_line_is_about_the_version() {
        let text = text("runc");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("runc version 0."), "{text}");
        assert!(lines[1].starts_with("commit: ") && lines[2] == "spec: 1.3.0", "{text}");
        assert!(lines[3].starts_with("libseccomp: 2."), "{text}");
        assert!(lines[1..].iter().all(|line| !line.contains("version")), "{text}");
    }
}
