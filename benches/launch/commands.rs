//! Each command, of each runtime.

use std::time::Duration;

use crate::bundles::Bundles;
use crate::figures::Table;
use crate::runtime::Runtime;

/// In the order of the table. `floor` is asked for the first alone.
const COMMANDS: [&str; 8] = ["run", "create", "start", "exec", "state", "kill", "delete", "delete --force"];

pub fn measure(runtimes: &[Runtime], bundles: &Bundles, gap: Duration, rounds: usize) -> Table {
    let mut table = Table::new(&COMMANDS, runtimes.iter().map(|runtime| runtime.name.as_str()));
    for _ in 0..rounds {
        for (column, runtime) in runtimes.iter().enumerate() {
            round(runtime, bundles, gap, |row, took| table.add(row, column, took));
        }
    }
    table
}

/// Each command once.
fn round(runtime: &Runtime, bundles: &Bundles, gap: Duration, mut add: impl FnMut(usize, Duration)) {
    let mut measure = |command: &str, act: &dyn Fn() -> Duration| {
        std::thread::sleep(gap);
        let row = COMMANDS.iter().position(|row| *row == command).unwrap();
        add(row, act());
    };
    measure("run", &|| runtime.run(&bundles.ending));
    if runtime.is_floor() {
        return;
    }
    let create = || runtime.create(&bundles.sleeping, "bench");
    let start = || runtime.call(&["start", "bench"]);
    measure("create", &create);
    measure("start", &start);
    measure("exec", &|| runtime.call(&["exec", "bench", "/bin/true"]));
    measure("state", &|| runtime.call(&["state", "bench"]));
    measure("kill", &|| runtime.call(&["kill", "bench", "KILL"]));
    runtime.wait_for_end();
    measure("delete", &|| runtime.call(&["delete", "bench"]));
    create();
    start();
    measure("delete --force", &|| runtime.call(&["delete", "--force", "bench"]));
    runtime.wait_for_end();
}
