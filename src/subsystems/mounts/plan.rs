//! `mounts[]` and the root filesystem as steps to take, computed without touching anything.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::options::{Change, Options};
use crate::config::{Config, IdMappings, Mount, NamespaceKind, Propagation};
use crate::error::{Error, Result};
use crate::machine::cgroups::{CgroupLayout, MOUNT_POINT};
use crate::subsystems::cgroups::{CgroupPlan, Version};
use crate::sys::fd::Passed;
use crate::sys::mount::{Reach, attr};

/// How the container gets its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSwitch {
    /// pivot_root(2), in a mount namespace of our own.
    Pivot,
    /// The root is moved over `/` and chroot(2) follows: for hosts that run from a ramdisk (`--no-pivot`).
    Move,
    /// chroot(2) only: the mount namespace is somebody else's too.
    Chroot,
}

/// Everything about the filesystem, as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MountsPlan {
    /// The root itself.
    pub root: Root,
    /// In order.
    pub steps: Vec<Step>,
    /// Absolute in the container.
    pub masked: Vec<PathBuf>,
    /// The SELinux label of what they are covered with.
    pub mask_label: Option<String>,
    /// Absolute in the container.
    pub readonly: Vec<PathBuf>,
}

/// The root filesystem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Root {
    /// Absolute on the host.
    pub path: PathBuf,
    /// A detached copy of what is mounted there, if the host opened it.
    pub tree: Option<Passed>,
    /// Who opens it.
    pub opened_by: OpenedBy,
    /// How to get there.
    pub switch: RootSwitch,
    /// `root.readonly`.
    pub readonly: bool,
    /// `MS_SLAVE` or `MS_PRIVATE`: what the old root and our copies become before anything is mounted.
    pub before: u64,
    /// `MS_SHARED` or `MS_UNBINDABLE`, set on the new root when it is one.
    pub after: Option<u64>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `mounts[3]`.
    pub property: String,
    /// Absolute in the container.
    pub destination: PathBuf,
    /// What is mounted.
    pub what: What,
    /// Applied to the attached mount, in order.
    pub propagation: Vec<(u64, Reach)>,
    /// Recursive attributes.
    pub tree: Change,
}

/// Kinds of mounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// A filesystem made, or found, by its type.
    Filesystem(Filesystem),
    /// A part of the host's files.
    Bind(Bind),
    /// A change of what is mounted there.
    Remount(Filesystem),
    /// A tmpfs with the v1 hierarchies in it.
    CgroupV1(CgroupV1),
}

/// What fsopen(2), fsconfig(2) and fsmount(2) need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the mount API's")]
pub struct Filesystem {
    pub kind: String,
    pub source: String,
    pub flags: Vec<String>,
    pub parameters: Vec<(String, Option<String>)>,
    pub attributes: Change,
    /// An SELinux label for its root, where none can be given to the whole of it.
    pub label: Option<String>,
    /// Becomes read-only when it is filled: a tmpfs, and `/dev`.
    pub readonly_later: bool,
    /// Shows the container's cgroup namespace, which must exist by then.
    pub needs_cgroup: bool,
    /// See `tmpcopyup`.
    pub copy_up: bool,
}

impl Filesystem {
    /// Whether the kernel may look at our network namespace when it is made, as for sysfs, and for filesystems of networks.
    pub fn needs_network(&self) -> bool {
        !["proc", "tmpfs", "devpts", "mqueue"].contains(&self.kind.as_str())
    }
}

/// Who opens the source of a bind mount.
///
/// KERNEL(6.8): mountinfo is in the order in which mounts were *made*, and a copy is made when its source is opened; users,
/// and tests of the specification, look for the configured order. A tree with a mount namespace pinned in it (snapd) can
/// only be attached when it was copied in the namespace that it goes to. So the container's side opens sources, but for:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenedBy {
    /// The rule. What our rights do not suffice for the host opens when its turn comes, among our mounts.
    Inside,
    /// The container joins a mount namespace in which paths mean something else, or the volume is to stay a peer of the
    /// host's mount. Not for user namespaces: a copy made on the host has none of the locks (mount_namespaces(7)) that keep
    /// a container's root from making it writable again.
    Host,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Bind {
    pub source: PathBuf,
    pub reach: Reach,
    pub attributes: Change,
    pub opened_by: OpenedBy,
    /// Whose files they seem to be. Mapping ids takes the rights over the filesystem, so this copy is made by the host when
    /// its turn comes: in our mount namespace or in the container's, as `opened_by` has it.
    pub id_map: Option<IdMap>,
    /// A detached copy, if the host opened it before.
    pub copy: Option<Passed>,
}

impl Bind {
    /// Whether the host opens the source before there is a process. A process may have to ask for any other.
    pub fn is_opened_ahead(&self) -> bool {
        self.opened_by == OpenedBy::Host && self.id_map.is_none()
    }
}

/// An id-mapped mount (mount_setattr(2), since 5.12).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdMap {
    /// Container ids are those of the files, host ids those that they get. `None`: those of the container's user namespace.
    pub mappings: Option<IdMappings>,
    /// `idmap` or `ridmap`.
    pub reach: Reach,
}

impl IdMap {
    /// SPEC(config, "mounts"): the mount's own mappings, with or without an option; else those of the container, whose
    /// user namespace the configuration was checked for.
    ///
    /// COMPAT(Podman): it writes the mappings and takes the option out.
    fn new(mount: &Mount, options: &Options) -> Result<Option<Self>> {
        let refused = |property: &str, why| Err(Error::unsupported(format!("{}.{property}", mount.property), why));
        if options.data.iter().any(|(key, _)| key == "idmap" || key == "ridmap") {
            return refused(
                "options",
                "a mapping in the option itself is not known: write uidMappings and gidMappings",
            );
        }
        let (property, reach) = match (options.id_map, &mount.id_mappings) {
            (Some(reach), _) => ("options", reach),
            (None, Some(_)) => ("uidMappings", Reach::Mount),
            (None, None) => return Ok(None),
        };
        match (options.bind, options.remount) {
            (Some(_), false) => Ok(Some(Self { mappings: mount.id_mappings.clone(), reach })),
            (Some(_), true) => refused(property, "a mount that is there already cannot be id-mapped"),
            (None, _) => refused(property, "only bind mounts can be id-mapped"),
        }
    }
}

/// The v1 hierarchies as a container sees them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CgroupV1 {
    /// Each in a directory of its own.
    pub hierarchies: Vec<CgroupV1Hierarchy>,
    /// `cpu` → `cpu,cpuacct`.
    pub links: Vec<(String, String)>,
    /// Whether they are mounted in the container's cgroup namespace, or are copies of the container's own cgroups.
    pub own_namespace: bool,
    /// The attributes of all of them.
    pub attributes: Change,
}

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct CgroupV1Hierarchy {
    pub name: String,
    pub controllers: Vec<String>,
    /// The container's directory on the host.
    pub directory: PathBuf,
    /// A detached copy of it, when there is no namespace of our own; opened by the host.
    pub copy: Option<Passed>,
}

/// What the plan of the mounts depends on besides the configuration.
pub struct Circumstances<'a> {
    /// The bundle's directory; absolute.
    pub bundle: &'a Path,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `linux.mountLabel`, when the machine has SELinux.
    pub mount_label: Option<&'a str>,
    /// The machine's cgroups.
    pub layout: &'a CgroupLayout,
    /// The container's cgroups.
    pub cgroups: &'a CgroupPlan,
    /// What is mounted last, beside what is configured.
    pub further: Option<Mount>,
}

impl MountsPlan {
    /// Whether the container's side may ask the host for a source.
    pub fn asks(&self) -> bool {
        self.steps.iter().any(|step| matches!(&step.what, What::Bind(bind) if !bind.is_opened_ahead()))
    }

    /// Plans the filesystem of `config`.
    pub fn new(config: &Config, circumstances: &Circumstances<'_>) -> Result<Self> {
        let mut steps = Vec::new();
        for mount in config.mounts.iter().chain(&circumstances.further) {
            steps.push(Step::new(mount, config, circumstances)?);
            only_reconfigure_our_own(&mut steps);
        }
        Ok(Self {
            root: Root::new(config, circumstances),
            steps,
            masked: config.linux.masked_paths.clone(),
            mask_label: circumstances.mount_label.map(str::to_owned),
            readonly: config.linux.readonly_paths.clone(),
        })
    }

    /// There are no groups of the container's own to show.
    pub fn do_without_cgroups(&mut self) {
        for step in &mut self.steps {
            if let What::CgroupV1(cgroup) = &mut step.what
                && !cgroup.own_namespace
            {
                cgroup.hierarchies.clear();
                cgroup.links.clear();
            }
        }
    }

    /// Whether `/dev` is the host's or an image's business: then nodes and links in it are not ours to make.
    pub fn dev_is_bound(&self) -> bool {
        self.steps
            .iter()
            .rfind(|step| step.destination == Path::new("/dev"))
            .is_some_and(|step| matches!(step.what, What::Bind(_)))
    }
}

impl Root {
    fn new(config: &Config, circumstances: &Circumstances<'_>) -> Self {
        let switch = if !config.linux.namespaces.creates(NamespaceKind::Mount) {
            RootSwitch::Chroot
        } else if circumstances.no_pivot {
            RootSwitch::Move
        } else {
            RootSwitch::Pivot
        };
        let (before, after) = match config.linux.rootfs_propagation {
            None | Some(Propagation::Slave) => (libc::MS_SLAVE, None),
            Some(Propagation::Private) => (libc::MS_PRIVATE, None),
            Some(Propagation::Shared) => (libc::MS_SLAVE, Some(libc::MS_SHARED)),
            Some(Propagation::Unbindable) => (libc::MS_PRIVATE, Some(libc::MS_UNBINDABLE)),
        };
        let path = circumstances.bundle.join(&config.root.path);
        let opened_by = if joins_mount_namespace(config) { OpenedBy::Host } else { OpenedBy::Inside };
        Self { path, tree: None, opened_by, switch, readonly: config.root.readonly, before, after }
    }
}

impl Step {
    fn new(mount: &Mount, config: &Config, circumstances: &Circumstances<'_>) -> Result<Self> {
        let options = Options::parse(mount.options.iter().map(String::as_str));
        if mount.destination == Path::new("/") {
            return Err(Error::invalid(format!("{}.destination", mount.property), "the root itself cannot be covered"));
        }
        let id_map = IdMap::new(mount, &options)?;
        let what = if options.remount {
            What::Remount(remount(mount, &options, circumstances))
        } else if let Some(reach) = options.bind {
            let source = mount
                .source
                .as_deref()
                .ok_or_else(|| Error::invalid(format!("{}.source", mount.property), "a bind mount needs one"))?;
            let source = circumstances.bundle.join(source);
            let opened_by = opened_by(config, &options);
            What::Bind(Bind { source, reach, attributes: options.mount, opened_by, id_map, copy: None })
        } else if mount.kind == "cgroup" || mount.kind == "cgroup2" {
            cgroup(mount, &options, config, circumstances)
        } else if mount.kind.is_empty() {
            let why = "is needed: the options have neither \"bind\" nor \"rbind\"";
            return Err(Error::invalid(format!("{}.type", mount.property), why));
        } else {
            What::Filesystem(filesystem(mount, &options, circumstances))
        };
        Ok(Self {
            property: mount.property.clone(),
            destination: mount.destination.clone(),
            what,
            propagation: options.propagation,
            tree: options.tree,
        })
    }
}

fn opened_by(config: &Config, options: &Options) -> OpenedBy {
    let stays_peer = config.linux.rootfs_propagation == Some(Propagation::Shared)
        && options.propagation.last().is_some_and(|(kind, _)| *kind == libc::MS_SHARED);
    if joins_mount_namespace(config) || stays_peer { OpenedBy::Host } else { OpenedBy::Inside }
}

fn joins_mount_namespace(config: &Config) -> bool {
    let namespaces = &config.linux.namespaces;
    namespaces.has(NamespaceKind::Mount) && !namespaces.creates(NamespaceKind::Mount)
}

fn filesystem(mount: &Mount, options: &Options, circumstances: &Circumstances<'_>) -> Filesystem {
    let mut parameters = options.data.clone();
    let mut label = None;
    match (circumstances.mount_label, mount.kind.as_str()) {
        // The IPC namespace made it, with the label that it has.
        (Some(own), "mqueue") => label = Some(own.to_owned()),
        (Some(own), kind) if kind == "devpts" || !is_shared_by_many(kind) => {
            parameters.push(("context".to_owned(), Some(own.to_owned())));
        }
        // The kernel takes none for these, and the policy knows them by their kind.
        _ => {}
    }
    let readonly = options.mount.set & attr::RDONLY != 0;
    let readonly_later = readonly && (mount.kind == "tmpfs" || mount.destination == Path::new("/dev"));
    let mut flags: Vec<String> = options.superblock.iter().map(|flag| (*flag).to_owned()).collect();
    if readonly && !readonly_later && !is_shared_by_many(&mount.kind) {
        flags.push("ro".to_owned());
    }
    Filesystem {
        kind: mount.kind.clone(),
        source: mount.source.as_ref().map_or(mount.kind.clone(), |source| source.to_string_lossy().into_owned()),
        flags,
        parameters,
        attributes: options.mount,
        readonly_later,
        label,
        needs_cgroup: false,
        copy_up: options.copy_up,
    }
}

/// A remount may change a filesystem that an earlier step made; never one of the host's that is only bound there.
fn only_reconfigure_our_own(steps: &mut [Step]) {
    let Some((last, before)) = steps.split_last_mut() else { return };
    let made_here = before
        .iter()
        .rfind(|step| step.destination == last.destination && !matches!(step.what, What::Remount(_)))
        .is_some_and(|step| matches!(step.what, What::Filesystem(_)));
    if let What::Remount(filesystem) = &mut last.what
        && !made_here
    {
        filesystem.flags.clear();
        filesystem.parameters.clear();
    }
}

/// With "bind" it changes the mount alone: the filesystem may be the host's.
fn remount(mount: &Mount, options: &Options, circumstances: &Circumstances<'_>) -> Filesystem {
    let whole = filesystem(mount, options, circumstances);
    match options.bind {
        Some(_) => Filesystem { flags: Vec::new(), parameters: Vec::new(), ..whole },
        None => whole,
    }
}

/// Filesystems of which there is one for many mounts: read-only is a matter of the mount there, not of the filesystem.
fn is_shared_by_many(kind: &str) -> bool {
    matches!(kind, "proc" | "sysfs" | "cgroup" | "cgroup2" | "mqueue" | "devpts" | "securityfs" | "debugfs" | "bpf")
}

fn cgroup(mount: &Mount, options: &Options, config: &Config, circumstances: &Circumstances<'_>) -> What {
    let own_namespace = config.linux.namespaces.has(NamespaceKind::Cgroup);
    let cgroup2 = || {
        let kind = "cgroup2".to_owned();
        What::Filesystem(Filesystem { kind, needs_cgroup: true, ..filesystem(mount, options, circumstances) })
    };
    match circumstances.layout {
        // Asked for by name on a hybrid host.
        CgroupLayout::V1 { .. } if mount.kind == "cgroup2" => cgroup2(),
        CgroupLayout::V2(_) if own_namespace => cgroup2(),
        // KERNEL: a new mount of cgroup2 in the initial cgroup namespace waits for an RCU grace period, 4-17 ms; a copy
        // of the one that is there does not, and shows the same.
        CgroupLayout::V2(_) => What::Bind(Bind {
            source: MOUNT_POINT.into(),
            reach: Reach::Mount,
            attributes: options.mount,
            opened_by: opened_by(config, options),
            id_map: None,
            copy: None,
        }),
        CgroupLayout::V1 { .. } => What::CgroupV1(cgroup_v1(options, circumstances.cgroups, own_namespace)),
    }
}

fn cgroup_v1(options: &Options, cgroups: &CgroupPlan, own_namespace: bool) -> CgroupV1 {
    let mut links = Vec::new();
    let mut hierarchies = Vec::new();
    for group in cgroups.groups.iter().filter(|group| group.version == Version::V1) {
        let name = group.mount_point.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if group.controllers.len() > 1 {
            links.extend(group.controllers.iter().map(|controller| (controller.clone(), name.clone())));
        }
        let (controllers, directory) = (group.controllers.clone(), group.directory());
        hierarchies.push(CgroupV1Hierarchy { name, controllers, directory, copy: None });
    }
    CgroupV1 { hierarchies, links, own_namespace, attributes: options.mount }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::IdMapping;
    use crate::machine::cgroups::Hierarchy;

    /// Which mounts are id-mapped, how far and with whose mappings, and what is refused.
    #[test]
    fn id_maps() {
        let maps = IdMappings {
            uids: vec![IdMapping { container_id: 0, host_id: 7, size: 1 }],
            gids: vec![IdMapping { container_id: 0, host_id: 8, size: 1 }],
        };
        let id_map = |own: bool, words: &[&str]| {
            let mount = Mount {
                property: "mounts[0]".to_owned(),
                destination: "/m".into(),
                kind: String::new(),
                source: None,
                options: Vec::new(),
                id_mappings: own.then(|| maps.clone()),
            };
            IdMap::new(&mount, &Options::parse(words.iter().copied())).map_err(|error| error.to_string())
        };
        for (own, words, reach) in [
            (false, &["bind", "idmap"][..], Some(Reach::Mount)),
            (false, &["rbind", "ridmap"], Some(Reach::Tree)),
            (true, &["rbind", "ridmap"], Some(Reach::Tree)),
            (true, &["rbind"], Some(Reach::Mount)),
            (true, &["rbind", "ridmap", "idmap"], Some(Reach::Mount)),
            (false, &["rbind"], None),
        ] {
            let mappings = own.then(|| maps.clone());
            assert_eq!(id_map(own, words), Ok(reach.map(|reach| IdMap { mappings, reach })), "{own} {words:?}");
        }
        for (own, words, refusal) in [
            (true, &["idmap"][..], "mounts[0].options: only bind mounts"),
            (true, &[], "mounts[0].uidMappings: only bind mounts"),
            (false, &["bind", "remount", "ridmap"], "mounts[0].options: a mount that is there already"),
            (false, &["bind", "idmap=uids=0-1-1"], "mounts[0].options: a mapping in the option itself"),
            (true, &["bind", "ridmap=gids=0-1-1"], "mounts[0].options: a mapping in the option itself"),
        ] {
            let error = id_map(own, words).unwrap_err();
            assert!(error.starts_with(refusal), "{own} {words:?} {error}");
        }
    }

    /// What a filesystem of each kind is told of `linux.mountLabel`: as a parameter, and on its root.
    #[test]
    fn labels() {
        let kinds = ["tmpfs", "devpts", "overlay", "mqueue", "proc", "sysfs"];
        let mounts: Vec<_> =
            kinds.iter().map(|kind| json!({"destination": format!("/{kind}"), "type": kind})).collect();
        let config = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "mounts": mounts,
                            "linux": {"namespaces": [{"type": "mount"}]}});
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        let layout = CgroupLayout::V2(Hierarchy {
            mount_point: "/sys/fs/cgroup".into(),
            controllers: Vec::new(),
            own: "/".to_owned(),
        });
        let plan = |mount_label| {
            let circumstances = Circumstances {
                bundle: Path::new("/bundle"),
                no_pivot: false,
                mount_label,
                layout: &layout,
                cgroups: &CgroupPlan::default(),
                further: None,
            };
            let MountsPlan { steps, mask_label, .. } = MountsPlan::new(&config, &circumstances).unwrap();
            assert_eq!(mask_label.as_deref(), mount_label);
            let told = |step: &Step| match &step.what {
                What::Filesystem(Filesystem { parameters, label, .. }) => {
                    let context = parameters.iter().find(|(key, _)| key == "context");
                    (context.and_then(|(_, value)| value.clone()), label.clone())
                }
                other => panic!("{other:?}"),
            };
            steps.iter().map(told).collect::<Vec<_>>()
        };
        let label = Some("system_u:object_r:container_file_t:s0:c1,c2".to_owned());
        let (whole, root, none) = ((label.clone(), None), (None, label.clone()), (None, None));
        assert_eq!(plan(label.as_deref()), [whole.clone(), whole.clone(), whole, root, none.clone(), none.clone()]);
        assert_eq!(plan(None), vec![none; kinds.len()]);
    }
}
