//! The io controller, and BFQ's weights (Documentation/block/bfq-iosched.rst).

use super::super::limits::List;
use super::super::plan::When;
use super::no_v2_form;
use crate::config::resources::{BlockIo, ThrottleDevice};
use crate::error::{Error, Result};

const BFQ_WEIGHT: &str = "io.bfq.weight";

pub(super) fn limit(list: &mut List<'_>, block_io: &BlockIo) -> Result<()> {
    if block_io.leaf_weight.is_some() {
        return Err(no_v2_form("linux.resources.blockIO.leafWeight"));
    }
    if let Some(weight) = block_io.weight {
        set_weight(list, "", weight, "linux.resources.blockIO.weight")?;
    }
    for (index, device) in block_io.weight_devices.iter().enumerate() {
        let property = format!("linux.resources.blockIO.weightDevice[{index}]");
        if device.leaf_weight.is_some() {
            return Err(no_v2_form(format!("{property}.leafWeight")));
        }
        if let Some(weight) = device.weight {
            let device = format!("{}:{} ", device.major, device.minor);
            set_weight(list, &device, weight, &format!("{property}.weight"))?;
        }
    }
    for Throttle { device: (major, minor), rates, property } in throttles(block_io) {
        list.write("io.max", format!("{major}:{minor}{rates}"), property)?;
    }
    Ok(())
}

/// BFQ takes the weight of v1 as it is; where BFQ is not, the kernel's own scale is 1..=10000. 0 takes a weight back.
fn set_weight(list: &mut List<'_>, device: &str, weight: u16, property: &str) -> Result<()> {
    let (bfq, converted) = match weight {
        0 => ("default".to_owned(), "default".to_owned()),
        10..=1000 => (weight.to_string(), (1 + (u32::from(weight) - 10) * 9999 / 990).to_string()),
        weight => return Err(Error::invalid(property, format!("{weight} is out of range (10 to 1000)"))),
    };
    list.write_when(When::IfThere, BFQ_WEIGHT, format!("{device}{bfq}"), property.to_owned())?;
    list.write_when(When::Without(BFQ_WEIGHT), "io.weight", format!("{device}{converted}"), property.to_owned())
}

struct Throttle {
    device: (u32, u32),
    /// ` rbps=1 wiops=2`.
    rates: String,
    /// The first entry that names the device.
    property: String,
}

/// One line a device: the kernel keeps the rates that a line does not name.
fn throttles(block_io: &BlockIo) -> Vec<Throttle> {
    let mut throttles: Vec<Throttle> = Vec::new();
    for (rate_of, key, devices) in [
        ("rbps", "throttleReadBpsDevice", &block_io.throttle_read_bps),
        ("wbps", "throttleWriteBpsDevice", &block_io.throttle_write_bps),
        ("riops", "throttleReadIOPSDevice", &block_io.throttle_read_iops),
        ("wiops", "throttleWriteIOPSDevice", &block_io.throttle_write_iops),
    ] {
        for (index, ThrottleDevice { major, minor, rate }) in devices.iter().enumerate() {
            // On v1 a rate of 0 takes the limit away.
            let rate = if *rate == 0 { format!(" {rate_of}=max") } else { format!(" {rate_of}={rate}") };
            let device = (*major, *minor);
            if let Some(known) = throttles.iter_mut().find(|known| known.device == device) {
                known.rates += &rate;
            } else {
                let property = format!("linux.resources.blockIO.{key}[{index}]");
                throttles.push(Throttle { device, rates: rate, property });
            }
        }
    }
    throttles
}
