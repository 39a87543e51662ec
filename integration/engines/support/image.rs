//! Images that are made here: there is no registry.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::rootfs;
use super::run::Run;

/// busybox, with the users root and `user` (1000).
pub const BOX: &str = "localhost/box:latest";

/// The files of an image, as a tar archive.
pub struct Layer {
    pub archive: PathBuf,
}

impl Layer {
    /// Of busybox. `directory` does not exist yet and will hold the archive.
    pub fn busybox(directory: &Path) -> Self {
        let tree = directory.join("tree");
        rootfs::make(&tree);
        let archive = directory.join("layer.tar");
        Run::new("tar")
            .args(["--numeric-owner", "--owner=0", "--group=0", "-cf"])
            .arg(&archive)
            .arg("-C")
            .arg(&tree)
            .arg(".")
            .output()
            .ok();
        Self { archive }
    }

    /// An archive as `docker save` writes it, which every engine can load: an image `name` that is this layer and runs `sh`.
    pub fn image(&self, name: &str) -> PathBuf {
        self.image_of(name, "sh")
    }

    /// The same with another command.
    pub fn image_of(&self, name: &str, command: &str) -> PathBuf {
        let directory = self.archive.parent().unwrap();
        let digest = Run::new("sha256sum").arg(&self.archive).output().ok().stdout;
        let digest = digest.split(' ').next().unwrap();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Cmd": command.split(' ').collect::<Vec<_>>(), "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
            "history": [{ "created_by": "corten's tests" }],
        });
        let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
        let image = directory.join("image.tar");
        let files = ["manifest.json", "config.json", "layer.tar"];
        Run::new("tar").arg("-cf").arg(&image).arg("-C").arg(directory).args(files).output().ok();
        image
    }
}
