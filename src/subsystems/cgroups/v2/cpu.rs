//! The cpu and cpuset controllers.

use super::super::limits::{List, check_cpu, idle_or_weight};
use super::no_v2_form;
use crate::config::resources::Cpu;
use crate::error::Result;

const BURST: &str = "cpu.max.burst";
const MAX: &str = "cpu.max";

pub(super) fn limit(list: &mut List<'_>, cpu: &Cpu) -> Result<()> {
    if cpu.realtime_runtime.is_some() {
        return Err(no_v2_form("linux.resources.cpu.realtimeRuntime"));
    }
    if cpu.realtime_period.is_some() {
        return Err(no_v2_form("linux.resources.cpu.realtimePeriod"));
    }
    check_cpu(cpu, list.number(MAX), list.number(BURST))?;
    let idle = cpu.idle.map(|idle| (idle.to_string(), "linux.resources.cpu.idle".to_owned()));
    let weight = |shares| (weight_from_shares(shares).to_string(), "linux.resources.cpu.shares".to_owned());
    idle_or_weight(list, idle, ("cpu.weight", cpu.shares.map(weight)))?;
    let set_burst = |list: &mut List<'_>, burst| list.write(BURST, burst, "linux.resources.cpu.burst");
    // ORDER: at no time may the burst be above the quota; a new group has a burst of 0.
    let shrinks = |burst: u64| list.number(BURST).is_some_and(|now| u64::try_from(now).is_ok_and(|now| burst < now));
    let (before, after) = if cpu.burst.is_some_and(shrinks) { (cpu.burst, None) } else { (None, cpu.burst) };
    before.map_or(Ok(()), |burst| set_burst(list, burst))?;
    quota_and_period(list, cpu)?;
    after.map_or(Ok(()), |burst| set_burst(list, burst))?;
    if let Some(cpus) = &cpu.cpus {
        list.write("cpuset.cpus", cpus, "linux.resources.cpu.cpus")?;
    }
    if let Some(mems) = &cpu.mems {
        list.write("cpuset.mems", mems, "linux.resources.cpu.mems")?;
    }
    Ok(())
}

/// `cpu.max` is both. KERNEL: a quota alone leaves the period as it is; a period alone cannot be written.
fn quota_and_period(list: &mut List<'_>, cpu: &Cpu) -> Result<()> {
    let quota = |quota: i64| if quota > 0 { quota.to_string() } else { "max".to_owned() };
    match (cpu.quota, cpu.period) {
        (None, None) => Ok(()),
        (Some(wanted), None) => list.write(MAX, quota(wanted), "linux.resources.cpu.quota"),
        (Some(wanted), Some(period)) => {
            list.write(MAX, format!("{} {period}", quota(wanted)), "linux.resources.cpu.quota")
        }
        (None, Some(period)) => {
            let stays = list.number(MAX).map_or("max".to_owned(), quota);
            list.write(MAX, format!("{stays} {period}"), "linux.resources.cpu.period")
        }
    }
}

/// `cpu.shares` 2..=262144 to `cpu.weight` 1..=10000, so that the default 1024 becomes the default 100:
/// ceil(10^((log2(shares)^2 + 125 log2(shares)) / 612 - 7/34)).
fn weight_from_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
    let log = (shares as f64).log2();
    let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 10000")]
    let weight = weight as u64;
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (1, 1), (u64::MAX, 10_000)] {
            assert_eq!(weight_from_shares(shares), weight, "{shares}");
        }
        let weights: Vec<_> = (2..262_144).step_by(97).map(weight_from_shares).collect();
        assert!(weights.is_sorted());
    }
}
