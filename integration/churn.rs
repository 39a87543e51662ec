//! Containers one after the other, in numbers: nothing stays, and the last one costs what the first did.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::bpf::device_programs;
use crate::support::cgroup::{self, View};
use crate::support::wait::try_until;
use crate::support::{Bundle, Container, Sandbox, differs, requires, systemd};

const NUMBER: usize = 200;

/// Limits of everything that the view has, and device rules, which are a program in the kernel.
fn limits(pids: i64) -> Value {
    let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
    if cgroup::has("memory") {
        resources["memory"] = json!({"limit": 64 << 20});
    }
    if cgroup::has("cpu") {
        resources["cpu"] = json!({"shares": 512, "quota": 50_000, "period": 100_000});
    }
    if cgroup::has("pids") {
        resources["pids"] = json!({"limit": pids});
    }
    if cgroup::has("hugetlb") {
        resources["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": pids * (2 << 20)}]);
    }
    resources
}

/// Everything that is done to a container, from `start` to `delete`.
fn live(container: &Container) {
    let call = |command: &str, flags: &[&str]| {
        container.runtime(command).args(flags).arg(&container.id).output().ok().silent();
    };
    call("start", &[]);
    call("update", &["--resources", container.path("update.json").to_str().unwrap()]);
    call("pause", &[]);
    call("resume", &[]);
    container.kill("KILL");
    container.wait();
    container.delete();
}

#[test]
fn two_hundred_leave_nothing_and_cost_the_same() {
    requires!(cgroup::view() == View::Unified, "cgroup v2 alone");
    differs!(Runc | Crun, "is not what this is about");
    requires!(churn(Bundle::new().args(&["sleep", "600"]), &mut |_| ()), COUNTED);
}

/// Each of them in a unit of its own, which is gone when `delete` returns.
#[test]
fn two_hundred_units_leave_nothing_and_cost_the_same() {
    requires!(cgroup::view() == View::Unified && systemd::is_here(), "systemd on cgroup v2");
    differs!(Runc | Crun, "is not what this is about");
    let bundle = systemd::in_default_slice(Bundle::new().args(&["sleep", "600"]));
    let scope = systemd::scope_of(&bundle);
    let look = &mut |number| {
        // Asking costs as much as all the rest.
        if number % 20 == 0 {
            assert_eq!(systemd::units(&scope), "", "after {number}");
        }
    };
    requires!(churn(bundle, look), COUNTED);
}

const COUNTED: &str = "a kernel that lists compiled programs";

/// Makes them one after the other, and looks at the machine after each; whether device programs could be counted.
fn churn(bundle: Bundle, look: &mut dyn FnMut(usize)) -> bool {
    let bundle = bundle.set("/linux/resources", limits(50));
    fs::write(bundle.path("update.json"), limits(60).to_string()).unwrap();
    let before = device_programs().len();
    let mut container = bundle.create();
    let counted = device_programs().len();
    live(&container);
    let mut samples = Vec::new();
    while samples.len() < NUMBER {
        let began = Instant::now();
        container.create_again();
        live(&container);
        samples.push(Sample::of(began.elapsed(), &container));
        look(samples.len());
    }
    let (first, last) = (usual(&samples[..NUMBER / 4]), usual(&samples[NUMBER / 4 * 3..]));
    assert!(last <= first * 1.5, "{last} each, and {first} in the beginning: {samples:?}");
    // Those of tests beside us come and go, and the kernel frees them when it likes.
    let mut fewest = usize::MAX;
    try_until(|| {
        fewest = fewest.min(device_programs().len().saturating_sub(before));
        (fewest == 0).then_some(())
    });
    assert_eq!(fewest, 0, "so many device programs are left of {NUMBER}");
    counted > 0
}

/// What one life took, and what a call that does nothing took beside it: the machine has other things to do, more or less.
#[derive(Debug)]
struct Sample {
    life: Duration,
    nothing: Duration,
}

impl Sample {
    fn of(life: Duration, sandbox: &Sandbox) -> Self {
        let began = Instant::now();
        for _ in 0..5 {
            sandbox.program().arg("--version").output().ok();
        }
        Self { life, nothing: began.elapsed() }
    }
}

/// The median of lives in terms of nothings.
fn usual(samples: &[Sample]) -> f64 {
    let mut ratios: Vec<f64> = samples.iter().map(|it| it.life.as_secs_f64() / it.nothing.as_secs_f64()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}
