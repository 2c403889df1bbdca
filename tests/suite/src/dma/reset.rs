//! Devices that write to a protected VM while the machine is reset under it (Z1, Z2).

use redoubt_qemu::Device;

use crate::isolation::reset::{asked_for, unseen};
use crate::{Suite, Test};

/// As many engines as it takes for one to be about to write at any time.
const DEVICES: [Device; 4] = [Device::Edu, Device::Edu, Device::Edu, Device::Edu];

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    vec![
        Test::new(Suite::Dma, "DMA during a reset that EL2 does not see (Z1)", |context| {
            unseen(context, "dma-reset-unseen", "hold dma", &DEVICES)
        }),
        Test::new(Suite::Dma, "DMA while the host resets the machine (Z2)", |context| {
            asked_for(context, "dma-reset-asked-for", "reset dma", &DEVICES)
        }),
    ]
}
