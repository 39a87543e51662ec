//! A group and all that are below it, however deep they are nested.
//!
//! A container that may write to its cgroup nests groups as it likes: their paths become longer than the kernel takes, and
//! a function that calls itself for each level uses up its stack or its descriptors. So the walk goes from one held
//! directory to the next, down by name and up by `..`, with two of them open at any time.

use std::ffi::{OsStr, OsString};

use super::directory::Directory;
use crate::error::Result;

/// Visits `top` and the groups below it, each before those that are in it. One that goes meanwhile is left out.
pub fn outermost_first(top: &Directory, mut visit: impl FnMut(&Directory) -> Result<()>) -> Result<()> {
    visit(top)?;
    walk(top, visit, |_, _| Ok(()))
}

/// Visits the groups below `top`, and not `top` itself, each after those that are in it: by its parent, and its name there.
pub fn innermost_first(top: &Directory, visit: impl FnMut(&Directory, &OsStr) -> Result<()>) -> Result<()> {
    walk(top, |_| Ok(()), visit)
}

/// A group on the way from the top to where the walk is.
struct Level {
    name: OsString,
    /// Those in it that were not visited yet.
    left: Vec<OsString>,
}

fn walk(
    top: &Directory,
    mut enter: impl FnMut(&Directory) -> Result<()>,
    mut leave: impl FnMut(&Directory, &OsStr) -> Result<()>,
) -> Result<()> {
    let mut current = top.itself()?;
    let mut way = vec![Level { name: OsString::new(), left: current.children()? }];
    while let Some(level) = way.last_mut() {
        if let Some(name) = level.left.pop() {
            let Some(child) = current.find_child(&name)? else { continue };
            enter(&child)?;
            way.push(Level { name, left: child.children()? });
            current = child;
        } else if let Some(Level { name, .. }) = way.pop()
            && !way.is_empty()
        {
            current = current.parent()?;
            leave(&current, &name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Any filesystem does: what a cgroup's directory is for the walk is a directory.
    fn top(paths: &[&str]) -> (tempfile::TempDir, Directory) {
        let place = tempfile::tempdir().unwrap();
        for path in paths {
            for part in Path::new(path).ancestors().collect::<Vec<_>>().into_iter().rev() {
                let _ = std::fs::create_dir(place.path().join(part));
            }
        }
        let top = Directory::at(place.path()).unwrap();
        (place, top)
    }

    #[test]
    fn innermost_first_is_an_order_in_which_directories_can_be_removed() {
        let (place, top) = top(&["a/b/c", "a/d", "e"]);
        innermost_first(&top, |parent, name| {
            nix::unistd::unlinkat(parent, name, nix::unistd::UnlinkatFlags::RemoveDir).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn outermost_first_sees_what_a_visit_makes() {
        let (place, top) = top(&["a"]);
        let mut visits = 0;
        outermost_first(&top, |group| {
            visits += 1;
            if visits == 2 {
                nix::sys::stat::mkdirat(group, "b", nix::sys::stat::Mode::S_IRWXU).unwrap();
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(visits, 3);
        assert!(place.path().join("a/b").is_dir());
    }

    #[test]
    fn what_goes_meanwhile_is_left_out() {
        let (place, top) = top(&["a/b", "c"]);
        let mut visits = 0;
        outermost_first(&top, |_| {
            visits += 1;
            let _ = std::fs::remove_dir_all(place.path());
            Ok(())
        })
        .unwrap();
        assert_eq!(visits, 1);
    }
}
