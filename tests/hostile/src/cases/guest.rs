//! The hostile guest, run in a protected VM on two vCPUs; it judges itself, the oracle judges the
//! rest.

use crate::Check;
use crate::cases::cases;
use crate::oracle::World;
use crate::vm::{Event, Options, Vm};

cases! {
    protected_guest, "hostile-guest", "SH2 P1 P6 G7 R1 R5 H3 E2", "a guest that attacks finds every door shut";
}

fn protected_guest(world: &mut World) -> Check {
    let image = world.payload("hostile-guest")?;
    let mut vm = Vm::build(&image, Options { protected: true, vcpus: 2 })?;
    let mut off = false;
    // Every vCPU that is on in turn: a switch of context at each exit is part of the attack.
    'run: for _ in 0..2_000_000 {
        for vcpu in 0..2 {
            if !vm.vcpus[vcpu].powered {
                continue;
            }
            let exit = vm.enter(vcpu)?;
            if vm.handle(vcpu, exit)? == Some(Event::Off) {
                off = true;
                break 'run;
            }
        }
    }
    for line in vm.console.lines() {
        println!("  guest: {line}");
    }
    if !off {
        return Err(format!("the guest did not finish: {} lines", vm.console.lines().count()));
    }
    match (vm.reports.get(&0x600), vm.reports.get(&0x601)) {
        (Some(passed), Some(0)) if *passed > 0 => vm.finish(),
        (passed, failed) => Err(format!("passed {passed:?}, failed {failed:?}")),
    }
}
