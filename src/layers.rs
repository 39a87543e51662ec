//! The arrows between modules point one way; this test reads every `crate::` path and fails on the line that breaks it.

use std::path::{Path, PathBuf};

/// A module imports only from its own line and from those above. `inside` and `host` share one, and never import each
/// other.
const LAYERS: [&[&str]; 11] = [
    &["error", "timing"],
    &["sys"],
    &["fs"],
    &["config"],
    &["machine"],
    &["subsystems"],
    &["plan"],
    &["channel"],
    &["state"],
    &["inside", "host"],
    &["cli"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every line of the library, with the module that it is in.
pub fn lines() -> Vec<(String, PathBuf, usize, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut lines = Vec::new();
    for path in files {
        let relative = path.strip_prefix(&root).unwrap().to_owned();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let module = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            lines.push((module.clone(), relative.clone(), number + 1, line.to_owned()));
        }
    }
    lines
}

/// `crate::a::b` and the names of `crate::{a, b::c}` at its beginning.
fn imported(line: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for piece in line.split("crate::").skip(1) {
        let names: Vec<&str> = match piece.strip_prefix('{') {
            Some(list) => list.trim_end_matches("};").split(',').collect(),
            None => vec![piece],
        };
        for name in names {
            let end = name.trim().find(|letter: char| !letter.is_alphanumeric() && letter != '_');
            modules.push(name.trim()[..end.unwrap_or(name.trim().len())].to_owned());
        }
    }
    modules
}

#[test]
fn arrows_point_one_way() {
    let mut wrong = Vec::new();
    for (module, path, number, line) in lines() {
        let Some(own) = layer(&module) else { continue };
        if line.trim_start().starts_with("//") {
            continue;
        }
        for target in imported(&line) {
            let Some(other) = layer(&target) else { continue };
            if other > own || (other == own && target != module) {
                wrong.push(format!("src/{}:{number}: {module} imports {target}: {line}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_place() {
    let known = |module: &str| layer(module).is_some() || matches!(module, "lib" | "main" | "layers" | "waits");
    let mut unknown: Vec<_> = lines().into_iter().map(|(module, ..)| module).filter(|module| !known(module)).collect();
    unknown.dedup();
    assert_eq!(unknown, Vec::<String>::new());
}

/// The first door is opened where the process has just started, and nowhere else (`subsystems::doors`).
#[test]
fn only_inside_opens_the_first_door() {
    for (module, path, number, line) in lines() {
        let opens = line.contains("first_step()") && !path.ends_with("subsystems/doors.rs") && module != "layers";
        assert!(!opens || module == "inside", "src/{}:{number}: {line}", path.display());
    }
}

#[test]
fn paths_are_found_in_lines() {
    assert_eq!(imported("use crate::error::{Error, Result};"), ["error"]);
    assert_eq!(imported("use crate::{fs, sys::fd};"), ["fs", "sys"]);
    assert_eq!(imported("let x = crate::host::A + crate::cli::b();"), ["host", "cli"]);
}
