//! What commands take where there is a lot already: containers, mounts.
//!
//! Of the runtimes the first two take part, and the floor; a thousand waiting containers of runc are 9 GB.

use std::fs;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::bundles::Bundles;
use crate::figures::{Table, quotient};
use crate::runtime::Runtime;

/// So many containers wait for their start when `create` is measured.
const ALIVE: [usize; 3] = [0, 100, 1000];

/// So many times, each of which adds one.
const CREATES: usize = 20;

const MOUNTS: usize = 2000;

/// What a runtime leaves to the kernel, which frees thousands of mounts behind its back, the next one is not to pay for.
const SETTLES: Duration = Duration::from_millis(100);

pub fn render(runtimes: &[Runtime], bundles: &Bundles, rounds: usize) -> String {
    let (floors, others): (Vec<_>, Vec<_>) = runtimes.iter().partition(|runtime| runtime.is_floor());
    let taking_part: Vec<_> = others.into_iter().take(2).chain(floors).collect();
    format!("{}\n{}", containers(&taking_part, bundles), mounts(&taking_part, bundles, rounds))
}

/// One runtime's at a time. The floor makes its containers beside those of the first.
fn containers(runtimes: &[&Runtime], bundles: &Bundles) -> String {
    let rows = ALIVE.map(|alive| format!("{alive} containers"));
    let mut table = Table::new(&rows, runtimes.iter().map(|runtime| runtime.name.as_str()));
    for (column, runtime) in runtimes.iter().enumerate().filter(|(_, runtime)| !runtime.is_floor()) {
        let before = network_namespaces();
        let mut count = 0;
        for (row, alive) in ALIVE.into_iter().enumerate() {
            while count < alive + CREATES {
                bundles.move_to_group(count);
                let took = runtime.create(&bundles.sleeping, &id(count));
                if count >= alive {
                    table.add(row, column, took);
                }
                count += 1;
            }
            for (floor, runtime) in runtimes.iter().enumerate().filter(|(_, other)| other.is_floor() && column == 0) {
                (0..CREATES).for_each(|_| table.add(row, floor, runtime.run(&bundles.ending)));
            }
        }
        (0..count).for_each(|number| _ = runtime.call(&["delete", "--force", &id(number)]));
        runtime.wait_for_end();
        wait_for_quiet(before);
    }
    let last = ALIVE.len() - 1;
    let growth = |column: usize| quotient(table.median(last, column), table.median(0, column));
    let growths = runtimes.iter().enumerate().filter_map(|(column, runtime)| Some((growth(column)?, &runtime.name)));
    let growths: Vec<_> = growths.map(|(growth, name)| format!("{name} {growth:.2}")).collect();
    format!(
        "`create` beside so many containers that wait for their start; of the floor its whole container, beside those of {}. \
         Beside {} it takes so many times what it takes alone: {}.\n\n{}",
        runtimes[0].name,
        ALIVE[last],
        growths.join(", "),
        table.render()
    )
}

/// The kernel takes network namespaces down behind our back, and who makes one meanwhile waits.
fn wait_for_quiet(before: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    while network_namespaces() > before + CREATES && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn network_namespaces() -> usize {
    let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let line = slabs.lines().find_map(|line| line.strip_prefix("net_namespace"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn id(number: usize) -> String {
    format!("crowd-{number}")
}

/// In our mount namespace, of which each container's is a copy.
fn mounts(runtimes: &[&Runtime], bundles: &Bundles, rounds: usize) -> String {
    let directory = bundles.sleeping.with_file_name("mounts");
    fs::create_dir(&directory).unwrap();
    mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    for number in 0..MOUNTS {
        let place = directory.join(number.to_string());
        fs::create_dir(&place).unwrap();
        mount(Some(&place), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }
    let mut table = Table::new(&["run"], runtimes.iter().map(|runtime| runtime.name.as_str()));
    for _ in 0..rounds {
        for (column, runtime) in runtimes.iter().enumerate() {
            std::thread::sleep(SETTLES);
            table.add(0, column, runtime.run(&bundles.ending));
        }
    }
    umount2(&directory, MntFlags::MNT_DETACH).unwrap();
    fs::remove_dir(directory).unwrap();
    format!(
        "On a host with {MOUNTS} more mounts, {rounds} rounds, {} ms after each other.\n\n{}",
        SETTLES.as_millis(),
        table.render()
    )
}
