//! Documentation/admin-guide/cgroup-v1/blkio-controller.rst, Documentation/block/bfq-iosched.rst.

use super::super::limits::List;
use super::super::plan::When;
use crate::config::resources::{BlockIo, WeightDevice};
use crate::error::Result;

/// Who looks at weights: the scheduler of old kernels, and BFQ.
const WEIGHT: (&str, &str) = ("blkio.weight", "blkio.bfq.weight");
const WEIGHT_DEVICE: (&str, &str) = ("blkio.weight_device", "blkio.bfq.weight_device");

pub(super) fn limit(list: &mut List<'_>, block_io: &BlockIo) -> Result<()> {
    if let Some(weight) = block_io.weight {
        whichever(list, WEIGHT, &weight.to_string(), "linux.resources.blockIO.weight")?;
    }
    if let Some(weight) = block_io.leaf_weight {
        list.write("blkio.leaf_weight", weight, "linux.resources.blockIO.leafWeight")?;
    }
    for (index, WeightDevice { major, minor, weight, leaf_weight }) in block_io.weight_devices.iter().enumerate() {
        let line = |weight: u16| match weight {
            0 => format!("{major}:{minor} default"),
            weight => format!("{major}:{minor} {weight}"),
        };
        let property = format!("linux.resources.blockIO.weightDevice[{index}]");
        if let Some(weight) = *weight {
            whichever(list, WEIGHT_DEVICE, &line(weight), &format!("{property}.weight"))?;
        }
        if let Some(weight) = *leaf_weight {
            list.write("blkio.leaf_weight_device", line(weight), format!("{property}.leafWeight"))?;
        }
    }
    for (file, devices, key) in [
        ("blkio.throttle.read_bps_device", &block_io.throttle_read_bps, "throttleReadBpsDevice"),
        ("blkio.throttle.write_bps_device", &block_io.throttle_write_bps, "throttleWriteBpsDevice"),
        ("blkio.throttle.read_iops_device", &block_io.throttle_read_iops, "throttleReadIOPSDevice"),
        ("blkio.throttle.write_iops_device", &block_io.throttle_write_iops, "throttleWriteIOPSDevice"),
    ] {
        for (index, device) in devices.iter().enumerate() {
            let line = format!("{}:{} {}", device.major, device.minor, device.rate);
            list.write(file, line, format!("linux.resources.blockIO.{key}[{index}]"))?;
        }
    }
    Ok(())
}

fn whichever(list: &mut List<'_>, files: (&'static str, &str), value: &str, property: &str) -> Result<()> {
    list.write_when(When::IfThere, files.0, value, property.to_owned())?;
    list.write_when(When::Without(files.0), files.1, value, property.to_owned())
}
